//! `gateway start`: in the background until it is ready, or attached.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::args::{BackendArgs, EnvFileArgs};
use crate::cli::context::Context;
use crate::cli::duration;
use crate::cli::error::{CliError, CliResult};
use crate::cli::{foreground, launch};
use crate::config::mode;

/// Where the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Mode {
    /// On a machine of yours
    #[default]
    Local,
    /// In a managed virtual machine that was bootstrapped
    Managed,
}

/// Options of `start`.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "In the background `start` returns when the gateway is ready, when it ended for good, or after 15 \
seconds as \"running, waiting for the control plane\": it keeps trying then.

Exit codes:
    0  ready, or running already
    1  it ended; the reason is shown
    3  running, waiting for the control plane
    7  not paired
    9  another gateway holds the state directory and does not answer

Examples:
  gateway start
  gateway start --foreground -v
  gateway start --drain-timeout 5m   at a shutdown running jobs get five minutes"
)]
pub(crate) struct StartArgs {
    /// Stay attached to this terminal
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Run in the background; the default
    #[arg(long, visible_alias = "background", conflicts_with = "foreground")]
    pub(crate) daemon: bool,

    /// Label of this host [default: the one it was paired with]
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<String>,

    /// Where the gateway runs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) mode: Mode,

    /// Time for running jobs at a shutdown [env: PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS] [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) drain_timeout: Option<Duration>,

    /// Say nothing on stdout, which is the log
    #[arg(long, hide = true)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) env_file: EnvFileArgs,
}

pub(crate) async fn run(args: &StartArgs, cx: &Context) -> CliResult {
    check_mode(args.mode, cx)?;
    if args.foreground {
        return foreground::run(args, cx).await;
    }
    launch::start_and_report(args, cx).await
}

/// A virtual machine's identity implies the managed mode, and the managed mode needs one.
fn check_mode(mode: Mode, cx: &Context) -> Result<(), CliError> {
    let asked = match mode {
        Mode::Local => mode::Mode::Local,
        Mode::Managed => mode::Mode::Managed,
    };
    let is_guest = cx.sessions().is_vm_guest()?;
    match mode::Mode::resolve(Some(asked), is_guest) {
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::failed("This host is no managed virtual machine.")
            .detail(error.to_string())
            .hint("leave --mode out on a machine of yours")),
    }
}
