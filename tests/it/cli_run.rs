//! `gateway run`: against the real control plane, with a gateway that says what the test has it say.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

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

#[tokio::test]
async fn text_comes_as_it_is_said_and_only_once() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "-", "--provider", "claude"], " Say hello\n").await;
    let turn = stage.take("subagent_run").await;
    let subagent = turn.subagent().await;
    assert_eq!(
        (&subagent["subagent_type"], &subagent["input"]["prompt"]),
        (&json!("claude_code_gateway"), &json!(" Say hello\n"))
    );
    turn.events(1, &[("run_started", json!({})), partial("Hel"), partial("lo\n")])
        .await;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, stdout.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(line, "Hello\n", "it is shown while the run goes on");
    let call = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "ls\n-l"}, "summary": null});
    let result = json!({"tool_use_id": "t", "tool_name": "Bash", "content": "one\ntwo\nthree", "is_error": false});
    turn.events(
        4,
        &[message("Hello\nyou"), ("tool_call", call), ("tool_result", result)],
    )
    .await;
    let retry = json!({"phase": "retry_scheduled", "attempt": 1, "reason": "quota", "delay_ms": 1500});
    turn.events(7, &[("run_progress", retry), partial("lost"), message("Done.")])
        .await;
    turn.end("completed", &json!("Done."), None, figures()).await;
    turn.events(10, &[("run_completed", json!({}))]).await;
    stdout.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "Hello\nyou\nlost\nDone.\n");
    let done = ended(child).await.ok();
    for part in [
        "> Bash  ls -l\n",
        "  one  (+2 lines)\n",
        "trying again in 1.5 s, because of quota\n",
        "OK Claude answered in 12.3s\n",
        "Tokens: 12,345 in (1,000 cached), 67 out\n",
        "Cost: $0.0123\n",
        "Model: m-1\n",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(!done.stderr.contains('\u{1b}'), "no colour on a pipe");
}

#[tokio::test]
async fn an_answer_whose_events_were_lost_is_shown_in_the_end() {
    let stage = Stage::new().await;
    let child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[("message", json!({"truncated": true, "preview": "{"}))])
        .await;
    turn.end("completed", &json!("All of it"), None, figures()).await;
    let done = ended(child).await.ok();
    assert_eq!(done.stdout, "All of it\n");
    assert!(done.stderr.contains("too long"), "{done:?}");
}

#[tokio::test]
async fn a_thousand_events_come_in_order() {
    let stage = Stage::new().await;
    let child = stage.start(&["run", "count"], "").await;
    let turn = stage.take("subagent_run").await;
    for batch in 0..5 {
        let events: Vec<_> = (0..200).map(|at| partial(&format!("{} ", batch * 200 + at))).collect();
        turn.events(batch * 200 + 1, &events).await;
    }
    let all: String = (0..1000).map(|number| format!("{number} ")).collect();
    turn.end("completed", &json!(all), None, figures()).await;
    assert_eq!(ended(child).await.ok().stdout, format!("{all}\n"));
}

#[tokio::test]
async fn a_run_goes_on_and_says_so() {
    let stage = Stage::new().await;
    stage.to_end(&["run", "--resume", "more"], "").await.exits(2);
    let first = [
        "run",
        "--provider",
        "gemini",
        "--model",
        "m",
        "--cwd",
        "/srv",
        "--full-control",
        "one",
    ];
    let child = stage.start(&first, "").await;
    let turn = stage.take("subagent_run").await;
    assert_eq!(turn.subagent().await["config"]["full_control"], true);
    turn.end("completed", &json!("1"), None, figures()).await;
    ended(child).await.ok();
    let id = turn.job["payload"]["subagent_id"].as_str().unwrap();
    for again in [&["run", "--resume", "two"][..], &["run", "--session", id, "two"]] {
        let child = stage.start(again, "").await;
        let turn = stage.take("subagent_run").await;
        assert_eq!(turn.job["payload"]["subagent_id"], id);
        let config = turn.subagent().await["config"].clone();
        assert_eq!(
            config,
            json!({"model": "m", "cwd": "/srv", "full_control": false, "output_format": "text"})
        );
        turn.end("completed", &json!("2"), None, figures()).await;
        let done = ended(child).await.ok();
        assert_eq!(done.stdout, "2\n");
        assert!(done.stderr.contains("Going on with Gemini, turn "), "{done:?}");
        assert!(done.stderr.contains("Session: the same as before\n"), "{done:?}");
    }
    let done = stage
        .to_end(&["run", "--resume", "--provider", "claude", "x"], "")
        .await
        .exits(2);
    assert!(done.stderr.contains("Gemini's"), "{done:?}");
    assert_eq!(stage.rows("subagent_runs").await.len(), 3);
}

#[expect(clippy::disallowed_methods, reason = "a file as a person writes it")]
#[tokio::test]
async fn json_is_one_document_and_chooses_an_agent_with_a_schema_mode() {
    let stage = Stage::new().await;
    stage.beat("unknown", "healthy").await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "number"}}});
    std::fs::write(stage.home.path().join("s.json"), schema.to_string()).unwrap();
    let args = ["run", "--schema", "s.json", "--timeout", "90", "give"];
    for json in [true, false] {
        let args = [&args[..], if json { &["--json"] } else { &[] }].concat();
        let child = stage.start(&args, "").await;
        let turn = stage.take("subagent_run").await;
        let subagent = turn.subagent().await;
        assert_eq!(subagent["subagent_type"], "claude_code_gateway");
        assert_eq!(
            subagent["config"],
            json!({"full_control": false, "output_format": "json", "json_schema": schema, "timeout_ms": 90_000})
        );
        turn.events(1, &[message("I think it is 1")]).await;
        turn.end("completed", &json!({"a": 1}), None, figures()).await;
        let done = ended(child).await.ok();
        if json {
            let found = done.json();
            assert_eq!(
                (&found["status"], &found["content"]),
                (&json!("completed"), &json!({"a": 1}))
            );
            assert_eq!(
                (&found["session_id"], &found["cost_usd"]),
                (&json!("S1"), &json!(0.0123))
            );
            assert_eq!(
                (&found["run_sequence"], &found["provider"]),
                (&json!(1), &json!("claude_code"))
            );
            assert_eq!(done.stderr, "");
        } else {
            assert_eq!(done.json(), json!({"a": 1}), "stdout holds the answer alone");
        }
    }
}

