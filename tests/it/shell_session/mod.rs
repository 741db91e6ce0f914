//! `shell_session` jobs on real shells: what each action says, and what is left when a session ends.

mod bounds;
mod ends;

use std::path::Path;

use gateway::domain::job::{Job, JobOutcome, JobStatus};
use gateway::job::handler::{Context, ControlFacts, JobLife, shell_session};
use gateway::wire::job_row;
use serde_json::{Value, json};

use crate::shell_exec::{context, facts, sent};
use crate::support::eventually::{PATIENCE, eventually};

/// A gateway whose sessions are used job by job.
struct Gateway {
    cx: Context,
    jobs: std::sync::atomic::AtomicUsize,
}

impl Gateway {
    fn new() -> Self {
        Self {
            cx: context(true),
            jobs: std::sync::atomic::AtomicUsize::default(),
        }
    }

    fn job(&self, payload: &Value) -> Job {
        let number = self.jobs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut whole = json!({"resource_id": "r"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(payload.as_object().unwrap().clone());
        let row = json!({
            "id": format!("shell-{}-{number}", std::process::id()), "team_id": "t", "gateway_id": "g",
            "status": "running", "job_type": "shell_session", "payload": whole, "created_at": "c", "updated_at": "u"
        });
        job_row::decode(&row).unwrap()
    }

    async fn run(&self, payload: Value, life: &JobLife) -> JobOutcome {
        let job = self.job(&payload);
        tokio::time::timeout(PATIENCE, shell_session::run(&job, &self.cx, life))
            .await
            .expect("the job must end")
    }

    async fn ok(&self, payload: Value) -> Value {
        let outcome = self.run(payload, &life(facts())).await;
        assert_eq!((outcome.status(), outcome.error()), (JobStatus::Completed, None));
        sent(&outcome)
    }

    /// The error and the result of a job that must fail.
    async fn refused(&self, payload: Value) -> (String, Value) {
        self.refused_under(payload, facts()).await
    }

    async fn refused_under(&self, payload: Value, facts: ControlFacts) -> (String, Value) {
        let outcome = self.run(payload, &life(facts)).await;
        assert_eq!(outcome.status(), JobStatus::Failed, "{outcome:?}");
        (outcome.error().unwrap().to_owned(), sent(&outcome))
    }

    async fn open(&self, more: Value) -> String {
        let mut payload = json!({"action": "open", "shell": "/bin/bash"});
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.ok(payload).await["session_id"].as_str().unwrap().to_owned()
    }

    async fn act(&self, action: &str, id: &str) -> Value {
        self.ok(json!({"action": action, "session_id": id})).await
    }

    async fn write(&self, id: &str, input: &str) {
        let payload = json!({"action": "write", "session_id": id, "input": input, "append_newline": true});
        self.ok(payload).await;
    }

    /// What a stream has said so far.
    async fn said(&self, id: &str, stream: &str) -> String {
        let read = json!({"action": "read", "session_id": id, "max_events": 1000});
        let read = self.ok(read).await;
        let events = read["events"].as_array().unwrap();
        let mine = events.iter().filter(|event| event["stream"] == stream);
        mine.map(|event| event["data"].as_str().unwrap()).collect()
    }

    async fn says(&self, id: &str, stream: &str, text: &str) -> String {
        eventually(&format!("{stream} to say {text:?}"), || async {
            let said = self.said(id, stream).await;
            said.contains(text).then_some(said)
        })
        .await
    }

    async fn reaches(&self, id: &str, status: &str) -> Value {
        eventually(&format!("the session to be {status}"), || async {
            let summary = self.act("status", id).await;
            (summary["status"] == status).then_some(summary)
        })
        .await
    }
}

fn life(facts: ControlFacts) -> JobLife {
    JobLife::default().with_control(facts)
}

#[tokio::test]
async fn a_session_is_opened_used_and_closed() {
    let gateway = Gateway::new();
    let opened = gateway.ok(json!({"action": " OPEN ", "shell": "/bin/bash"})).await;
    assert_eq!(opened["message"], "Shell session opened");
    for (key, value) in [
        ("resource_id", json!("r")),
        ("status", json!("running")),
        ("shell", json!("/bin/bash")),
        ("shell_args", json!([])),
        ("cwd", json!("/")),
        ("exit_code", json!(null)),
        ("error", json!(null)),
        ("latest_sequence", json!(1)),
        ("default_columns", json!(120)),
        ("default_rows", json!(40)),
        ("pty", json!(false)),
    ] {
        assert_eq!(opened[key], value, "{key}");
    }
    let id = opened["session_id"].as_str().unwrap();
    let sent = gateway
        .ok(json!({"action": "write", "session_id": id, "input": "echo out; echo err >&2; echo $TERM $COLUMNS $LINES", "append_newline": true}))
        .await;
    assert_eq!(
        (&sent["message"], &sent["append_newline"]),
        (&json!("Shell session input sent"), &json!(true))
    );
    assert_eq!(sent["bytes_written"], 51);
    gateway.says(id, "stdout", "out\nxterm-256color 120 40\n").await;
    gateway.says(id, "stderr", "err\n").await;
    let closed = gateway.act("close", id).await;
    assert_eq!(
        (&closed["message"], &closed["status"]),
        (&json!("Shell session closed"), &json!("closed"))
    );
    let words = gateway.said(id, "system").await;
    assert_eq!(words, "Session opened (/bin/bash)Session closed by request");
    let (error, _) = gateway
        .refused(json!({"action": "write", "session_id": id, "input": "x"}))
        .await;
    assert_eq!(error, "Shell session is not writable (status: closed)");
}

#[tokio::test]
async fn a_shell_that_exits_is_read_to_its_end_and_can_be_closed() {
    let gateway = Gateway::new();
    let id = gateway
        .open(json!({"shell_args": ["-c", "read go; echo last; exit 7"]}))
        .await;
    gateway.write(&id, "go").await;
    let ended = gateway.reaches(&id, "exited").await;
    assert_eq!((&ended["exit_code"], &ended["signal"]), (&json!(7), &json!(null)));
    assert_eq!(gateway.said(&id, "stdout").await, "last\n");
    assert!(
        gateway
            .said(&id, "system")
            .await
            .ends_with("Session exited with code 7")
    );
    assert_eq!(gateway.act("close", &id).await["status"], "closed");
    let id = gateway.open(json!({"shell_args": ["-c", "read go; kill -9 $$"]})).await;
    gateway.write(&id, "go").await;
    let ended = gateway.reaches(&id, "exited").await;
    assert_eq!((&ended["exit_code"], &ended["signal"]), (&json!(null), &json!(9)));
}

#[tokio::test]
async fn reading_goes_on_where_it_was() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    for word in ["one", "two", "three"] {
        gateway.write(&id, &format!("echo {word}")).await;
        gateway.says(&id, "stdout", word).await;
    }
    let read =
        |since: u64, max: u64| json!({"action": "read", "session_id": id, "since_sequence": since, "max_events": max});
    let first = gateway.ok(read(1, 2)).await;
    assert_eq!(
        (&first["has_more"], &first["latest_sequence"]),
        (&json!(true), &json!(4))
    );
    assert_eq!(first["events"][1]["sequence"], 3);
    let rest = gateway.ok(read(3, 2)).await;
    assert_eq!(
        (&rest["has_more"], &rest["events"][0]["data"]),
        (&json!(false), &json!("three\n"))
    );
    assert_eq!(gateway.ok(read(4, 2)).await["events"], json!([]));
}

#[tokio::test]
async fn characters_in_two_writes_of_the_shell_stay_whole() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway
        .write(&id, r"printf '\xe2\x82'; read x; printf '\xac\000\xff\n'")
        .await;
    gateway.write(&id, "go").await;
    assert_eq!(gateway.says(&id, "stdout", "\n").await, "€\\0\\xff\n");
}

