//! A control plane and a gateway as two processes of the release binary, in a home of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::wire::local::{DaemonStatus, LocalReply, LocalRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::process;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// The program to measure: this build's, or what `--binary PATH` names.
pub fn binary() -> PathBuf {
    let mut args = std::env::args().skip_while(|arg| arg != "--binary").skip(1);
    args.next()
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_gateway")), PathBuf::from)
}

/// Both processes; they end with this value.
pub struct Stack {
    binary: PathBuf,
    home: TempDir,
    /// Further variables of both processes.
    env: Vec<(String, PathBuf)>,
    /// A daemon started by [`Stack::start_daemon`]; the first one was started by `up`.
    daemon: Option<Child>,
}

/// How long a start took, from the spawn of the process.
pub struct Start {
    pub first_heartbeat: Duration,
    pub subscribed: Duration,
}

impl Stack {
    /// `gateway up --detach --full-control` in an empty home.
    pub fn up(binary: &Path, env: &[(&str, &Path)]) -> Self {
        let stack = Self {
            binary: binary.to_owned(),
            home: TempDir::new().expect("a temporary home"),
            env: env
                .iter()
                .map(|(name, path)| ((*name).to_owned(), path.to_path_buf()))
                .collect(),
            daemon: None,
        };
        let up = stack
            .command(&["up", "--detach", "--full-control"])
            .output()
            .expect("the binary starts");
        assert!(
            up.status.success(),
            "up failed: {}",
            String::from_utf8_lossy(&up.stderr)
        );
        stack
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .args(args)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn state(&self, file: &str) -> PathBuf {
        self.home.path().join(".panorama/gateway").join(file)
    }

    /// A JSON file of the state directory.
    pub fn json(&self, file: &str) -> Value {
        let text = fs::read(self.state(file)).expect("a state file");
        serde_json::from_slice(&text).expect("JSON")
    }

    pub fn plane_pid(&self) -> u32 {
        let pid = self.json("control-plane/address.json")["pid"].as_u64().expect("a pid");
        u32::try_from(pid).expect("a pid")
    }

    pub async fn daemon_pid(&self) -> u32 {
        self.status().await.expect("the daemon answers").pid
    }

    /// The daemon's own account; none while it has no socket.
    pub async fn status(&self) -> Option<DaemonStatus> {
        let mut socket = UnixStream::connect(self.state("gateway.sock")).await.ok()?;
        let mut line = serde_json::to_vec(&LocalRequest::Status).ok()?;
        line.push(b'\n');
        socket.write_all(&line).await.ok()?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).await.ok()?;
        match serde_json::from_str(&answer).ok()? {
            LocalReply::Status(status) => Some(*status),
            LocalReply::Ok | LocalReply::Error { .. } => None,
        }
    }

    /// Ends the daemon alone, by signal.
    pub async fn end_daemon(&mut self) {
        let pid = self.daemon_pid().await;
        let target = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        kill(target, Signal::SIGTERM).expect("our own process takes signals");
        let gone = async {
            while !process::is_gone(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the daemon ends");
        if let Some(mut child) = self.daemon.take() {
            child.wait().expect("an ended child");
        }
    }

    /// Starts the daemon and watches it come up.
    pub async fn start_daemon(&mut self) -> Start {
        let mut command = self.command(&["start", "--foreground"]);
        let log = fs::File::create(self.home.path().join("daemon.stderr")).expect("a file");
        command.stderr(log);
        let spawned = Instant::now();
        self.daemon = Some(command.spawn().expect("the binary starts"));
        let first_heartbeat = self.until(spawned, |status| status.last_heartbeat_at.is_some()).await;
        let subscribed = self.until(spawned, |status| status.realtime).await;
        Start {
            first_heartbeat,
            subscribed,
        }
    }

    async fn until(&self, spawned: Instant, reached: fn(&DaemonStatus) -> bool) -> Duration {
        let watch = async {
            while !self.status().await.as_ref().is_some_and(reached) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            spawned.elapsed()
        };
        tokio::time::timeout(PATIENCE, watch)
            .await
            .expect("the daemon comes up")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let stopped = self.command(&["stop", "--now"]).status();
        if let Some(child) = &mut self.daemon {
            // `stop` has ended it; this only collects it.
            child.wait().ok();
        }
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("`gateway stop` failed in {}", self.home.path().display());
        }
    }
}
