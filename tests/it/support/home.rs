//! A home directory of its own, the built program run in it, and nothing left behind.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

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
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// A temporary home. Whatever still runs in it is stopped when it goes.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The default state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join(".panorama/gateway")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test is started as a person starts it"
    )]
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.path())
            .stdin(Stdio::null());
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
        if self.state().exists() {
            self.gateway(&["stop", "--now"]);
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
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
