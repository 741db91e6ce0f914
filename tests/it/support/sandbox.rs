//! A home of its own for the real binary, and the promise that nothing started in it is left behind.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::eventually::eventually;
use crate::support::process_list;

/// How long one command of the binary may take before the test fails.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test with everything the command said unless it exited with `code`.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// A temporary HOME in which the built binary runs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    home: tempfile::TempDir,
    extra_env: Vec<(String, String)>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            extra_env: Vec::new(),
        }
    }

    /// Sets a variable for every later command, and for what it starts.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.extra_env.retain(|(known, _)| known != name);
        self.extra_env.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home().join(".panorama/gateway")
    }

    /// The binary with an environment that holds nothing of the test's own.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests start the real binary; PATH and the profile directory come from outside"
    )]
    pub(crate) fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
            .env("PATH", std::env::var("PATH").unwrap())
            .current_dir(self.home());
        command.envs(self.extra_env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Said {
        let output = tokio::time::timeout(COMMAND_LIMIT, self.command(args).output())
            .await
            .unwrap_or_else(|_| panic!("`gateway {}` did not end", args.join(" ")))
            .unwrap();
        Said {
            status: output.status,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed and reads its JSON answer.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let said = self.run(args).await.expect_code(0);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error} in {}", said.out))
    }

    /// Starts a command and leaves it running; it is killed when dropped.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// `gateway up --detach --full-control`: control plane, daemon and every layer of machine control.
    pub(crate) async fn up(&self) {
        self.run(&["up", "--detach", "--full-control"]).await.expect_code(0);
    }

    /// Id of the remote shell resource of a gateway, seen from the home of the control plane.
    pub(crate) async fn resource_of(&self, gateway: &str) -> String {
        let resources = self.json(&["control-plane", "resource", "list", "--json"]).await;
        let mine = resources
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["metadata"]["gateway_id"] == *gateway);
        mine.unwrap_or_else(|| panic!("{resources}"))["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Team and resource say yes; the host's own layer is the host's business.
    pub(crate) async fn allow(&self, gateway: &str) {
        self.run(&["control-plane", "gateway", "full-control", gateway, "on"])
            .await
            .expect_code(0);
        let resource = self.resource_of(gateway).await;
        self.run(&["control-plane", "resource", "full-control", &resource, "on"])
            .await
            .expect_code(0);
    }

    /// Pairs this home with a control plane on loopback, the host's own layer of machine control on.
    pub(crate) async fn pair_with(&self, plane: &Value, code: &str) -> Said {
        let (url, key) = (plane["url"].as_str().unwrap(), plane["anon_key"].as_str().unwrap());
        self.run(&["pair", code, "--supabase-url", url, "--anon-key", key, "--full-control"])
            .await
    }

    /// Waits until the newest job runs; gives its id.
    pub(crate) async fn running_job(&self) -> String {
        eventually("the job runs", || async {
            let jobs = self.json(&["job", "list", "--json"]).await;
            (jobs[0]["status"] == "running").then(|| jobs[0]["id"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// What `control-plane/address.json` says: `url`, `pid`, `anon_key`.
    pub(crate) fn plane(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.state_dir().join("control-plane/address.json")).unwrap()).unwrap()
    }

    pub(crate) fn plane_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.plane()["pid"].as_i64().unwrap()).unwrap())
    }

    /// Own id of the paired gateway of this home.
    pub(crate) async fn gateway_id(&self) -> String {
        self.json(&["status", "--json"]).await["gateway_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn variable(&self) -> String {
        format!("HOME={}", self.home().display())
    }

    /// Every process whose environment names this home.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        process_list::with_variable(&self.variable())
    }

    /// Whether a process of this home has `word` in its command line.
    pub(crate) fn runs(&self, word: &str) -> bool {
        process_list::any_runs(word, &self.variable())
    }

    /// Pid of the running daemon.
    pub(crate) async fn daemon_pid(&self) -> Pid {
        let status = self.json(&["status", "--json"]).await;
        let pid = status["daemon"]["pid"]
            .as_i64()
            .unwrap_or_else(|| panic!("no daemon in {status}"));
        Pid::from_raw(i32::try_from(pid).unwrap())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for pid in self.processes() {
            // Gone already is as good as killed.
            let _already_gone = kill(pid, Signal::SIGKILL).is_err();
        }
    }
}
