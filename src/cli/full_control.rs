//! `gateway full-control`: the host layer of machine control.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::local::{self, LocalError};
use crate::cli::output::Details;
use crate::cli::status::yes_no;
use crate::wire::local::LocalRequest;

/// What to do with the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Action {
    /// Allow commands on this host
    #[value(aliases = ["on", "true"])]
    Enable,
    /// Refuse commands on this host
    #[value(aliases = ["off", "false"])]
    Disable,
    /// Show the switch
    #[default]
    Status,
}

/// Options of `full-control`.
#[derive(Debug, Args)]
#[command(after_help = "Machine control has three layers; a command needs all of them:
  host      this switch
  team      gateway control-plane gateway full-control ID on, or the team's settings
  resource  a remote_shell resource with machine control

A running gateway follows at once.

Examples:
  gateway full-control
  gateway full-control enable
  gateway full-control disable")]
pub(crate) struct FullControlArgs {
    /// What to do
    #[arg(value_enum, default_value_t, ignore_case = true)]
    action: Action,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &FullControlArgs, cx: &Context) -> CliResult {
    let session = cx.paired()?;
    match args.action {
        Action::Status => show(
            args.json.json,
            session.full_control_enabled,
            session.gateway_id.as_str(),
            cx,
        ),
        Action::Enable => set(true, args.json.json, cx).await,
        Action::Disable => set(false, args.json.json, cx).await,
    }
}

fn show(as_json: bool, on: bool, gateway_id: &str, cx: &Context) -> CliResult {
    if as_json {
        cx.out
            .document(&json!({"full_control_enabled": on, "gateway_id": gateway_id}))?;
    } else {
        let details = Details::new()
            .add("Enabled", yes_no(on))
            .verbose("Gateway ID", gateway_id);
        cx.out.info("Gateway host machine control", &details);
    }
    Ok(Exit::OK)
}

async fn set(on: bool, as_json: bool, cx: &Context) -> CliResult {
    let word = if on { "enabled" } else { "disabled" };
    // Whoever wants to say no must be able to, also on a full disk.
    let unsaved = |error: CliError| match error.exit {
        Exit::FAILED if !on => error.hint("gateway stop; then nothing runs at all"),
        _ => error,
    };
    let (changed, gateway_id) = write(on, cx).map_err(unsaved)?;
    if changed {
        tell_daemon(cx).await;
    }
    if as_json {
        return show(true, on, &gateway_id, cx);
    }
    let details = Details::new().verbose("Gateway ID", gateway_id);
    if changed {
        cx.out.ok(&format!("Gateway host machine control {word}."), &details);
    } else {
        cx.out
            .info(&format!("Gateway host machine control already {word}."), &details);
    }
    Ok(Exit::OK)
}

/// Writes the switch; tells whether it was the other way before.
pub(crate) fn write(on: bool, cx: &Context) -> Result<(bool, String), CliError> {
    let mut changed = false;
    let session = cx.sessions().update(|session| {
        changed = session.full_control_enabled != on;
        session.full_control_enabled = on;
    })?;
    Ok((changed, session.gateway_id.to_string()))
}

/// A running daemon reads the switch anew for every job; it is told so that the control plane learns of it at once.
pub(crate) async fn tell_daemon(cx: &Context) {
    match local::command(&cx.paths.socket(), &LocalRequest::ReloadFullControl).await {
        Ok(()) | Err(LocalError::NotListening(_)) => {}
        Err(error) => cx.out.warn(
            "The switch is saved, but the running gateway could not be told; it follows with its next heartbeat.",
            &Details::new().add("Details", error),
        ),
    }
}
