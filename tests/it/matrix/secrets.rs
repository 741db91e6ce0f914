//! A6, X25 and X26: the daemon's own tokens, and keys of known shapes, never leave the host.

use std::sync::Arc;

use gateway::domain::needles::Needles;
use gateway::domain::outgoing::{Outgoing, Pieces};
use gateway::domain::secret::Secret;
use gateway::state::fs::OwnerDir;
use gateway::state::provider_settings::ProviderSettingsFile;
use gateway::state::session::{Session, SessionStore};
use serde_json::{Value, json};

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{Ingress, Work, on_every_path};
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::fake_agent::script;
use crate::support::recorder::Recorder;

/// What a daemon may be started with and no job may see.
const OWN: [(&str, &str); 4] = [
    ("GATEWAY_DATABASE_URL", "postgres://owner:pw-5c1d9a7e43@db/gateway"),
    ("PANORAMA_VM_BOOTSTRAP_TOKEN", "bootstrap-5c1d9a7e40"),
    ("SUPABASE_SERVICE_ROLE_KEY", "service-5c1d9a7e41"),
    ("GATEWAY_TOKEN", "operator-5c1d9a7e42"),
];
/// Bytes kept of an output stream.
const KEPT: usize = 5_000_000;
/// Bytes of stderr that go with a run.
const STDERR: usize = 64 * 1024;

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
    for secret in OWN.map(|(_, value)| value.to_owned()).iter().chain(&[key()]) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// Only the login itself carries tokens.
fn assert_nothing_was_sent(recorder: &Recorder, tokens: &[String]) {
    let rows = recorder.seen().into_iter();
    for seen in rows.filter(|seen| !seen.target.starts_with("/auth/")) {
        assert_clean(&seen.body, tokens);
    }
}

impl Scene {
    /// Everything that the host has told its control plane, and its own log.
    async fn told(&self) -> String {
        let mut told = std::fs::read_to_string(self.host.paths().log_file).unwrap();
        for table in [
            "gateway_jobs",
            "subagents",
            "subagent_runs",
            "subagent_run_events",
            "gateway_events",
            "team_gateways",
        ] {
            let path = format!("/rest/v1/{table}?select=*");
            let (status, rows) = self.host.plane.get(&path, &self.host.operator).await;
            assert_eq!(status, 200, "{table}");
            told += &rows.to_string();
        }
        told
    }
}

#[tokio::test]
async fn a6_a_job_that_prints_environment_and_session_shows_no_secret() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start_with(&OWN).await;
        let (tokens, file) = (tokens(&scene.host), session_file(&scene.host));
        let script = format!(
            r#"cat {file} >&2
{{ env; cat {file}; cat /proc/$PPID/environ; echo "key={key}"; }} | tr '\\"\n\000' '   '; echo"#,
            key = key(),
        );
        let job = scene.work(work, &script).await;
        let row = scene.done_once(&job).await;
        let text = printed(&row);
        for member in ["accessToken", "refreshToken", "key="] {
            let at = text.find(member).unwrap_or_else(|| panic!("{member} in {text}"));
            let behind = text[at + member.len()..].trim_start_matches([' ', ':']);
            assert!(behind.starts_with("[REDACTED]"), "{text}");
        }
        // Where the parent is the daemon, its environment is the one thing that a job of the same account can read.
        assert!(text.contains("GATEWAY_JOB_ID="), "{text}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert_clean(&scene.told().await, &tokens);
    })
    .await;
}

#[tokio::test]
async fn a6_the_tokens_of_before_show_no_more_than_those_of_now() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let [_, before] = tokens(&scene.host);
        let rotated = |session: &mut Session| session.refresh_token = Secret::new("refresh-5c1d9a7e44");
        SessionStore::new(&scene.host.paths()).update(rotated).unwrap();
        let daemon = scene.start().await;
        let script = format!(
            r#"grep refreshToken {}.previous | tr '"' ' '"#,
            session_file(&scene.host)
        );
        let row = scene.done_once(&scene.work(work, &script).await).await;
        assert!(printed(&row).contains("[REDACTED]"), "{row}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert_clean(&scene.told().await, &[before]);
    })
    .await;
}

