//! The daemon itself, attached to whoever started it.

use std::time::Duration;

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::local;
use crate::cli::output::Details;
use crate::cli::start::StartArgs;
use crate::cli::status::enabled;
use crate::runtime::{self, RunEnd, Start};
use crate::wire::local::{DaemonState, DaemonStatus};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs the daemon in this process until it ends.
pub(crate) async fn run(args: &StartArgs, cx: &Context) -> CliResult {
    cx.paired()?;
    cx.backend_for_start(&args.backend)?;
    let start = Start {
        settings: cx.settings(args.drain_timeout),
        paths: cx.paths.clone(),
        backend: args.backend.to_config(),
        device_name: args.device_name.clone(),
        env: cx.env.clone(),
        from_env_file: cx.env.names_from_file().clone(),
        verbose: cx.verbose,
    };
    if args.quiet {
        return ended(Box::pin(runtime::run(start)).await);
    }
    cx.out.info("Starting gateway...", &Details::new());
    let end = tokio::select! {
        end = Box::pin(runtime::run(start)) => end,
        never = announce(cx) => match never {},
    };
    ended(end)
}

/// Tells once that the gateway is ready, as its own socket says, and then stays out of the way. A wait for the control
/// plane is told too: without a word it looks like a hang.
async fn announce(cx: &Context) -> std::convert::Infallible {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut said_waiting = false;
    loop {
        look.tick().await;
        let status = local::status(&cx.paths.socket()).await.ok().flatten();
        let Some(status) = status.filter(|status| status.pid == std::process::id()) else {
            continue;
        };
        if takes_jobs(&status) {
            say_running(&status, cx);
            return std::future::pending().await;
        }
        if status.state == DaemonState::Offline && !said_waiting {
            said_waiting = true;
            let details = Details::new().maybe("Reason", status.reason);
            cx.out
                .warn("Waiting for the control plane; Ctrl-C ends the gateway.", &details);
        }
    }
}

const fn takes_jobs(status: &DaemonStatus) -> bool {
    match status.state {
        DaemonState::Ready | DaemonState::Degraded => true,
        DaemonState::Starting | DaemonState::Offline | DaemonState::Unauthenticated | DaemonState::Draining => false,
    }
}

fn say_running(status: &DaemonStatus, cx: &Context) {
    let details = Details::new()
        .add("Mode", "Foreground")
        .add("Device", &status.device_name)
        .add("Host machine control", enabled(status.full_control_enabled))
        .verbose("Gateway ID", &status.gateway_id)
        .verbose("Team ID", &status.team_id);
    cx.out.ok("Gateway running", &details);
}

fn ended(end: RunEnd) -> CliResult {
    match end {
        RunEnd::Stopped { .. } => Ok(Exit::OK),
        RunEnd::AlreadyRunning { pid } => {
            let who = pid.map_or_else(
                || "Another gateway".to_owned(),
                |pid| format!("Another gateway (PID {pid})"),
            );
            Err(CliError::failed(format!("{who} runs on this state directory."))
                .hint("gateway status shows it, gateway stop ends it; --config-dir DIR runs beside it"))
        }
        RunEnd::NotPaired => {
            Err(CliError::with(Exit::NO_CREDENTIAL, "This host is not paired.").hint("gateway pair CODE"))
        }
        RunEnd::SessionRefused { code } => Err(CliError::failed("The control plane refused the session.")
            .detail(code)
            .hint("pair this host again: gateway pair CODE")),
        RunEnd::Failed { reason, hint } => {
            let error = CliError::failed("The gateway ended.").detail(reason);
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
    }
}
