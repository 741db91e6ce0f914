//! `gateway stop`: ends the daemon, and the control plane that `up` started.
//!
//! Who runs is known by the lock, never by the PID file: a stranger's process is never signalled.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::cli::context::Context;
use crate::cli::duration::{self, LONGEST, millis};
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::local::{self, LocalError};
use crate::cli::output::Details;
use crate::cli::plane;
use crate::wire::local::{LocalRequest, StopHow};

/// What running jobs get before they are cancelled.
const DEFAULT_DRAIN: Duration = Duration::from_secs(15);
/// What the ladder of signals and the last reports may take after the drain.
const ENDING: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Options of `stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Running jobs get 15 seconds, then they are cancelled; everything is over within 30 seconds.

Exit codes:
    0  stopped, or was not running
    8  stopped, but running work had to be cancelled
    9  still running

Examples:
  gateway stop
  gateway stop --drain 10m   wait up to ten minutes for running jobs
  gateway stop --drain       wait for them as long as a day
  gateway stop --now         cancel them at once"
)]
pub(crate) struct StopArgs {
    /// Wait so long for running jobs, without a value up to a day
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "24h", value_parser = duration::parse)]
    drain: Option<Duration>,

    /// Cancel running jobs at once
    #[arg(long, conflicts_with = "drain")]
    now: bool,
}

impl StopArgs {
    fn drain(&self) -> Duration {
        if self.now {
            Duration::ZERO
        } else {
            self.drain.unwrap_or(DEFAULT_DRAIN)
        }
    }

    fn request(&self) -> LocalRequest {
        let how = if self.now {
            StopHow::Now
        } else {
            StopHow::Drain {
                grace_ms: millis(self.drain()),
            }
        };
        LocalRequest::Stop { how }
    }
}

pub(crate) async fn run(args: &StopArgs, cx: &Context) -> CliResult {
    let exit = stop_daemon(args, cx).await?;
    if exit != Exit::STILL_RUNNING {
        stop_plane(cx).await?;
    }
    Ok(exit)
}

/// Ends the daemon at once, without a word, for commands that need it gone.
pub(crate) async fn end_quietly(cx: &Context) -> Result<(), CliError> {
    let Some(pid) = cx.daemon_pid() else { return Ok(()) };
    let args = StopArgs { drain: None, now: true };
    ask_or_signal(&args, pid, cx).await?;
    if gone_within(ENDING, || cx.daemon_pid() != Some(pid)).await {
        return Ok(());
    }
    Err(CliError::with(Exit::STILL_RUNNING, "The running gateway does not end.")
        .detail(format!("PID {pid}"))
        .hint("gateway stop --now"))
}

/// Ends the embedded control plane without a word.
pub(crate) async fn end_plane_quietly(cx: &Context) -> Result<Option<String>, CliError> {
    let Some(address) = plane::address::running(cx).filter(|address| address.started_by_up) else {
        return Ok(None);
    };
    plane::signal::terminate(address.pid)?;
    if gone_within(ENDING, || plane::address::running(cx).is_none()).await {
        return Ok(Some(address.url));
    }
    Err(
        CliError::with(Exit::STILL_RUNNING, "The embedded control plane is still running.")
            .detail(format!("PID {}", address.pid)),
    )
}

async fn stop_daemon(args: &StopArgs, cx: &Context) -> CliResult {
    let Some(pid) = cx.daemon_pid() else {
        report_not_running(cx);
        return Ok(Exit::OK);
    };
    cx.out.info("Stopping gateway...", &Details::new().verbose("PID", pid));
    ask_or_signal(args, pid, cx).await?;
    let patience = (args.drain() + ENDING).min(LONGEST + ENDING);
    if !gone_within(patience, || cx.daemon_pid() != Some(pid)).await {
        cx.out.warn(
            "Gateway stop is still draining active work; process remains running",
            &Details::new().add("PID", pid).add("Next", "gateway stop --now"),
        );
        return Ok(Exit::STILL_RUNNING);
    }
    let details = Details::new().verbose("PID", pid);
    let last = cx.last_exit().filter(|last| last.pid == pid);
    if last.is_some_and(|last| last.work_cancelled) {
        cx.out.warn("Gateway stopped; running work was cancelled", &details);
        return Ok(Exit::WORK_CANCELLED);
    }
    cx.out.ok("Gateway stopped", &details);
    Ok(Exit::OK)
}

/// The socket tells how to stop; a daemon that has no socket yet, or is stuck, gets the signal for it.
async fn ask_or_signal(args: &StopArgs, pid: u32, cx: &Context) -> Result<(), CliError> {
    match local::command(&cx.paths.socket(), &args.request()).await {
        Ok(()) => Ok(()),
        Err(LocalError::Refused(why)) => Err(CliError::failed("Failed to stop gateway process").detail(why)),
        Err(LocalError::NotListening(_) | LocalError::Silent | LocalError::Broken(_) | LocalError::Garbled(_)) => {
            plane::signal::terminate(pid)
        }
    }
}

fn report_not_running(cx: &Context) {
    let recorded = cx.recorded_pid();
    if recorded.is_some() && cx.remove_pid_file() {
        let details = Details::new().maybe_verbose("PID", recorded);
        cx.out.info("Gateway is not running (stale PID removed)", &details);
    } else {
        let details = Details::new().verbose("PID file", cx.out.path(&cx.paths.pid_file));
        cx.out.info("Gateway is not running", &details);
    }
}

async fn stop_plane(cx: &Context) -> Result<(), CliError> {
    if let Some(url) = end_plane_quietly(cx).await? {
        cx.out
            .ok("Control plane stopped", &Details::new().verbose("Address", url));
    }
    Ok(())
}

/// Whether `gone` became true in time.
async fn gone_within(patience: Duration, gone: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    let mut look = tokio::time::interval(LOOK_EVERY);
    while !gone() {
        if Instant::now() >= deadline {
            return false;
        }
        look.tick().await;
    }
    true
}
