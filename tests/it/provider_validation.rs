//! Whether a model answers at all: asked by the daemon once, by `doctor` always, and known to both.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::clis;
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::fake_model::FakeModel;
use crate::support::home::Done;
use crate::support::sandbox::Sandbox;
use crate::support::stand_in::StandIns;

/// Answers as its schema wants it, and keeps count.
const ANSWERS: &str = r#"echo asked >>"$here/asked"; [ ! -e "$here/out" ] || {
echo '{"type":"turn.failed","error":{"message":"unexpected status 401 Unauthorized: no"}}'; exit 1; }
say 0 '{\"message\":\"hi\"}'"#;

const NOWHERE: [(&str, &str); 2] = [
    ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
    ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
];

fn times_asked(programs: &StandIns) -> usize {
    let asked = std::fs::read_to_string(programs.path("asked")).unwrap_or_default();
    asked.lines().count()
}

#[tokio::test]
async fn a_start_asks_a_model_that_was_never_asked_and_no_other() {
    let programs = StandIns::new();
    let codex = programs.codex(ANSWERS);
    let host = Host::new().await;
    let on = [
        ("PANORAMA_GATEWAY_TEST_VALIDATION", "on"),
        ("PANORAMA_CODEX_CLI", &codex),
    ];
    let settings = [NOWHERE.as_slice(), &on].concat();
    let path = format!(
        "/rest/v1/team_gateways?select=capabilities&id=eq.{}",
        host.paired.gateway_id
    );
    for _start in 0..2 {
        let daemon = host.start_ready(&settings).await;
        let health = eventually("Codex to be healthy", || async {
            let (_, rows) = host.plane.get(&path, &host.operator).await;
            let health = &rows[0]["capabilities"]["providers"]["codex"]["health"];
            (health["status"] == "healthy").then(|| health.clone())
        })
        .await;
        assert_eq!(health["last_full_status"], "healthy", "{health}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert_eq!(times_asked(&programs), 1, "remembered in the session file");
    }
    let told = host.events().await;
    assert!(told.iter().all(|event| event["provider"] != "codex"), "{told:?}");
}

#[tokio::test]
async fn a_start_tells_of_a_model_that_does_not_answer() {
    let programs = StandIns::new();
    programs.put("out", "");
    let codex = programs.codex(ANSWERS);
    let host = Host::new().await;
    let on = [
        ("PANORAMA_GATEWAY_TEST_VALIDATION", "on"),
        ("PANORAMA_CODEX_CLI", &codex),
    ];
    let daemon = host.start_ready(&[NOWHERE.as_slice(), &on].concat()).await;
    let told = host.told(3).await;
    let codex = told.iter().find(|event| event["provider"] == "codex").unwrap();
    let message = "codex validation failed: not logged in: unexpected status 401 Unauthorized: no";
    assert_eq!((&codex["level"], &codex["message"]), (&json!("error"), &json!(message)));
    assert_eq!(
        (&codex["details"]["context"], &codex["details"]["check_type"]),
        (&json!("startup"), &json!("full"))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

/// A host with a daemon that asks no model, and a Codex that answers.
async fn up(programs: &StandIns) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PANORAMA_GATEWAY_TEST_LOOK_MS", "3000");
    sandbox.set_env("PANORAMA_CODEX_CLI", &programs.codex(ANSWERS));
    for (name, value) in NOWHERE {
        sandbox.set_env(name, value);
    }
    sandbox.up().await;
    sandbox.set_env("PANORAMA_GATEWAY_TEST_VALIDATION", "on");
    sandbox
}

async fn reported(sandbox: &Sandbox) -> Value {
    let rows = sandbox.get("/rest/v1/team_gateways?select=capabilities").await;
    rows[0]["capabilities"]["providers"]["codex"]["health"].clone()
}

#[tokio::test]
async fn doctor_asks_the_models_and_everybody_knows_then() {
    let programs = StandIns::new();
    let sandbox = up(&programs).await;
    assert_eq!(times_asked(&programs), 0);
    let light = sandbox.json(&["doctor", "--validate", "light", "--json"]).await;
    assert_eq!(light["providers"]["codex"]["health"]["status"], "unknown");
    assert_eq!(times_asked(&programs), 0);

    let doctor = sandbox.json(&["doctor", "--json"]).await;
    let (codex, claude) = (&doctor["providers"]["codex"], &doctor["providers"]["claude_code"]);
    assert_eq!(
        (&codex["health"]["status"], &codex["health"]["check_type"]),
        (&json!("healthy"), &json!("full")),
        "{doctor}"
    );
    assert_eq!((&codex["cause"], &codex["fix"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&claude["health"]["status"], &claude["cause"]),
        (&json!("unavailable"), &json!("not_installed"))
    );
    assert!(
        claude["fix"].as_str().unwrap().starts_with("Install Claude"),
        "{claude}"
    );
    assert_eq!(times_asked(&programs), 1);
    sandbox.json(&["doctor", "--validate", "auto", "--json"]).await;
    assert_eq!(times_asked(&programs), 1);

    let listed = sandbox.json(&["providers", "list", "--json"]).await;
    assert_eq!(listed["codex"]["health"]["status"], "healthy", "{listed}");
    eventually("the daemon to know", || async {
        (reported(&sandbox).await["last_full_status"] == "healthy").then_some(())
    })
    .await;
    let told = sandbox
        .get("/rest/v1/gateway_events?select=provider,details&order=created_at.asc")
        .await;
    let by_doctor = |event: &&Value| event["details"]["context"] == "doctor";
    let told: Vec<_> = told.as_array().unwrap().iter().filter(by_doctor).collect();
    assert!(
        told.iter().all(|event| event["provider"] != "codex") && told.len() == 4,
        "{told:?}"
    );
}

#[tokio::test]
async fn doctor_names_cause_and_fix_and_new_settings_forgive() {
    let programs = StandIns::new();
    let sandbox = up(&programs).await;
    programs.put("out", "");
    let doctor = sandbox.run(&["doctor"]).await.ok();
    let status =
        "  - codex: unhealthy (not logged in: unexpected status 401 Unauthorized: no)\n      Next: Run `codex` on";
    assert!(doctor.stdout.contains(status), "{}", doctor.stdout);
    let listed = sandbox.run(&["providers", "list"]).await.ok();
    let line = "Health: unhealthy: not logged in: unexpected status 401 Unauthorized: no";
    assert!(
        listed.stdout.contains(line) && listed.stdout.contains("Next: Run `codex` on"),
        "{}",
        listed.stdout
    );
    eventually("the daemon to know", || async {
        (reported(&sandbox).await["status"] == "unhealthy").then_some(())
    })
    .await;
    let set = ["providers", "set", "codex", "--base-url", "http://127.0.0.1:9"];
    sandbox.run(&set).await.ok();
    eventually("the daemon to forgive", || async {
        (reported(&sandbox).await["status"] == "unknown").then_some(())
    })
    .await;
}

/// Begins to answer and never ends.
const HANGS: &str = r#"echo $$ >"$here/pid.new"; mv "$here/pid.new" "$here/pid"; sleep 600"#;

/// Waits until a model is being asked, and gives the process that does.
async fn asking(programs: &StandIns) -> Pid {
    eventually("a model to be asked", || async {
        let text = std::fs::read_to_string(programs.path("pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    })
    .await
}

async fn gone(process: Pid) {
    eventually("the one that asked to be gone", || async {
        kill(process, None).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_stops_asks_no_longer() {
    let programs = StandIns::new();
    let codex = programs.codex(HANGS);
    let host = Host::new().await;
    let on = [
        ("PANORAMA_GATEWAY_TEST_VALIDATION", "on"),
        ("PANORAMA_CODEX_CLI", &codex),
    ];
    let daemon = host.start_ready(&[NOWHERE.as_slice(), &on].concat()).await;
    let process = asking(&programs).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    gone(process).await;
}

#[tokio::test]
async fn an_interrupted_doctor_says_what_it_knows() {
    let programs = StandIns::new();
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PANORAMA_CODEX_CLI", &programs.codex(HANGS));
    sandbox.set_env("PANORAMA_GATEWAY_TEST_VALIDATION", "on");
    let doctor = sandbox.start(&["doctor", "--json"]);
    let process = asking(&programs).await;
    kill(
        Pid::from_raw(i32::try_from(doctor.id().unwrap()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let said = Done::from(doctor.wait_with_output().await.unwrap()).exits(1).json();
    assert_eq!(said["providers"]["codex"]["health"]["status"], "unknown", "{said}");
    gone(process).await;
}

#[tokio::test]
async fn pairing_asks_the_models_and_tells_of_the_others() {
    let operator = Sandbox::new();
    operator.run(&["up", "--detach"]).await.ok();
    let created = operator.json(&["control-plane", "pairing-code", "--json"]).await;
    let programs = StandIns::new();
    let mut host = Sandbox::new();
    host.set_env("PANORAMA_CODEX_CLI", &programs.codex(ANSWERS));
    for (name, value) in NOWHERE {
        host.set_env(name, value);
    }
    host.set_env("PANORAMA_GATEWAY_TEST_VALIDATION", "on");
    let said = host
        .pair_with(&operator.plane(), created["code"].as_str().unwrap())
        .await
        .ok();
    assert!(said.stdout.contains("  Codex: healthy ("), "{said:?}");
    assert!(said.stdout.contains("Claude: unavailable ("), "{said:?}");
    let told = operator
        .get("/rest/v1/gateway_events?select=provider,details&order=provider.asc")
        .await;
    let by_pairing = |event: &&Value| event["details"]["context"] == "pairing";
    let told = told.as_array().unwrap().iter().filter(by_pairing);
    let providers: Vec<&Value> = told.map(|event| &event["provider"]).collect();
    assert_eq!(providers, ["claude_code", "gemini"]);
    // The daemon that pairing started knows already.
    host.run(&["stop"]).await.ok();
    assert_eq!(times_asked(&programs), 1);
}

/// A host whose real CLIs of these names talk to a scripted model.
async fn up_with(model: &FakeModel, providers: &[&str]) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PATH", clis::path(&clis::bin()).to_str().unwrap());
    sandbox.up().await;
    for provider in providers {
        let set = ["providers", "set", provider, "--base-url", &model.url()];
        sandbox.run(&set).await.ok();
    }
    sandbox
}

/// Asked as `doctor` asks it, the real one answers.
async fn answers_doctor(word: &str, name: &str) {
    let model = FakeModel::start().await;
    let mut sandbox = up_with(&model, &[word]).await;
    sandbox.set_env("PANORAMA_GATEWAY_TEST_VALIDATION", "on");
    for (variable, other) in [("CLAUDE", "claude"), ("CODEX", "codex"), ("GEMINI", "gemini")] {
        if other != word {
            sandbox.set_env(&format!("PANORAMA_{variable}_CLI"), "/nowhere/agent");
        }
    }
    // A busy machine may need a second try.
    eventually("a healthy provider", || async {
        let doctor = sandbox.json(&["doctor", "--json"]).await;
        (doctor["providers"][name]["health"]["status"] == "healthy").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_real_claude_answers_doctor() {
    answers_doctor("claude", "claude_code").await;
}

#[tokio::test]
async fn a_real_codex_answers_doctor() {
    answers_doctor("codex", "codex").await;
}

#[tokio::test]
async fn a_real_gemini_answers_doctor() {
    answers_doctor("gemini", "gemini").await;
}

/// A run with this prompt fails with these words, and the next one is tried as if nothing had been.
async fn in_trouble(provider: &str, prompt: &str, words: [&str; 2]) {
    let model = FakeModel::start().await;
    let sandbox = up_with(&model, &[provider]).await;
    let run = sandbox
        .run(&["run", "--provider", provider, "--json", prompt])
        .await
        .exits(1);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let run = sandbox
        .json(&["run", "--provider", provider, "--json", "[[say:well again]]"])
        .await;
    assert_eq!(
        (&run["status"], &run["content"]),
        (&json!("completed"), &json!("well again"))
    );
}

#[tokio::test]
async fn a_real_claude_whose_key_is_refused_says_so() {
    let words = ["Claude: not logged in: ", "Run `claude` on the gateway host"];
    in_trouble("claude", "[[error:401]]", words).await;
}

#[tokio::test]
async fn a_real_codex_over_its_quota_says_so() {
    let words = ["Codex: over quota: ", "Wait until Codex grants more"];
    in_trouble("codex", "[[error:429]]", words).await;
}
