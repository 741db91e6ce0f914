//! `subagent_run`: one turn of an agent that a backend knows by name, watched live.
//!
//! The run's row is the backend's (it was accepted beforehand) or ours to write; which of the two shows when it is
//! looked for. Its end goes through the outbox with the job's: told until it is known.

mod accept;
mod config;
mod events;
mod finish;
mod metadata;
mod refused;
mod target;

use std::convert::Infallible;

use serde_json::{Value, json};

use self::config::{Ask, Config};
use self::events::Inlet;
use self::finish::Stopped;
use self::refused::Refused;
use self::target::{FullControl, Target};

pub(super) use self::target::ask;
use crate::backend::runs::Inserted;
use crate::domain::clock::wire_time;
use crate::domain::job::{Job, JobOutcome};
use crate::domain::run::RunEvent;
use crate::job::agent::retry::Retry;
use crate::job::agent::{CommandLine, Limits, Observer, Report, Turn};
use crate::job::handler::active::RunStop;
use crate::job::handler::agents::{Root, equip, found, unusable, verdict, withheld};
use crate::job::handler::subagent_cancel::requested;
use crate::job::handler::{Context, JobLife, StopReason};
use crate::process::identity::ProcessIdentity;
use crate::provider::ProviderId;
use crate::provider::capability::{Features, Finding};
use crate::provider::health::Witness;

/// Below the work directory; what an earlier life has left there may go.
pub const PLACE: &str = "subagents";

/// How many numbers are tried for a run that the backend did not number.
const NUMBERS: usize = 3;
const NOT_CREATED: &str = "Failed to create subagent run";

/// Runs one `subagent_run` job.
pub(super) async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    let mut target = match target::find(job, cx, life).await {
        Ok(target) => target,
        Err(refused) => return refused.outcome(),
    };
    if let Some(reason) = pending_cancel(&target, cx) {
        // What has no row could not be seen to have ended.
        if let Err(refused) = written(&mut target, cx, life).await {
            return refused.outcome();
        }
        return finish::never_begun(&target, &Stopped::Cancelled(reason));
    }
    let working = cx
        .active
        .begin(&target.subagent_id, &target.run_id, life.stop.child_token());
    if let Err(refused) = begin(&mut target, cx, life).await {
        return refused.outcome();
    }
    let finding = tokio::select! {
        finding = found(&cx.providers, target.provider) => finding,
        () = working.stop.token.cancelled() => return cut_short(&target, &working.stop, life),
    };
    match turn(&mut target, job, cx, finding).await {
        Err(why) => finish::not_started(&target, &why),
        Ok(turn) => {
            let (report, lost) = watched(&target, &turn, cx, life, &working.stop).await;
            if let Some(verdict) = verdict(&report) {
                cx.providers.judge(target.provider, &verdict, witness(job, &target));
            }
            finish::of_report(&target, &report, lost, stopped(&working.stop, life).as_ref())
        }
    }
}

fn witness(job: &Job, target: &Target) -> Witness {
    Witness {
        context: "subagent_run",
        job_id: job.id.clone(),
        run_id: Some(target.run_id.clone()),
    }
}

/// The end of a run that had to end before its agent started.
fn cut_short(target: &Target, run: &RunStop, life: &JobLife) -> JobOutcome {
    match stopped(run, life) {
        Some(stopped) => finish::never_begun(target, &stopped),
        None => life.cancelled(),
    }
}

/// A cancel that was asked for before the run came up: by its subagent's row, or by a job of its own.
fn pending_cancel(target: &Target, cx: &Context) -> Option<String> {
    let word = |key: &str| target.notes.metadata.get(key).and_then(Value::as_str);
    if word("cancel_run_id") == Some(target.run_id.as_str()) {
        return Some(word("cancel_reason").unwrap_or("Cancelled").to_owned());
    }
    cx.active.take_early(&target.run_id)
}

