//! What a journey through the built program does, each step awaited under a deadline.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::eventually::eventually;
use crate::support::home::{Done, Home};
use crate::support::plane::{answer, client};

/// How long one command of the binary may take before the test fails.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A [`Home`] whose commands are awaited, and what a journey does in it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    home: Home,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { home: Home::new() }
    }

    /// Sets a variable for every later command, and for what it starts.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.home.set_env(name, value);
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home.state()
    }

    /// The program; it is killed when its handle is dropped.
    pub(crate) fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::from(self.home.program());
        command.args(args).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Done {
        let output = tokio::time::timeout(COMMAND_LIMIT, self.command(args).output())
            .await
            .unwrap_or_else(|_| panic!("`gateway {}` did not end", args.join(" ")))
            .unwrap();
        Done::from(output)
    }

    /// Runs a command that must succeed and reads its JSON answer.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        self.run(args).await.ok().json()
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
        self.run(&["up", "--detach", "--full-control"]).await.ok();
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
            .ok();
        let resource = self.resource_of(gateway).await;
        self.run(&["control-plane", "resource", "full-control", &resource, "on"])
            .await
            .ok();
    }

    /// Pairs this home with a control plane on loopback, the host's own layer of machine control on.
    pub(crate) async fn pair_with(&self, plane: &Value, code: &str) -> Done {
        let (url, key) = (plane["url"].as_str().unwrap(), plane["anon_key"].as_str().unwrap());
        self.run(&["pair", code, "--supabase-url", url, "--anon-key", key, "--full-control"])
            .await
    }

    /// Writes a `shell_exec` job for a gateway, watched by nobody; gives its id.
    pub(crate) async fn submit_shell(&self, gateway: &str, command: &str) -> String {
        let resource = self.resource_of(gateway).await;
        let payload = json!({"resource_id": resource, "command": command}).to_string();
        let typed = ["job", "submit", "--type", "shell_exec"];
        let job = ["--gateway", gateway, "--payload", &payload, "--json"];
        let row = self.json(&[typed.as_slice(), &job].concat()).await;
        row["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the newest job runs; gives its id.
    pub(crate) async fn running_job(&self) -> String {
        eventually("the job runs", || async {
            let jobs = self.json(&["job", "list", "--json"]).await;
            (jobs[0]["status"] == "running").then(|| jobs[0]["id"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// Rows of the control plane of this home, as its operator sees them.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.as_operator(Method::GET, path, &Value::Null).await
    }

    /// A function of the control plane of this home, called by its operator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.as_operator(Method::POST, path, body).await
    }

    async fn as_operator(&self, method: Method, path: &str, body: &Value) -> Value {
        let text = std::fs::read(self.state_dir().join("operator.json")).unwrap();
        let operator: Value = serde_json::from_slice(&text).unwrap();
        let word = |key: &str| operator[key].as_str().unwrap().to_owned();
        let request = client().request(method, format!("{}{path}", word("url")));
        let request = request.header("apikey", word("anon_key")).bearer_auth(word("token"));
        let request = if body.is_null() { request } else { request.json(body) };
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
        body
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

    pub(crate) fn processes(&self) -> Vec<Pid> {
        self.home.processes()
    }

    /// Whether a process of this home has `word` in its command line.
    pub(crate) fn runs(&self, word: &str) -> bool {
        self.home.runs(word)
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