#[tokio::test]
async fn a6_a_key_that_the_owner_sets_is_not_shown() {
    let scene = Scene::new(Ingress::Push).await;
    let dir = Arc::new(OwnerDir::open_or_create(&scene.host.paths().dir).unwrap());
    let file = ProviderSettingsFile::new(&dir);
    let set = |key: &str| {
        let changed = file.change("codex", |settings| settings.key = Some(Secret::new(key)));
        drop(changed.unwrap());
    };
    let shown = async || {
        let script = format!("cat {}/providers.json", dir.path().display());
        printed(&scene.done_once(&scene.work(Work::Shell, &script).await).await).to_owned()
    };
    set("plain-5c1d9a7e45");
    let daemon = scene.start().await;
    let text = shown().await;
    assert!(text.contains("[REDACTED]") && !text.contains("5c1d9a7e45"), "{text}");
    set("other-5c1d9a7e46");
    eventually("the new key to be known", || async {
        (!shown().await.contains("5c1d9a7e46")).then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a6_what_an_agent_cli_says_of_itself_shows_no_key() {
    let scene = Scene::new(Ingress::Push).await;
    let program = script(
        scene.host.state.path(),
        &format!("echo broken by {} >&2; exit 3", key()),
    );
    let daemon = scene.start_with(&[("PANORAMA_CLAUDE_CLI", &program)]).await;
    let told = eventually("its words", || async {
        let told = scene.told().await;
        told.contains("broken by").then_some(told)
    })
    .await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert!(told.contains("broken by [REDACTED]"), "{told}");
    assert_clean(&scene.told().await, &tokens(&scene.host));
}

/// What a script has to do to print so many bytes.
fn padding(bytes: usize) -> String {
    format!("head -c {bytes} /dev/zero | tr '\\000' x")
}

/// The limit of an output falls into a character, and into an escape sequence of a terminal.
#[tokio::test]
async fn x25_what_is_cut_is_cut_at_a_character() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let script = match work {
            Work::Shell => format!(
                r"{0}; printf '€€€'; {{ {0}; printf '\033[31mred'; }} >&2",
                padding(KEPT - 2)
            ),
            Work::Agent => format!("{{ printf 'first €'; {}; }} >&2; echo said", padding(STDERR - 1)),
        };
        let job = scene.work(work, &script).await;
        let row = scene.done_once(&job).await;
        match work {
            Work::Shell => {
                let stdout = row["result"]["stdout"].as_str().unwrap();
                assert_eq!((stdout.len(), stdout.ends_with('x')), (KEPT - 2, true));
                assert!(row["result"]["stderr"].as_str().unwrap().ends_with("x\u{1b}["));
                assert_eq!(
                    (&row["result"]["stdout_truncated"], &row["result"]["stdout_escaped"]),
                    (&json!(true), &json!(false))
                );
            }
            Work::Agent => assert!(stderr_of_run(&scene).await.starts_with("xxx")),
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// What is kept of it on the control plane.
async fn stderr_of_run(scene: &Scene) -> String {
    let (_, rows) = scene
        .host
        .plane
        .get("/rest/v1/subagent_runs?select=*", &scene.host.operator)
        .await;
    let kept = &rows[0]["metadata"]["stderr_preview"];
    kept.as_str().unwrap_or_else(|| panic!("{rows}")).to_owned()
}

/// The limit of an output falls into a token.
#[tokio::test]
async fn x25_half_a_secret_is_none() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let (tokens, file) = (tokens(&scene.host), session_file(&scene.host));
        let token = format!(r#"printf %s "$(sed -n 's/.*accessToken": "\([^"]*\)".*/\1/p' {file})""#);
        let script = match work {
            Work::Shell => format!("{}; {token}", padding(KEPT - 50)),
            Work::Agent => format!(
                "{{ printf 'first '; {token}; echo; {}; }} >&2; echo said",
                padding(STDERR - 50)
            ),
        };
        let job = scene.work(work, &script).await;
        let row = scene.done_once(&job).await;
        match work {
            Work::Shell => assert!(row["result"]["stdout"].as_str().unwrap().ends_with("xx[REDACTED]")),
            Work::Agent => assert!(stderr_of_run(&scene).await.starts_with("first [REDACTED]\nxx")),
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        let begun = &tokens[0][..12];
        let told = scene.told().await;
        assert!(!told.contains(begun), "{begun}");
        assert_clean(&told, &tokens);
    })
    .await;
}

/// Across two reads of a pipe, in base64 in one line and in many, and in percent form.
#[tokio::test]
async fn x26_a_secret_is_found_in_every_form() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let (tokens, file) = (tokens(&scene.host), session_file(&scene.host));
        let script = format!(
            r#"t=$(sed -n 's/.*accessToken": "\([^"]*\)".*/\1/p' {file})
{}; printf '%s,' "$t"
printf %s "$t" | base64 -w0; printf ,
printf 'a%s' "$t" | base64 -w0; printf ,
printf %s "$t" | sed 's/\./%2E/g; s/_/%5F/g; s/-/%2D/g'; echo .
{{ printf %s "$t" | base64; echo; }} >&2"#,
            padding(64 * 1024 - 30),
        );
        let job = scene.work(work, &script).await;
        let row = scene.done_once(&job).await;
        let text = printed(&row).trim_start_matches('x');
        let hidden: Vec<_> = text.split(',').collect();
        assert_eq!((hidden[0], hidden.len()), ("[REDACTED]", 4), "{text}");
        assert!(
            hidden.iter().all(|part| part.contains("[REDACTED]") && part.len() < 20),
            "{text}"
        );
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        let told = scene.told().await;
        assert_clean(&told, &tokens);
        let half = &encoded(&tokens[0])[40..60];
        assert!(!told.contains(half), "{half}");
    })
    .await;
}

fn encoded(token: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(token)
}

#[test]
fn x26_a_secret_that_is_longer_than_a_read_is_found() {
    let secret: String = (0..20_000).map(|number| format!("{number:05}-")).collect();
    let (needles, said) = (Needles::default(), format!("before {secret} behind"));
    needles.hold(&Secret::new(secret));
    let mut pieces = Pieces::new(&Outgoing::new(needles));
    let reads = said.as_bytes().chunks(64 * 1024);
    let mut shown: String = reads
        .map(|read| pieces.push(std::str::from_utf8(read).unwrap()))
        .collect();
    shown += &pieces.finish();
    assert_eq!(shown, "before [REDACTED] behind");
}

#[tokio::test]
async fn x26_a_shell_that_prints_a_token_in_two_pieces_shows_none() {
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
