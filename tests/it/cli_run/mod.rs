//! `gateway run`: against the real control plane, with a gateway that says what the test has it say.

mod ends;
mod shown;

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::home::{Done, Home};
use crate::support::plane::{On, Paired, Plane};

/// An operator's home, a control plane, and a gateway that is us.
struct Stage {
    plane: Plane,
    gateway: Paired,
    home: Home,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let plane = Plane::start(On::Sqlite).await;
        let (gateway, token) = (plane.pair("desk").await, plane.operator().await);
        let stage = Self {
            plane,
            gateway,
            home: Home::new(),
            token,
        };
        let url = stage.plane.url("");
        let args = ["login", "--url", &url, "--anon-key", &stage.plane.anon_key];
        stage.to_end(&args, &stage.token).await.ok();
        stage.beat("healthy", "healthy").await;
        stage
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::from(self.home.command(args));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts a command with a text on stdin.
    async fn start(&self, args: &[&str], input: &str) -> Child {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        child
    }

    async fn to_end(&self, args: &[&str], input: &str) -> Done {
        ended(self.start(args, input).await).await
    }

    /// Tells the control plane about Claude and Gemini; Codex is not installed.
    async fn beat(&self, claude: &str, gemini: &str) {
        let provider = |health: &str, available: bool, schema: bool| {
            json!({
                "available": available, "supported_flags": {},
                "supports": {"output_schema": schema, "stream_json": true, "tool_disable": true},
                "health": {"status": health, "check_type": "light", "checked_at": "2026-11-21T10:00:00.000Z"},
            })
        };
        let body = json!({
            "status": "ready", "device_name": "desk",
            "capabilities": {
                "schema_version": "v1",
                "providers": {
                    "claude_code": provider(claude, true, true),
                    "codex": provider("unavailable", false, false),
                    "gemini": provider(gemini, true, false),
                },
                "hosts": {"gateway": {
                    "kind": "gateway", "available": true, "metadata": {"install_full_control_enabled": false},
                }},
                "services": {
                    "model_execution": {"ready": true}, "remote_shell": {"ready": true},
                    "machine_control": {"ready": false, "reason": "off"},
                },
                "runtime": {"platform": "linux", "arch": "x64", "node_version": "none"},
            },
        });
        let path = "/functions/v1/gateway-heartbeat";
        let (status, answer) = self.plane.post(path, &self.gateway.access, &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The oldest queued job, taken.
    async fn take(&self, job_type: &str) -> Turn<'_> {
        let path = format!("/rest/v1/gateway_jobs?status=eq.queued&job_type=eq.{job_type}&order=created_at.asc");
        let job = eventually("a job comes", || async {
            self.plane.get(&path, &self.gateway.access).await.1.get(0).cloned()
        })
        .await;
        let turn = Turn { stage: self, job };
        turn.job(&json!({"status": "running"})).await;
        turn
    }

    async fn rows(&self, table: &str) -> Vec<Value> {
        let rows = self.plane.get(&format!("/rest/v1/{table}"), &self.token).await.1;
        rows.as_array().unwrap().clone()
    }
}

/// A turn at work.
struct Turn<'a> {
    stage: &'a Stage,
    job: Value,
}

impl Turn<'_> {
    async fn job(&self, change: &Value) {
        let path = format!("/rest/v1/gateway_jobs?id=eq.{}", self.job["id"].as_str().unwrap());
        let (status, answer) = self.stage.plane.patch(&path, &self.stage.gateway.access, change).await;
        assert!(status < 300, "{answer}");
    }

    /// Writes events; the first has this number.
    async fn events(&self, first: i64, events: &[(&str, Value)]) {
        let row = |(offset, (event_type, payload)): (usize, &(&str, Value))| {
            json!({
                "run_id": self.job["payload"]["run_id"], "subagent_id": self.job["payload"]["subagent_id"],
                "team_id": self.stage.gateway.team_id, "gateway_id": self.stage.gateway.gateway_id,
                "sequence": first + i64::try_from(offset).unwrap(), "event_type": event_type, "payload": payload,
            })
        };
        let rows: Vec<Value> = events.iter().enumerate().map(row).collect();
        let plane = &self.stage.plane;
        let path = "/rest/v1/subagent_run_events";
        let (status, answer) = plane.post(path, &self.stage.gateway.access, &json!(rows)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Ends the run, then the job, as a gateway does.
    async fn end(&self, status: &str, content: &Value, error: Option<&str>, metadata: Value) {
        let envelope =
            |content: &Value, kind: &str| json!({"schema_version": 1, "content": content, "content_type": kind});
        let answered = status == "completed";
        let body = json!({
            "subagent_id": self.job["payload"]["subagent_id"], "run_id": self.job["payload"]["run_id"],
            "final_status": status, "final_error": error, "completed_at": "2026-11-21T10:00:00.000Z",
            "output": answered.then(|| envelope(content, if content.is_string() { "markdown" } else { "json" })),
            "failure_output": (!answered).then(|| envelope(&json!(error), "text")),
            "stderr": "", "metadata_patch": metadata,
        });
        let path = "/functions/v1/finalize-gateway-subagent-run";
        let answer = self.stage.plane.post(path, &self.stage.gateway.access, &body).await.1;
        assert_eq!(answer["success"], true, "{answer}");
        let job_status = if status == "failed" { "failed" } else { "completed" };
        self.job(&json!({"status": job_status, "error": error, "result": {}}))
            .await;
    }

    async fn subagent(&self) -> Value {
        let id = self.job["payload"]["subagent_id"].as_str().unwrap();
        let path = format!("/rest/v1/subagents?id=eq.{id}");
        self.stage.plane.get(&path, &self.stage.token).await.1[0].clone()
    }
}

async fn ended(child: Child) -> Done {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    Done::from(output.expect("the command ends").unwrap())
}

/// The next line that a command says, while it goes on.
async fn next_line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await;
    read.expect("a line comes").unwrap();
    line
}

fn partial(text: &str) -> (&'static str, Value) {
    ("run_progress", json!({"phase": "partial_text", "text": text}))
}

fn message(content: &str) -> (&'static str, Value) {
    ("message", json!({"role": "assistant", "content": content}))
}

fn figures() -> Value {
    json!({
        "session_id": "S1", "model": "m-1", "total_cost_usd": 0.0123, "duration_ms": 12_345,
        "usage": {"input_tokens": 12_345, "output_tokens": 67, "cache_read_input_tokens": 1_000},
        "timed_out": false, "retry_count": 0,
    })
}
