//! `subagent_run`: one turn of an agent that a backend knows by name, watched live.
//!
//! The run's row is the backend's (it was accepted beforehand) or ours to write; which of the two shows when it is
//! looked for. Its end goes through the outbox with the job's: told until it is known.

mod accept;
mod begin;
mod config;
mod events;
mod finish;
mod metadata;
mod refused;
mod target;
mod turn;

use std::convert::Infallible;

use futures_util::future::BoxFuture;
use serde_json::Value;

use self::events::Inlet;
use self::finish::Stopped;
use self::target::{FullControl, Target};

pub(super) use self::target::ask;
use crate::domain::job::{Job, JobOutcome};
use crate::domain::run::RunEvent;
use crate::job::agent::{CommandLine, Observer, Report, Turn};
use crate::job::audit;
use crate::job::entry::Said;
use crate::job::handler::active::RunStop;
use crate::job::handler::agents::{found, verdict};
use crate::job::handler::subagent_cancel::requested;
use crate::job::handler::{Context, JobLife, StopReason};
use crate::process::hold::{Begun, Registrar, Unregistered};
use crate::provider::health::Witness;
use tokio_util::sync::CancellationToken;

/// Below the work directory; what an earlier life has left there may go.
pub const PLACE: &str = "subagents";

/// Runs one `subagent_run` job.
pub(super) async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    let mut target = match target::find(job, cx, life).await {
        Ok(target) => target,
        Err(refused) => return refused.outcome(),
    };
    if let Some(reason) = pending_cancel(&target, cx) {
        // What has no row could not be seen to have ended.
        if let Err(refused) = begin::written(&mut target, cx, life).await {
            return refused.outcome();
        }
        return finish::never_begun(&target, &Stopped::Cancelled(reason));
    }
    let working = cx
        .active
        .begin(&target.subagent_id, &target.run_id, life.stop.child_token());
    if let Err(refused) = begin::begin(&mut target, cx, life).await {
        return refused.outcome();
    }
    let finding = tokio::select! {
        finding = found(&cx.providers, target.provider) => finding,
        () = working.stop.token.cancelled() => return cut_short(&target, &working.stop, life),
    };
    match turn::turn(&mut target, job, cx, finding).await {
        Err(why) => finish::not_started(&target, &why),
        Ok(turn) => {
            noted(job, cx, &target, &turn);
            let (report, lost) = watched(&target, &turn, cx, life, &working.stop).await;
            if let Some(process) = &report.process {
                life.held(process.held);
            }
            if let Some(verdict) = verdict(&report) {
                cx.providers.judge(target.provider, &verdict, witness(job, &target));
            }
            finish::of_report(&target, &report, lost, stopped(&working.stop, life).as_ref())
        }
    }
}

/// The beginning of a run, in the owner's book.
fn noted(job: &Job, cx: &Context, target: &Target, turn: &Turn) {
    let cwd = turn.cwd.as_ref().map(|cwd| cwd.to_string_lossy().into_owned());
    let what = [
        ("run", target.run_id.as_str().into()),
        ("provider", target.provider.wire().into()),
        ("cwd", cwd.into()),
        ("full_control", (target.full_control == FullControl::Granted).into()),
        ("prompt", audit::prompt(&target.prompt)),
    ];
    cx.audit.begins(job, what);
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

/// Runs the agent and sends what happens, side by side; every event is on its way before the end is told. With the
/// report comes the number of events that could not be delivered.
async fn watched(target: &Target, turn: &Turn, cx: &Context, life: &JobLife, stop: &RunStop) -> (Report, u64) {
    let (mut inlet, publisher) = events::pipe(&cx.runs, &cx.outgoing, (&target.run_id, &target.subagent_id));
    inlet.push_written(("run_started".to_owned(), metadata::started_event(target)));
    let over = CancellationToken::new();
    let running = async {
        let cancels = inlet.clone();
        let said = Said::<1>::new(&life.entry);
        let mut watch = Watch {
            inlet,
            life,
            said: &said,
        };
        let report = tokio::select! {
            biased;
            never = told_of_cancel(stop, cancels) => match never {},
            report = said.during(Box::pin(cx.agents.run(turn, &stop.token, &mut watch))) => report,
        };
        watch.inlet.finish();
        over.cancel();
        report
    };
    tokio::join!(running, publisher.run(&over))
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
    said: &'a Said<1>,
}

impl Registrar for Watch<'_> {
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        Box::pin(self.life.begins(begun))
    }
}

impl Observer for Watch<'_> {
    fn planned(&mut self, _command: &CommandLine) {}

    fn event(&mut self, event: RunEvent) {
        self.said.hear_agent(&event);
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