#[tokio::test]
async fn what_begins_like_a_key_is_shown_to_whoever_waits_for_it() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway
        .write(&id, "printf 'pass sk-'; read -r rest; printf '%s\\n' end")
        .await;
    gateway.says(&id, "stdout", "pass sk-").await;
    gateway.write(&id, "x").await;
    gateway.says(&id, "stdout", "pass sk-end").await;
    gateway.act("close", &id).await;
}

#[tokio::test]
async fn a_terminal_is_one_and_changes_its_size() {
    let gateway = Gateway::new();
    // An editor switches the terminal's mode at each prompt, and an end that is typed just then is lost.
    let plain = ["--norc", "--noediting"];
    let id = gateway
        .open(json!({"pty": true, "columns": 100, "rows": 30, "shell_args": plain}))
        .await;
    gateway
        .write(&id, "tty; stty size; echo \"[$COLUMNS]\" >&2; ps -o tty= -p $$")
        .await;
    gateway.says(&id, "stdout", "/dev/").await;
    gateway.says(&id, "stdout", "30 100").await;
    let resize = json!({"action": "resize", "session_id": id, "columns": 77, "rows": 11});
    let resized = gateway.ok(resize).await;
    assert_eq!((&resized["columns"], &resized["rows"]), (&json!(77), &json!(11)));
    gateway.write(&id, "stty size").await;
    gateway.says(&id, "stdout", "11 77").await;
    assert_eq!(gateway.said(&id, "stderr").await, "");
    gateway
        .ok(json!({"action": "write", "session_id": id, "eof": true}))
        .await;
    assert_eq!(gateway.reaches(&id, "exited").await["exit_code"], 0);
}

#[tokio::test]
async fn a_shell_that_closed_its_input_is_a_refusal_and_nothing_worse() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway.write(&id, "exec 0<&-; echo closed; sleep 4325").await;
    gateway.says(&id, "stdout", "closed").await;
    let (error, result) = gateway
        .refused(json!({"action": "write", "session_id": id, "input": "x"}))
        .await;
    assert_eq!(error, "Failed to write to shell session: write EPIPE");
    assert_eq!(result["status"], "running");
    gateway.act("close", &id).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_typed_and_the_end_is_told() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({"shell": "/bin/cat"})).await;
    gateway
        .ok(json!({"action": "write", "session_id": id, "input_base64": "AP8=", "eof": true}))
        .await;
    assert_eq!(gateway.reaches(&id, "exited").await["exit_code"], 0);
    assert_eq!(gateway.said(&id, "stdout").await, "\\0\\xff");
}

#[tokio::test]
async fn the_environment_is_the_users_and_the_given() {
    let gateway = Gateway::new();
    let dir = tempfile::tempdir().unwrap();
    let env = json!({"MINE": 7, "TERM": "dumb"});
    let id = gateway.open(json!({"env": env, "cwd": dir.path()})).await;
    gateway.write(&id, "pwd; env; echo done").await;
    let said = gateway.says(&id, "stdout", "\ndone\n").await;
    let cwd = Path::new(said.lines().next().unwrap()).canonicalize().unwrap();
    assert_eq!(cwd, dir.path().canonicalize().unwrap());
    for line in ["MINE=7", "TERM=dumb", "MY_AGENT_KEY=kept", "TMPDIR=/tmp/job"] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    assert!(
        said.contains("GATEWAY_JOB_ID=shell-") && !said.contains("=gone"),
        "{said}"
    );
    gateway.act("close", &id).await;
}
