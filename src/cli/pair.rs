//! `gateway pair`.

use std::io::IsTerminal as _;

use clap::Args;

use crate::cli::args::{BackendArgs, EnvFileArgs};
use crate::cli::argv::boolean_word;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::pairing::{self, NewPairing};
use crate::cli::start::{self, StartArgs};
use crate::cli::status::enabled;
use crate::cli::{launch, prompt, providers, stop};
use crate::config::settings::device_name_for_pair;
use crate::config::sources::hostname;
use crate::state::session::Session;

/// Options of `pair`.
#[derive(Debug, Args)]
#[command(
    after_help = "The code comes from the team's settings, or from `gateway control-plane pairing-code`. It works once and for a \
short time. After pairing the gateway is started in the background.

A paired host asks before it is paired again; without a terminal it refuses, unless --force is given.
Unless another control plane is named it is paired with the same one.

Examples:
  gateway pair CODE
  gateway pair --full-control CODE             and allow commands on this host
  gateway pair CODE --supabase-url http://10.0.0.5:54400 --anon-key KEY"
)]
pub(crate) struct PairArgs {
    /// The pairing code
    #[arg(value_name = "CODE")]
    positional: Option<String>,

    /// The pairing code; wins over the positional one
    #[arg(long, value_name = "CODE")]
    code: Option<String>,

    /// Label of this host [env: PANORAMA_GATEWAY_DEVICE_NAME] [default: host name]
    #[arg(long, value_name = "NAME")]
    device_name: Option<String>,

    /// Allow commands on this host: true, yes, on, 1, false, no, off, 0; alone it means true
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    full_control: Option<bool>,

    /// Pair again without asking
    #[arg(long)]
    force: bool,

    /// Stay attached to this terminal after pairing
    #[arg(long)]
    foreground: bool,

    #[command(flatten)]
    backend: BackendArgs,

    #[command(flatten)]
    pub(crate) env_file: EnvFileArgs,
}

fn parse_bool(text: &str) -> Result<bool, String> {
    boolean_word(text).ok_or_else(|| format!("`{text}` is none of true, yes, on, 1, false, no, off, 0"))
}

impl PairArgs {
    fn pairing_code(&self) -> Result<String, CliError> {
        let code = self.code.as_deref().or(self.positional.as_deref()).unwrap_or_default();
        match code.trim() {
            "" => Err(CliError::usage("Pairing code is required").hint("gateway pair CODE")),
            code => Ok(code.to_owned()),
        }
    }

    fn start_args(&self) -> StartArgs {
        StartArgs {
            foreground: self.foreground,
            device_name: self.device_name.clone(),
            env_file: self.env_file.clone(),
            ..StartArgs::default()
        }
    }
}

pub(crate) async fn run(args: &PairArgs, cx: &Context) -> CliResult {
    let code = args.pairing_code()?;
    confirm(args, cx)?;
    let pairing = NewPairing {
        code,
        backend: cx.backend_for_pairing(&args.backend)?,
        device_name: device_name_for_pair(args.device_name.as_deref(), &cx.env, &hostname()),
        full_control: args.full_control,
    };
    cx.out.info("Pairing with team...", &Details::new());
    let session = pairing::exchange(&pairing, cx).await?;
    stop::end_quietly(cx).await?;
    let session = cx.sessions().create(session, true)?;
    let found = providers::examine_and_print(providers::Depth::Full, "pairing", cx).await;
    report(&session, cx);
    found.warn_if_none_usable("gateway providers", cx);
    auto_start(&args.start_args(), cx).await
}

/// A second pairing replaces the first: a person is asked, a script must say so.
fn confirm(args: &PairArgs, cx: &Context) -> Result<(), CliError> {
    let Some(session) = cx.sessions().load().ok().flatten().filter(|_| !args.force) else {
        return Ok(());
    };
    let already = format!("This host is paired with {} already.", session.supabase_url);
    if !std::io::stdin().is_terminal() {
        return Err(CliError::failed(already)
            .detail(format!("gateway {}", session.gateway_id))
            .hint("gateway pair --force CODE replaces the pairing; `gateway unpair` ends it"));
    }
    if prompt::yes(&format!("{already} Replace the pairing? [y/N] "))? {
        return Ok(());
    }
    Err(CliError::failed("Not paired again; everything is as it was."))
}

fn report(session: &Session, cx: &Context) {
    let details = Details::new()
        .add("Config saved", cx.out.path(&cx.paths.config_file))
        .add("Host machine control", enabled(session.full_control_enabled))
        .verbose("Gateway ID", &session.gateway_id)
        .verbose("Team ID", &session.team_id)
        .maybe_verbose("Device", session.device_name.as_deref());
    cx.out.ok("Paired to team successfully", &details);
}

async fn auto_start(args: &StartArgs, cx: &Context) -> CliResult {
    if args.foreground {
        return start::run(args, cx).await;
    }
    match launch::start(args, cx).await {
        Ok(started) => {
            launch::report(&started, cx);
        }
        Err(error) => {
            let details = Details::new()
                .add("Error", &error.message)
                .maybe("Details", error.detail.as_deref());
            cx.out
                .warn("Auto-start failed; run \"gateway start\" to retry.", &details);
        }
    }
    Ok(Exit::OK)
}