/// Writes down that the turn begins; refused when it is not the one to begin any more.
async fn begin(target: &mut Target, cx: &Context, life: &JobLife) -> Result<(), Refused> {
    let patch = metadata::at_work(target);
    if let Some(seen) = &target.run_notes {
        let changed = "Accepted subagent run changed before gateway execution could start";
        let began = ask(life, || {
            let about = (&target.run_id, &target.subagent_id);
            cx.runs.begin_run(about.0, about.1, target.started_at, (seen, &patch))
        });
        if !began.await.map_err(|error| failed(changed, &error, target.about()))? {
            return Err(gone(changed, target.about()));
        }
    }
    written(target, cx, life).await?;
    let patch = metadata::at_work(target);
    let began = ask(life, || {
        cx.runs
            .begin_subagent(&target.subagent_id, target.started_at, (&target.notes, &patch))
    });
    let began = began
        .await
        .map_err(|error| failed("Failed to mark subagent as running", &error, target.about()))?;
    if began {
        return Ok(());
    }
    let message = "Subagent status changed before gateway execution could start".to_owned();
    Err(Refused::Orphan {
        error: message.clone(),
        message,
        extra: target.about(),
    })
}

/// Writes the run's row, where no backend accepted one.
async fn written(target: &mut Target, cx: &Context, life: &JobLife) -> Result<(), Refused> {
    for _number in 0..NUMBERS {
        if target.run_notes.is_some() {
            return Ok(());
        }
        let row = row(target, cx);
        match ask(life, || cx.runs.insert(&row)).await {
            Ok(Inserted::New) => return Ok(()),
            Ok(Inserted::Duplicate) if is_ours(target, cx, life).await? => return Ok(()),
            // Its number was given away; the next one is not.
            Ok(Inserted::Duplicate) => target.sequence = accept::number(target, cx, life).await?,
            // This backend accepts its runs itself, and has not accepted this one.
            Err(error) if matches!(error.status(), Some(401 | 403)) => {
                return Err(Refused::Orphan {
                    message: "Rejected unaccepted subagent job".to_owned(),
                    error: "Gateway job has no atomically accepted subagent run".to_owned(),
                    extra: target.about(),
                });
            }
            Err(error) => return Err(failed(NOT_CREATED, &error, target.about())),
        }
    }
    Err(Refused::fail(NOT_CREATED, target.about()))
}

fn row(target: &Target, cx: &Context) -> Value {
    json!({
        "id": target.run_id,
        "subagent_id": target.subagent_id,
        "team_id": cx.identity.team_id,
        "gateway_id": cx.identity.gateway_id,
        "run_sequence": target.sequence,
        "status": "running",
        "prompt": target.prompt,
        "prompted_by_agent_id": target.owner,
        "started_at": wire_time(target.started_at),
        "metadata": metadata::of_start(target),
    })
}

/// Whether the row that is in the way is the one that was to be written: its answer got lost. Refused when the subagent
/// is busy with another run.
async fn is_ours(target: &Target, cx: &Context, life: &JobLife) -> Result<bool, Refused> {
    let active = ask(life, || cx.runs.active_run(&target.subagent_id)).await;
    let message = "Failed to resolve conflicting subagent run after insert conflict";
    let active = active.map_err(|error| failed(message, &error, target.about()))?;
    let Some(id) = active.and_then(|row| Some(row.get("id")?.as_str()?.to_owned())) else {
        return Ok(false);
    };
    if id == target.run_id.as_str() {
        return Ok(true);
    }
    Err(Refused::Skip {
        message: "Skipped duplicate subagent job because another run is already active".to_owned(),
        error: "Another subagent run is already active".to_owned(),
        extra: [target.about(), vec![("active_run_id", Value::from(id))]].concat(),
    })
}