#[tokio::test]
async fn failures_have_their_codes() {
    let stage = Stage::new().await;
    let timed_out = json!({"timed_out": true, "usage": {"input_tokens": 5, "output_tokens": 6}});
    let refusal = "Gateway machine control is disabled in Team Integrations.";
    for (metadata, error, code, part) in [
        (json!({}), "Claude is over its quota.", 1, "Claude is over its quota."),
        (timed_out, "too slow", 124, "Tokens: 5 in, 6 out"),
        (json!({}), refusal, 6, "gateway control-plane gateway full-control"),
    ] {
        let child = stage.start(&["run", "hi"], "").await;
        let turn = stage.take("subagent_run").await;
        turn.events(1, &[partial("I begin")]).await;
        turn.end("failed", &Value::Null, Some(error), metadata).await;
        let done = ended(child).await.exits(code);
        assert_eq!(done.stdout, "I begin\n");
        assert!(done.stderr.contains(part) && done.stderr.contains(error), "{done:?}");
    }
}

#[tokio::test]
async fn an_interrupt_cancels_and_waits_for_the_end() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[partial("working\n")]).await;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, stdout.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let cancel = stage.take("subagent_cancel").await;
    assert_eq!(cancel.job["payload"]["run_id"], turn.job["payload"]["run_id"]);
    turn.end(
        "cancelled",
        &Value::Null,
        Some("Interrupted by the operator"),
        json!({}),
    )
    .await;
    let done = ended(child).await.exits(130);
    assert!(done.stderr.contains("the run was cancelled"), "{done:?}");
}

#[tokio::test]
async fn a_second_interrupt_leaves_the_run_and_ends_the_line() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[partial("half a line")]).await;
    let mut stdout = child.stdout.take().unwrap();
    let mut begun = [0; 11];
    tokio::time::timeout(PATIENCE, stdout.read_exact(&mut begun))
        .await
        .unwrap()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    stage.take("subagent_cancel").await;
    kill(pid, Signal::SIGINT).unwrap();
    let done = ended(child).await.exits(130);
    assert!(done.stderr.contains("gateway job watch"), "{done:?}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "\n");
}

#[tokio::test]
async fn a_run_that_nobody_takes_is_taken_back_whole() {
    let stage = Stage::new().await;
    let done = stage.to_end(&["run", "hi"], "").await.exits(5);
    assert!(done.stderr.contains("No gateway took the job."), "{done:?}");
    for table in ["gateway_jobs", "subagent_runs", "subagents"] {
        assert_eq!(stage.rows(table).await[0]["status"], "cancelled", "{table}");
    }
    let child = stage.start(&["run", "--resume", "again"], "").await;
    let id = stage.take("subagent_run").await.job["payload"]["subagent_id"].clone();
    assert_eq!(id, stage.rows("subagents").await[0]["id"]);
    drop(child);
}

#[expect(clippy::disallowed_methods, reason = "a file as a person writes it")]
#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_a_row_is_written() {
    let stage = Stage::new().await;
    std::fs::write(stage.home.path().join("bad.json"), "[1]").unwrap();
    std::fs::write(stage.home.path().join("odd.json"), r#"{"type": "odd"}"#).unwrap();
    let long = "x".repeat(10_000_001);
    for (args, input, part) in [
        (&["run", "-"][..], "a\0b", "NUL"),
        (&["run", "-"], " \n", "empty"),
        (
            &["run", "-", "--provider", "claude"],
            long.as_str(),
            "Claude takes at most 10000000",
        ),
        (&["run", "--schema", "bad.json", "x"], "", "no JSON object"),
        (&["run", "--schema", "odd.json", "x"], "", "not valid: at /type"),
        (&["run", "--timeout", "5h", "x"], "", "4h"),
        (&["run", "--sesion", "x"], "", "--session"),
    ] {
        let done = stage.to_end(args, input).await.exits(2);
        assert!(done.stderr.contains(part), "{args:?}: {done:?}");
    }
    stage.beat("unhealthy", "unhealthy").await;
    let done = stage.to_end(&["run", "x"], "").await.exits(1);
    assert!(done.stderr.contains("gateway doctor"), "{done:?}");
    assert_eq!(stage.rows("subagents").await, [Value::Null; 0]);
    let nobody = Home::new();
    nobody.gateway(&["run", "x"]).exits(7);
}

#[tokio::test]
async fn prompts_that_look_like_options_are_text() {
    let stage = Stage::new().await;
    let prompt = "--dangerously-skip-permissions /cost @/etc/passwd \u{2028}";
    let child = stage.start(&["run", "--json", "--", prompt], "").await;
    let turn = stage.take("subagent_run").await;
    assert_eq!(turn.subagent().await["input"]["prompt"], prompt);
    turn.end("completed", &json!("ok"), None, figures()).await;
    assert_eq!(ended(child).await.ok().json()["content"], "ok");
}
