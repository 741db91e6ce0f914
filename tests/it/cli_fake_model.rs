//! `gateway fake-model`: says where it is, logs what it is asked, ends when it is told to.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::clis;
use crate::support::home::{Done, Home};
use crate::support::sandbox::Sandbox;

const LIMIT: Duration = Duration::from_secs(30);

/// Starts it and reads until a line says where it listens.
async fn start(sandbox: &Sandbox, args: &[&str]) -> (Child, String) {
    let mut child = sandbox
        .command([&["fake-model"], args].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let address = tokio::time::timeout(LIMIT, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it never listened");
            if let Some((_, address)) = line.split_once("http://") {
                return address.trim_end_matches(['"', ',']).to_owned();
            }
        }
    });
    let address = address.await.unwrap();
    (child, address)
}

async fn ends(child: &mut Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
    let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}");
}

/// Sends a question by hand; gives the connection.
async fn ask(address: &str, path: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn what_is_asked_is_logged_byte_for_byte() {
    let sandbox = Sandbox::new();
    let (mut child, address) = start(&sandbox, &["--log", "asked.jsonl"]).await;
    let prompt = " --dangerous \u{2028}\u{1f980}\n".repeat(1000);
    let body = json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": prompt}]}]});
    let mut answer = String::new();
    let mut stream = ask(&address, "/v1/responses", &body).await;
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("fake(1): --dangerous"),
        "{answer}"
    );
    ends(&mut child, Signal::SIGINT).await;
    let log = std::fs::read_to_string(sandbox.home().join("asked.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["api"], &lines[0]["user"]),
        (&json!("openai"), &json!([prompt]))
    );
    assert_eq!(lines[1], json!({"event": "ended", "n": 1, "how": "complete"}));
}

#[tokio::test]
async fn it_ends_at_once_also_in_the_middle_of_an_answer() {
    let sandbox = Sandbox::new();
    let (mut child, address) = start(&sandbox, &["--json"]).await;
    let body = json!({"stream": true, "messages": [{"role": "user", "content": "[[hang]]"}]});
    let mut stream = ask(&address, "/v1/messages", &body).await;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    ends(&mut child, Signal::SIGTERM).await;
}

#[test]
fn it_is_for_this_machine_only() {
    let home = Home::new();
    let done = home.gateway(&["fake-model", "--listen", "0.0.0.0:0"]).exits(2);
    assert!(done.stderr.contains("loopback"), "{}", done.stderr);
    home.gateway(&["fake-model", "--listen", "127.0.0.1:0", "--port", "1"])
        .exits(2);
    assert!(!home.state().exists(), "it made something");
}

#[test]
fn the_help_teaches_the_script_and_the_recipes() {
    let text = Home::new().gateway(&["help", "fake-model"]).ok().stdout;
    for word in [
        "[[tool:bash",
        "[[error:",
        "ANTHROPIC_BASE_URL=",
        "openai_base_url",
        "GOOGLE_GEMINI_BASE_URL",
        "gateway providers set claude --base-url",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test]
async fn its_recipes_work_as_they_are_printed() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.start(&["fake-model"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut script = String::from("set -e\n");
    while !script.contains("gemini -m") {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
        let line = line.expect("the recipes are incomplete");
        // The labelled lines before the recipes, and the names above them, are no commands; the gateway's way is a
        // journey of its own.
        let other = ["  Address:", "  Next:", "  gateway "];
        if line.starts_with("  ") && !other.iter().any(|other| line.starts_with(other)) {
            script.push_str(&format!("{line}\n"));
        }
    }
    let home = clis::dir();
    let output = shell(&script, home.path()).output();
    let done = Done::from(tokio::time::timeout(LIMIT * 2, output).await.unwrap().unwrap()).ok();
    let hellos = done.stdout.lines().filter(|line| *line == "hello").count();
    assert_eq!(hellos, 3, "{script}\n{done:?}");
    ends(&mut child, Signal::SIGINT).await;
}

#[expect(clippy::disallowed_methods, reason = "a person's shell")]
fn shell(script: &str, home: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .env_clear()
        .env("HOME", home)
        .env("PATH", clis::path(&clis::bin()))
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