fn failed(message: &str, error: &crate::backend::BackendError, extra: Vec<(&'static str, Value)>) -> Refused {
    Refused::Fail {
        message: message.to_owned(),
        error: error.to_string(),
        extra,
    }
}

fn gone(message: &str, extra: Vec<(&'static str, Value)>) -> Refused {
    Refused::Skip {
        message: message.to_owned(),
        error: message.to_owned(),
        extra,
    }
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

/// What the agent is to do, or why it may not.
async fn turn(target: &mut Target, job: &Job, cx: &Context, finding: Finding) -> Result<Turn, String> {
    if let FullControl::Denied(why) = &target.full_control {
        return Err(why.clone());
    }
    let version = finding.version.map_err(|why| unusable(target.provider, &why))?;
    let equipment = equip(cx, target.provider)?;
    let control = &mut target.full_control;
    let full = elevated(control, target.provider, &finding.features, equipment.root)?;
    let config = Config(&target.config);
    let resume = config.resume();
    let session = target.notes.metadata.get("session_id").and_then(Value::as_str);
    let place = cx
        .workspaces
        .place(target.subagent_id.as_str(), config.cwd().as_deref());
    let cwd = place.map_err(|error| error.to_string())?;
    if config.cwd().is_none()
        && let Err(error) = cx
            .directories
            .belongs(target.subagent_id.as_str(), &cx.identity.gateway_id)
    {
        // It is kept for ever then, which harms nobody but the disk.
        tracing::warn!(%error, "Cannot note whose directory an agent works in");
    }
    equipment.check(target.provider, &target.prompt, &cwd)?;
    let ask = Ask {
        provider: target.provider,
        prompt: &target.prompt,
        resume: resume.as_deref().or(session),
        full,
        root: equipment.root,
    };
    let mut request = config.request(&ask);
    if !ask.full {
        request.extras.withheld = withheld(
            (&cx.providers, target.provider),
            &finding.command,
            &equipment.env,
            Some(&cwd),
        )
        .await?;
    }
    Ok(Turn {
        provider: target.provider,
        command: finding.command,
        features: finding.features,
        version: Some(version),
        request,
        place: vec![
            PLACE.to_owned(),
            target.subagent_id.to_string(),
            target.run_id.to_string(),
        ],
        cwd: Some(cwd),
        env: equipment.env,
        mark: job.id.to_string(),
        limits: Limits::within(config.limit().value),
        retry: Retry::default(),
    })
}

/// Runs the agent and sends what happens, side by side; every event is on its way before the end is told. With the
/// report comes the number of events that could not be delivered.
async fn watched(target: &Target, turn: &Turn, cx: &Context, life: &JobLife, stop: &RunStop) -> (Report, u64) {
    let (mut inlet, publisher) = events::pipe(&cx.runs, &target.run_id, &target.subagent_id);
    inlet.push_written(("run_started".to_owned(), metadata::started_event(target)));
    let running = async {
        let cancels = inlet.clone();
        let mut watch = Watch { inlet, life };
        tokio::select! {
            biased;
            never = told_of_cancel(stop, cancels) => match never {},
            report = cx.agents.run(turn, &stop.token, &mut watch) => report,
        }
    };
    tokio::join!(running, publisher.run())
}

/// Says among the run's events that somebody wants it to end, as soon as that is so.
async fn told_of_cancel(stop: &RunStop, mut inlet: Inlet) -> Infallible {
    stop.token.cancelled().await;
    if let Some(reason) = stop.reason() {
        inlet.push_written(requested(reason, true));
    }
    std::future::pending().await
}

struct Watch<'a> {
    inlet: Inlet,
    life: &'a JobLife,
}

impl Observer for Watch<'_> {
    fn planned(&mut self, _command: &CommandLine) {}

    fn started(&mut self, process: ProcessIdentity) {
        self.life.on_started(process);
    }

    fn event(&mut self, event: RunEvent) {
        self.inlet.push(&event);
    }
}

fn stopped(run: &RunStop, life: &JobLife) -> Option<Stopped> {
    if let Some(reason) = run.reason() {
        return Some(Stopped::Cancelled(reason.to_owned()));
    }
    life.stop_reason().map(|why| match why {
        StopReason::Cancelled => Stopped::Cancelled("Cancelled".to_owned()),
        StopReason::Shutdown(why) => Stopped::Shutdown(why.clone()),
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
