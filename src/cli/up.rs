//! `gateway up`: control plane and daemon of this machine, as two processes.

use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::interrupt::interrupted;
use crate::cli::launch::Started;
use crate::cli::output::Details;
use crate::cli::plane::address;
use crate::cli::stack::{self, Stack, Wants};
use crate::cli::status::enabled;
use crate::cli::stop;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Options of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Both listen on loopback only. What runs already is used as it is. The port is chosen once and kept.

Examples:
  gateway up                   Ctrl-C stops both
  gateway up --detach          `gateway stop` ends both
  gateway up --full-control    and allow commands: host, team and resource"
)]
pub(crate) struct UpArgs {
    /// Return at once and leave both in the background
    #[arg(short, long)]
    detach: bool,

    /// Allow machine control on host, team and resource
    #[arg(long)]
    full_control: bool,
}

pub(crate) async fn run(args: &UpArgs, cx: &Context) -> CliResult {
    let wants = Wants {
        full_control: args.full_control,
    };
    let stack = stack::ensure(&wants, cx).await?;
    if args.detach {
        summary(&stack, args, cx);
        return Ok(exit(&stack));
    }
    let interrupted = interrupted()?;
    summary(&stack, args, cx);
    attend(interrupted, cx).await
}

fn exit(stack: &Stack) -> Exit {
    match stack.daemon {
        Started::Already(_) | Started::Ready(_) => Exit::OK,
        Started::Waiting(_) => Exit::WAITING,
    }
}

fn summary(stack: &Stack, args: &UpArgs, cx: &Context) {
    let control = stack.session.full_control_enabled;
    let device = stack.session.device_name.as_deref().unwrap_or("this machine");
    let details = Details::new()
        .add("Control plane", &stack.plane.url)
        .add("Gateway", format!("{device}, {}", stack.session.gateway_id))
        .add("Host machine control", enabled(control))
        .add("State directory", cx.out.path(&cx.paths.dir))
        .verbose("Control plane PID", stack.plane.pid)
        .maybe_verbose("Gateway PID", cx.daemon_pid());
    match stack.daemon {
        Started::Already(_) | Started::Ready(_) => cx.out.ok("Gateway is up", &details),
        // Somebody may be stopping the control plane.
        Started::Waiting(_) => {
            cx.out
                .warn("Gateway is running, waiting for the control plane", &details);
        }
    }
    let next = if control {
        "gateway exec -- uname -a"
    } else {
        "gateway up --full-control"
    };
    let why = if control {
        "run a command"
    } else {
        "allow commands on this machine"
    };
    let heading = if args.detach {
        "Next:"
    } else {
        "Next, in another terminal:"
    };
    cx.out.line(&format!("\n{heading}\n  {next:<28} {why}"));
    cx.out.line("  gateway run PROMPT           give an agent a task");
    cx.out.line("  gateway status -v            how it is");
    if args.detach {
        cx.out.line("  gateway stop                 end both");
    } else {
        cx.out.line("\nPress Ctrl-C to stop both.");
    }
}

/// Stays until it is interrupted, or until one of the two is gone; then both end.
async fn attend(interrupted: impl Future<Output = ()>, cx: &Context) -> CliResult {
    let lost = tokio::select! {
        () = interrupted => None,
        lost = until_one_is_gone(cx) => Some(lost),
    };
    cx.out.line("Stopping...");
    stop::end_quietly(cx).await?;
    stop::end_plane_quietly(cx).await?;
    match lost {
        None => {
            cx.out.ok("Stopped", &Details::new());
            Ok(Exit::OK)
        }
        Some(what) => Err(
            CliError::failed(format!("The {what} ended; the other one was stopped.")).hint("gateway logs --no-follow"),
        ),
    }
}

async fn until_one_is_gone(cx: &Context) -> &'static str {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if cx.daemon_pid().is_none() {
            return "gateway";
        }
        if address::running(cx).is_none() {
            return "control plane";
        }
    }
}
