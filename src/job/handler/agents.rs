//! What every job that runs an agent CLI does with it: finds it, and says how it did.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::backend::events::{Event, Level};
use crate::domain::clock;
use crate::domain::ids::{JobId, RunId};
use crate::job::agent::{How, Report};
use crate::job::handler::Context;
use crate::process::env::ChildEnv;
use crate::provider::capability::Finding;
use crate::provider::gemini;
use crate::provider::health::{Verdict, short};
use crate::provider::remembered::ProbeCache;
use crate::provider::{ProviderId, Providers};
use crate::wire::heartbeat::HealthStatus;

/// How long a job that is over waits for what is said beside it.
pub(super) const ASIDE_PATIENCE: Duration = Duration::from_secs(2);

/// Which job says how a provider did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Witness<'a> {
    /// `model_run` or `subagent_run`.
    pub(super) context: &'static str,
    pub(super) job: &'a JobId,
    pub(super) run: Option<&'a RunId>,
}

/// Whether this account is root, and whether the owner lets agents act freely although it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Root {
    pub(super) is_root: bool,
    pub(super) allowed: bool,
}

/// What an agent finds around it.
#[derive(Debug)]
pub(super) struct Equipment {
    pub(super) env: ChildEnv,
    pub(super) root: Root,
    /// Home of the CLI, where the owner gave it one.
    home: Option<PathBuf>,
}

/// Environment and settings for one run, from the owner's settings as they are now.
///
/// # Errors
/// What cannot be made ready; the user's own login is no substitute for it.
pub(super) fn equip(cx: &Context, provider: ProviderId) -> Result<Equipment, String> {
    let setup = cx.homes.prepare(provider).map_err(|error| error.to_string())?;
    let env = setup
        .env
        .iter()
        .fold(cx.child_env.clone(), |env, (name, value)| match value {
            Some(value) => env.with(name, value.expose()),
            None => env.without(name),
        });
    Ok(Equipment {
        env,
        root: Root {
            is_root: geteuid().is_root(),
            allowed: setup.allow_root,
        },
        home: setup.home,
    })
}

impl Equipment {
    /// Checks that the prompt reaches the model as it is, as far as that depends on files.
    ///
    /// # Errors
    /// What in it would be replaced.
    pub(super) fn check(&self, provider: ProviderId, prompt: &str, cwd: &Path) -> Result<(), String> {
        match provider {
            ProviderId::ClaudeCode | ProviderId::Codex => Ok(()),
            ProviderId::Gemini => {
                let home = self.home.clone().or_else(|| self.env.get("HOME").map(PathBuf::from));
                let home = home.unwrap_or_default().join(".gemini");
                gemini::surroundings::check(prompt, cwd, &home).map_err(|failure| failure.message)
            }
        }
    }
}

/// The provider's CLI. One that was missing or broken when it was last looked at is asked again: it may be mended.
pub(super) async fn found(providers: &Providers, provider: ProviderId) -> Finding {
    let picture = providers.picture();
    match picture.finding(provider) {
        Some(finding) if finding.version.is_ok() => finding.clone(),
        Some(_) | None => {
            let nothing_known = ProbeCache::default();
            providers.prober.examine(provider, &nothing_known, clock::now()).await.0
        }
    }
}

/// What a run says about its provider, if anything.
pub(super) fn verdict(report: &Report) -> Option<Verdict> {
    match (&report.answer, report.how) {
        (Ok(_), _) => Some(Verdict::Works),
        (Err(failure), How::NotStarted) => Some(Verdict::Absent(failure.message.clone())),
        (Err(_), How::Cancelled | How::TimedOut(_) | How::TooMuch(_)) => None,
        (Err(failure), How::Ended | How::Refused | How::Silent(_)) => {
            let concerns = failure.kind.concerns_provider();
            concerns.then(|| Verdict::Fails(failure.message.clone()))
        }
    }
}

/// Tells everybody how the provider did, and the team if it got worse.
pub(super) async fn judge(cx: &Context, witness: Witness<'_>, provider: ProviderId, verdict: &Verdict) {
    let why = match verdict {
        Verdict::Works => None,
        Verdict::Fails(why) | Verdict::Absent(why) => Some(why),
    };
    let (level, status) = match cx.providers.judge(provider, verdict) {
        None | Some(HealthStatus::Healthy | HealthStatus::Unknown) => return,
        Some(HealthStatus::Unhealthy) => (Level::Error, "unhealthy"),
        Some(HealthStatus::Unavailable) => (Level::Warn, "unavailable"),
    };
    let event = Event {
        provider: Some(provider.wire()),
        level,
        code: "provider_unhealthy",
        message: format!("{} provider marked {status}.", provider.label()),
        details: details(witness, status, why.map(|why| short(why)).as_deref()),
    };
    match timeout(ASIDE_PATIENCE, cx.events.record(&event)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "Failed to tell the team about a provider"),
        Err(_elapsed) => warn!("Telling the team about a provider took too long"),
    }
}

fn details(witness: Witness<'_>, status: &str, error: Option<&str>) -> Value {
    json!({
        "context": witness.context, "status": status, "error": error,
        "job_id": witness.job, "run_id": witness.run,
    })
}
