//! Starting the daemon in the background, and waiting until it can be told how that went.

use std::ffi::OsString;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::context::Context;
use crate::cli::duration::millis;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::local;
use crate::cli::log_lines;
use crate::cli::output::Details;
use crate::cli::start::{Mode, StartArgs};
use crate::cli::stop;
use crate::process::daemon::{DetachedChild, DetachedSpec, spawn_detached};
use crate::process::env::ChildEnv;
use crate::state::log_file;
use crate::wire::local::{DaemonState, DaemonStatus};

/// How long `start` waits for the gateway to be ready.
const READY_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// How a start went.
#[derive(Debug)]
pub(crate) enum Started {
    /// It ran before.
    Already(DaemonStatus),
    /// It takes jobs.
    Ready(DaemonStatus),
    /// It runs and keeps trying.
    Waiting(Option<DaemonStatus>),
}

/// `gateway start` in the background.
pub(crate) async fn start_and_report(args: &StartArgs, cx: &Context) -> CliResult {
    let started = start(args, cx).await?;
    Ok(report(&started, cx))
}

/// Says how a start went; the same words after `start` and after `pair`.
pub(crate) fn report(started: &Started, cx: &Context) -> Exit {
    let pid = |status: &DaemonStatus| status.pid;
    match started {
        Started::Already(status) => {
            // Such as a session that was revoked: it runs, and takes no jobs.
            let details = Details::new().maybe("Reason", status.reason.as_deref());
            cx.out
                .info("Gateway already running", &details.verbose("PID", pid(status)));
            Exit::OK
        }
        Started::Ready(status) => {
            let details = Details::new()
                .add("Logs", cx.out.path(&cx.paths.log_file))
                .maybe("Degraded", status.reason.as_deref())
                .verbose("PID", status.pid)
                .verbose("Config", cx.out.path(&cx.paths.config_file));
            cx.out.ok("Gateway started", &details);
            Exit::OK
        }
        Started::Waiting(status) => {
            let reason = status.as_ref().and_then(|status| status.reason.as_deref());
            let details = Details::new()
                .maybe("Reason", reason)
                .add("Logs", cx.out.path(&cx.paths.log_file))
                .add("Next", "gateway status")
                .maybe_verbose("PID", status.as_ref().map(pid));
            cx.out
                .warn("Gateway is running, waiting for the control plane", &details);
            Exit::WAITING
        }
    }
}

/// Starts the daemon unless it runs, and waits for it.
pub(crate) async fn start(args: &StartArgs, cx: &Context) -> Result<Started, CliError> {
    if let Some(status) = incumbent(cx).await? {
        return Ok(Started::Already(status));
    }
    cx.paired()?;
    cx.backend_for_start(&args.backend)?;
    let child = spawn(args, cx)?;
    wait(child, cx).await
}

/// The daemon that runs, once it has said so itself. A held lock alone proves nothing: its holder may have been killed
/// a moment ago, or be on its way out.
async fn incumbent(cx: &Context) -> Result<Option<DaemonStatus>, CliError> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let Some(pid) = cx.daemon_pid() else { return Ok(None) };
        let status = local::status(&cx.paths.socket()).await.ok().flatten();
        match status {
            Some(status) if status.state != DaemonState::Draining => return Ok(Some(status)),
            Some(_) | None if Instant::now() < deadline => {}
            Some(_) => return Err(unwilling(pid, "it is stopping, and waits for its jobs")),
            None => return Err(unwilling(pid, "it does not answer")),
        }
    }
}

fn unwilling(pid: u32, why: &str) -> CliError {
    CliError::with(
        Exit::STILL_RUNNING,
        "Another gateway process holds this state directory.",
    )
    .detail(format!("PID {pid}: {why}"))
    .hint("gateway stop --now ends it")
}

/// Waits for a daemon that somebody else started.
pub(crate) async fn wait_running(cx: &Context) -> Result<Started, CliError> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        match settled(cx).await? {
            Some(status) => return Ok(Started::Already(status)),
            None if cx.daemon_pid().is_none() => return Err(ended(None, cx)),
            None if Instant::now() >= deadline => return Ok(Started::Waiting(None)),
            None => {}
        }
    }
}

