//! Starting the embedded control plane in the background.

use std::ffi::OsString;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::account;
use crate::backend::auth::Auth;
use crate::backend::client::Client;
use crate::backend::http::{Endpoint, Http};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::plane::address::{self, PlaneAddress};
use crate::domain::secret::Secret;
use crate::process::daemon::{DetachedSpec, spawn_detached};
use crate::process::env::ChildEnv;
use crate::state::fs::OwnerDir;

/// Log file name inside the control plane's directory.
const LOG: &str = "control-plane.log";
const UP_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A control plane on the same machine answers at once or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The one that runs, once it has answered, else a new one. A held lock alone proves nothing: its holder may have been
/// killed a moment ago.
pub(crate) async fn ensure(cx: &Context) -> Result<PlaneAddress, CliError> {
    let deadline = Instant::now() + UP_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        match address::running(cx) {
            None => return start(cx).await,
            Some(address) if answers(&address).await => return Ok(address),
            Some(address) if Instant::now() >= deadline => return Err(silent(&address)),
            Some(_) => {}
        }
    }
}

fn silent(address: &PlaneAddress) -> CliError {
    CliError::with(
        Exit::STILL_RUNNING,
        "The control plane of this machine does not answer.",
    )
    .detail(format!("PID {} at {}", address.pid, address.url))
    .hint("gateway stop ends it")
}

/// Starts it and waits until it answers.
async fn start(cx: &Context) -> Result<PlaneAddress, CliError> {
    cx.out.progress("Starting the control plane...");
    cx.state_dir()?;
    let dir = OwnerDir::open_or_create(&cx.paths.control_plane_dir())?;
    let listen = remembered_listen(&dir);
    let mut child = spawn_detached(DetachedSpec {
        program: cx.program()?,
        args: arguments(&listen, cx),
        env: ChildEnv::exactly(cx.process_env.vars().map(|(name, value)| (name.into(), value.into()))),
        log: dir.append(LOG)?,
        cwd: dir.path().to_path_buf(),
    })
    .map_err(|error| CliError::failed("The control plane could not be started.").detail(error.to_string()))?;
    let deadline = Instant::now() + UP_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let Some(address) = address::running(cx)
            && answers(&address).await
        {
            return Ok(address);
        }
        let gone = child.try_wait().ok().flatten().is_some();
        let late = Instant::now() >= deadline;
        if late {
            // Whoever is told that it did not start does not look for it.
            drop(child.terminate());
        }
        if late || (gone && address::running(cx).is_none()) {
            return Err(not_started(&listen, &dir, cx));
        }
    }
}

/// The address of the last run; the next run has the same.
pub(crate) fn remembered_url(cx: &Context) -> Option<String> {
    let dir = OwnerDir::open(&cx.paths.control_plane_dir()).ok().flatten()?;
    Some(address::remembered(&dir)?.url)
}

fn remembered_listen(dir: &OwnerDir) -> String {
    let remembered = address::remembered(dir);
    let listen = remembered.and_then(|address| Some(address.url.strip_prefix("http://")?.to_owned()));
    listen.unwrap_or_else(|| "127.0.0.1:0".to_owned())
}

fn arguments(listen: &str, cx: &Context) -> Vec<OsString> {
    let words = [
        "control-plane",
        "serve",
        "--listen",
        listen,
        "--started-by-up",
        "--config-dir",
    ];
    let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
    words.push(cx.paths.dir.clone().into());
    words
}

async fn answers(address: &PlaneAddress) -> bool {
    let key = Secret::new(&*address.anon_key);
    let http = Endpoint::new(&address.url, key.clone()).and_then(Http::new);
    let Ok(http) = http else { return false };
    let client = Client::new(http, Auth::fixed(key));
    let asked = tokio::time::timeout(ANSWER_WITHIN, account::health(&client)).await;
    matches!(asked, Ok(Ok(())))
}

fn not_started(listen: &str, dir: &OwnerDir, cx: &Context) -> CliError {
    let log = dir.read(LOG).ok().flatten().unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next().unwrap_or_default();
    // What follows an error are its details and the way out.
    let last = lines.find_map(|line| line.strip_prefix("ERROR")).unwrap_or(last).trim();
    CliError::failed(format!("The control plane did not start on {listen}."))
        .detail(last)
        .hint(format!(
            "the log is {}; the port is kept because this machine is paired with it",
            cx.out.path(&dir.path().join(LOG))
        ))
}
