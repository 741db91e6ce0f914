//! A home directory of its own, the built program run in it, and nothing left behind.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::process_list;

/// How long a server may take to say that it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The JSON document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This, if it ended with exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// This, if it ended with that exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A temporary home. Whatever still runs in it is ended when it goes.
#[derive(Debug)]
pub(crate) struct Home {
    dir: tempfile::TempDir,
    extra_env: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            extra_env: Vec::new(),
        }
    }

    /// Sets a variable for every later command, and for what it starts.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.extra_env.retain(|(known, _)| known != name);
        self.extra_env.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The default state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join(".panorama/gateway")
    }

    /// The program with an environment that holds nothing of the test's own but `PATH`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test is started as a person starts it"
    )]
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var("PATH").unwrap())
            // A model is asked by tests that say so.
            .env("PANORAMA_GATEWAY_TEST_VALIDATION", "off")
            .envs(self.extra_env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program();
        command.args(args);
        command
    }

    /// Runs to the end.
    pub(crate) fn gateway(&self, args: &[&str]) -> Done {
        finish(
            self.command(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Runs to the end with a text on stdin.
    pub(crate) fn gateway_with_input(&self, args: &[&str], input: &str) -> Done {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        finish(child)
    }

    /// Serves a control plane in this home until the value goes.
    pub(crate) fn serve(&self) -> Plane {
        self.serve_at("127.0.0.1:0")
    }

    /// Serves the embedded control plane where it was before.
    pub(crate) fn serve_again(&self) -> Plane {
        let address = std::fs::read(self.state().join("control-plane/address.json")).unwrap();
        let address: Value = serde_json::from_slice(&address).unwrap();
        self.serve_at(address["url"].as_str().unwrap().trim_start_matches("http://"))
    }

    /// Every process whose environment names this home.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        process_list::with_variable(&self.variable())
    }

    /// Whether a process of this home has `word` in its command line.
    pub(crate) fn runs(&self, word: &str) -> bool {
        process_list::any_runs(word, &self.variable())
    }

    fn variable(&self) -> String {
        format!("HOME={}", self.path().display())
    }

    fn serve_at(&self, listen: &str) -> Plane {
        let args = ["control-plane", "serve", "--listen", listen];
        let mut child = self
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
                if sender.send(line.unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let value = |label: &str| loop {
            let line = lines
                .recv_timeout(LISTENS_WITHIN)
                .expect("the control plane never listened");
            if let Some(value) = line.trim().strip_prefix(label) {
                return value.trim().to_owned();
            }
        };
        let (url, key) = (value("Address:"), value("Public key:"));
        Plane {
            url,
            key,
            child,
            _reader: reader,
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.processes() {
            // Gone already is as good as killed.
            let _already_gone = kill(pid, Signal::SIGKILL).is_err();
        }
    }
}

/// A served control plane.
pub(crate) struct Plane {
    pub(crate) url: String,
    pub(crate) key: String,
    child: Child,
    _reader: std::thread::JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn finish(child: Child) -> Done {
    Done::from(child.wait_with_output().unwrap())
}