async fn wait(mut child: DetachedChild, cx: &Context) -> Result<Started, CliError> {
    let child_pid = child.identity().pid;
    let deadline = Instant::now() + READY_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let Some(status) = settled(cx).await?.filter(|status| status.pid == child_pid) {
            return Ok(Started::Ready(status));
        }
        // A child that lost against another start is waited for: left behind, it would take the lock later.
        if child.try_wait().map_err(|error| lost(&error))?.is_some() {
            // Two starts at once: the lock lets one through, and the other waits for it.
            return if cx.daemon_pid().is_some() {
                Box::pin(wait_running(cx)).await
            } else {
                Err(ended(Some(child_pid), cx))
            };
        }
        if Instant::now() >= deadline {
            return Ok(Started::Waiting(local::status(&cx.paths.socket()).await.ok().flatten()));
        }
    }
}

/// The status when it is final for a start: ready, or a session that only a person can mend.
async fn settled(cx: &Context) -> Result<Option<DaemonStatus>, CliError> {
    let Ok(Some(status)) = local::status(&cx.paths.socket()).await else {
        return Ok(None);
    };
    match status.state {
        DaemonState::Ready | DaemonState::Degraded => Ok(Some(status)),
        DaemonState::Starting | DaemonState::Offline | DaemonState::Draining => Ok(None),
        DaemonState::Unauthenticated => {
            stop::end_quietly(cx).await?;
            Err(CliError::failed("Gateway did not start: its session was refused.")
                .detail(status.reason.unwrap_or_default())
                .hint("pair this host again: gateway pair CODE"))
        }
    }
}

/// The daemon's own words, if it left any: it writes why it ended, and what it printed is in the log.
fn ended(pid: Option<u32>, cx: &Context) -> CliError {
    let last = cx.last_exit().filter(|last| pid.is_none_or(|pid| pid == last.pid));
    let why = last.as_ref().map(|last| last.reason.clone()).or_else(|| last_line(cx));
    let hint = last.and_then(|last| last.hint);
    CliError::failed("Gateway did not start.")
        .detail(why.unwrap_or_else(|| "it ended without a word".to_owned()))
        .hint(hint.unwrap_or_else(|| format!("gateway doctor; the log is {}", cx.out.path(&cx.paths.log_file))))
}

fn last_line(cx: &Context) -> Option<String> {
    let mut tail = log_file::tail(&cx.paths.log_file, Some(1)).ok()?;
    tail.lines.pop().map(|line| log_lines::readable(&line))
}

fn lost(error: &std::io::Error) -> CliError {
    CliError::failed("The started gateway cannot be watched.").detail(error.to_string())
}

fn spawn(args: &StartArgs, cx: &Context) -> Result<DetachedChild, CliError> {
    let log = cx.open_log()?;
    let env = ChildEnv::exactly(cx.process_env.vars().map(|(name, value)| (name.into(), value.into())));
    spawn_detached(DetachedSpec {
        program: cx.program()?,
        args: canonical(args, cx),
        env: with_backend(env, args),
        log,
        cwd: cx.paths.dir.clone(),
    })
    .map_err(|error| CliError::failed("Gateway could not be started.").detail(error.to_string()))
}

/// Keys never stand in arguments, which every user of the machine may read.
fn with_backend(env: ChildEnv, args: &StartArgs) -> ChildEnv {
    let env = match &args.backend.supabase_url {
        Some(url) => env.with("PANORAMA_SUPABASE_URL", url),
        None => env,
    };
    match &args.backend.anon_key {
        Some(key) => env.with("PANORAMA_SUPABASE_ANON_KEY", key),
        None => env,
    }
}

/// The arguments of the daemon: a `start` with the same effective settings, whatever was typed.
fn canonical(args: &StartArgs, cx: &Context) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["start".into(), "--foreground".into(), "--quiet".into()];
    let mut flag = |name: &str, value: OsString| {
        words.push(name.into());
        words.push(value);
    };
    flag("--config-dir", cx.paths.dir.clone().into());
    flag("--config-path", cx.paths.config_file.clone().into());
    flag("--log-path", cx.paths.log_file.clone().into());
    flag("--pid-path", cx.paths.pid_file.clone().into());
    if let Some(name) = &args.device_name {
        flag("--device-name", name.into());
    }
    if args.mode == Mode::Managed {
        flag("--mode", "managed".into());
    }
    if let Some(drain) = args.drain_timeout {
        flag("--drain-timeout", format!("{}ms", millis(drain)).into());
    }
    if let Some(file) = &cx.env_file {
        flag("--env-file", file.clone().into());
    }
    for (name, value) in [
        ("--claude-cli", &cx.places.claude_cli),
        ("--codex-cli", &cx.places.codex_cli),
        ("--gemini-cli", &cx.places.gemini_cli),
    ] {
        if let Some(value) = value {
            flag(name, value.into());
        }
    }
    words
}
