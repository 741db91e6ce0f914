//! What the agent of a turn is to do, where, and with which rights.

use std::path::PathBuf;

use serde_json::Value;

use super::PLACE;
use super::config::{Ask, Config};
use super::target::{FullControl, Target};
use crate::domain::job::Job;
use crate::job::agent::retry::Retry;
use crate::job::agent::{Limits, Turn};
use crate::job::handler::Context;
use crate::job::handler::agents::{Root, equip, unusable, withheld};
use crate::provider::ProviderId;
use crate::provider::capability::{Features, Finding};
use crate::provider::request::RunRequest;

/// What the agent is to do, or why it may not.
pub(super) async fn turn(target: &mut Target, job: &Job, cx: &Context, finding: Finding) -> Result<Turn, String> {
    if let FullControl::Denied(why) = &target.full_control {
        return Err(why.clone());
    }
    let provider = target.provider;
    let version = finding.version.map_err(|why| unusable(provider, &why))?;
    let equipment = equip(cx, provider)?;
    let full = elevated(&mut target.full_control, provider, &finding.features, equipment.root)?;
    let cwd = workplace(target, cx)?;
    equipment.check(provider, &target.prompt, &cwd)?;
    let mut request = request(target, full, equipment.root);
    if !full {
        let owner = (&cx.providers, provider);
        request.extras.withheld = withheld(owner, &finding.command, &equipment.env, Some(&cwd)).await?;
    }
    let (subagent, run) = (&target.subagent_id, &target.run_id);
    Ok(Turn {
        provider,
        command: finding.command,
        features: finding.features,
        version: Some(version),
        request,
        place: vec![PLACE.to_owned(), subagent.to_string(), run.to_string()],
        cwd: Some(cwd),
        env: equipment.env,
        mark: job.id.to_string(),
        limits: Limits::within(Config(&target.config).limit().value),
        retry: Retry::default(),
    })
}

/// Whether the agent may do everything; what its program cannot grant, or not for this account, is denied.
fn elevated(control: &mut FullControl, provider: ProviderId, features: &Features, root: Root) -> Result<bool, String> {
    if *control != FullControl::Granted {
        return Ok(false);
    }
    let Some(why) = features.lacks_elevation(provider).or_else(|| root.bars(provider)) else {
        return Ok(true);
    };
    *control = FullControl::Denied(why.to_owned());
    Err(why.to_owned())
}

/// Where the agent works: in the directory that was asked for, else in its subagent's own.
fn workplace(target: &Target, cx: &Context) -> Result<PathBuf, String> {
    let (subagent, asked) = (target.subagent_id.as_str(), Config(&target.config).cwd());
    let place = cx.workspaces.place(subagent, asked.as_deref());
    let place = place.map_err(|error| error.to_string())?;
    if asked.is_none()
        && let Err(error) = cx.directories.belongs(subagent, &cx.identity.gateway_id)
    {
        // It is kept for ever then, which harms nobody but the disk.
        tracing::warn!(%error, "Cannot note whose directory an agent works in");
    }
    Ok(place)
}

/// What is asked of the provider; the session of an earlier turn goes on unless another one is named.
fn request(target: &Target, full: bool, root: Root) -> RunRequest {
    let config = Config(&target.config);
    let named = config.resume();
    let earlier = target.notes.metadata.get("session_id").and_then(Value::as_str);
    config.request(&Ask {
        provider: target.provider,
        prompt: &target.prompt,
        resume: named.as_deref().or(earlier),
        full,
        root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_at_the_last_moment_is_not_written_down_as_granted() {
        let features = Features::read(ProviderId::ClaudeCode, Some("--permission-mode"), None);
        let ask = |is_root, allowed| {
            let mut control = FullControl::Granted;
            let full = elevated(
                &mut control,
                ProviderId::ClaudeCode,
                &features,
                Root { is_root, allowed },
            );
            (full, control)
        };
        assert_eq!(ask(true, true), (Ok(true), FullControl::Granted));
        assert_eq!(ask(false, false), (Ok(true), FullControl::Granted));
        let (full, control) = ask(true, false);
        let why = full.unwrap_err();
        assert!(why.ends_with("--allow-root"), "{why}");
        assert_eq!(control, FullControl::Denied(why));
    }
}
