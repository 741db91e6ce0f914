//! The daemon's own tokens, and keys of known shapes, never leave the host.

use gateway::state::session::SessionStore;
use serde_json::{Value, json};

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::recorder::Recorder;
use crate::support::stand_in::StandIns;

/// Both tokens of the host's session.
fn tokens(host: &Host) -> [String; 2] {
    let session = SessionStore::new(&host.paths()).load().unwrap().unwrap();
    [session.access_token, session.refresh_token].map(|token| token.expose().to_owned())
}

fn session_file(host: &Host) -> String {
    host.paths().config_file.display().to_string()
}

fn key() -> String {
    ["sk-ant-", "api03-0123456789abcdef"].concat()
}

/// No more of a token than a few bytes of its end.
fn assert_clean(text: &str, tokens: &[String]) {
    for token in tokens {
        let tail = &token[token.len() - 12..];
        assert!(!text.contains(tail), "{tail} in {text}");
    }
    assert!(!text.contains(&key()), "{text}");
}

/// Only the login itself carries tokens.
fn assert_nothing_was_sent(recorder: &Recorder, tokens: &[String]) {
    let rows = recorder.seen().into_iter();
    for seen in rows.filter(|seen| !seen.target.starts_with("/auth/")) {
        assert_clean(&seen.body, tokens);
    }
}

/// A6, and X25 and X26 in small: environment and credentials file, plain, encoded and cut.
#[tokio::test]
async fn a_job_that_prints_the_session_shows_no_token() {
    let (host, recorder) = Host::recorded().await;
    let daemon = host.start_ready(&[]).await;
    let (tokens, file) = (tokens(&host), session_file(&host));
    let plain = host
        .done(&host.shell(&format!("env; cat {file}; cat {file} >&2")).await)
        .await;
    for stream in ["stdout", "stderr"] {
        let text = plain["result"][stream].as_str().unwrap();
        for member in ["accessToken", "refreshToken"] {
            assert!(text.contains(&format!("\"{member}\": \"[REDACTED]\"")), "{text}");
        }
    }
    let encoded = host
        .done(&host.shell(&format!("base64 {file}; base64 -w0 {file}")).await)
        .await;
    let stdout = encoded["result"]["stdout"].as_str().unwrap();
    assert_eq!(stdout.matches("[REDACTED]").count(), 4, "{stdout}");
    let cut = format!("sed -n 's/.*accessToken\": \"//p' {file} | head -c 60");
    let cut = host.done(&host.shell(&cut).await).await;
    assert_eq!(cut["result"]["stdout"], "[REDACTED]", "{cut}");
    let known = host.done(&host.shell(&format!("echo key={}", key())).await).await;
    assert_eq!(known["result"]["stdout"], "key=[REDACTED]\n", "{known}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_clean(&std::fs::read_to_string(host.paths().log_file).unwrap(), &tokens);
    assert_nothing_was_sent(&recorder, &tokens);
}

#[tokio::test]
async fn an_agent_that_says_a_token_tells_none() {
    let (host, recorder) = Host::recorded().await;
    let (tokens, programs) = (tokens(&host), StandIns::new());
    let turn = format!(
        "t=$(sed -n 's/.*refreshToken\": \"\\([^\"]*\\)\".*/\\1/p' {})\necho \"$t {key}\" >&2\nsay 0 \"it is $t or {key}.\"",
        session_file(&host),
        key = key(),
    );
    let codex = programs.codex(&turn);
    let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &codex)]).await;
    let run = host.start_run("tell").await;
    let job = host.done(&run.job).await;
    assert_eq!(job["status"], "completed", "{job}");
    let events = host.events_of(&run.run).await;
    let said = events.iter().find(|(_, word, _)| word == "message").unwrap();
    assert_eq!(said.2["content"], "it is [REDACTED] or [REDACTED].");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_clean(&std::fs::read_to_string(host.paths().log_file).unwrap(), &tokens);
    assert_nothing_was_sent(&recorder, &tokens);
}

#[tokio::test]
async fn a_shell_that_prints_a_token_in_two_pieces_shows_none() {
    let (host, recorder) = Host::recorded().await;
    let daemon = host.start_ready(&[]).await;
    let tokens = tokens(&host);
    let act = async |payload: Value| {
        let mut payload = payload;
        payload["resource_id"] = json!(host.resource);
        let row = host.done(&host.submit("shell_session", payload, json!({})).await).await;
        assert_eq!(row["status"], "completed", "{row}");
        row["result"].clone()
    };
    let opened = act(json!({"action": "open", "shell": "/bin/bash"})).await;
    let id = &opened["session_id"];
    let write = async |input: String| {
        act(json!({"action": "write", "session_id": id, "input": input, "append_newline": true})).await;
    };
    let reads = async |wanted: &str| {
        eventually(wanted, || async {
            let read = act(json!({"action": "read", "session_id": id})).await;
            let events = read["events"].as_array().unwrap();
            let text: String = events.iter().map(|event| event["data"].as_str().unwrap()).collect();
            text.contains(wanted).then_some(())
        })
        .await;
    };
    let file = session_file(&host);
    write(format!(
        "t=$(sed -n 's/.*accessToken\": \"\\([^\"]*\\)\".*/\\1/p' {file})"
    ))
    .await;
    write("printf 'first %s' \"${t:0:50}\"".to_owned()).await;
    reads("first ").await;
    write("printf '%s last\\n' \"${t:50}\"".to_owned()).await;
    reads("first [REDACTED] last").await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_nothing_was_sent(&recorder, &tokens);
}
