//! Turns of agents through everything: command line, control plane, daemon, the real agent CLIs, a scripted model.

use serde_json::{Value, json};

use crate::support::clis;
use crate::support::eventually::eventually;
use crate::support::fake_model::FakeModel;
use crate::support::sandbox::Sandbox;

/// A home with control plane and daemon, whose agent CLIs talk to a scripted model.
struct Stage {
    sandbox: Sandbox,
    model: FakeModel,
}

impl Stage {
    async fn new(provider: &str) -> Self {
        let model = FakeModel::start().await;
        let mut sandbox = Sandbox::new();
        sandbox.set_env("PATH", clis::path().to_str().unwrap());
        sandbox.run(&["up", "--detach", "--full-control"]).await.ok();
        let set = ["providers", "set", provider, "--base-url", &model.url(), "--allow-root"];
        sandbox.run(&set).await.ok();
        Self { sandbox, model }
    }

    /// A turn that is to be answered; the document of `gateway run --json`.
    async fn turn(&self, words: &[&str]) -> Value {
        self.sandbox.json(&[&["run", "--json"], words].concat()).await
    }

    /// The events of a run, in their order.
    async fn events(&self, run: &Value) -> Vec<(i64, String, Value)> {
        let run = run["run_id"].as_str().unwrap();
        let path = format!("/rest/v1/subagent_run_events?run_id=eq.{run}&order=sequence.asc");
        let rows = self.sandbox.get(&path).await;
        let event = |row: &Value| {
            let word = row["event_type"].as_str().unwrap().to_owned();
            (row["sequence"].as_i64().unwrap(), word, row["payload"].clone())
        };
        rows.as_array().unwrap().iter().map(event).collect()
    }
}

async fn two_turns(provider: &str) {
    let stage = Stage::new(provider).await;
    let first = stage.turn(&["--provider", provider, "hello there"]).await;
    assert_eq!(
        (&first["status"], &first["content"]),
        (&json!("completed"), &json!("fake(1): hello there")),
        "{first}"
    );
    let second = stage.turn(&["--resume", "and more"]).await;
    assert_eq!(
        (&second["status"], &second["content"]),
        (&json!("completed"), &json!("fake(2): and more")),
        "{second}"
    );
    assert_eq!(
        (&second["session_id"], &second["subagent_id"]),
        (&first["session_id"], &first["subagent_id"])
    );

    let events = stage.events(&first).await;
    let words: Vec<&str> = events.iter().map(|(_, word, _)| word.as_str()).collect();
    assert_eq!(
        (words.first(), words.last()),
        (Some(&"run_started"), Some(&"run_completed")),
        "{words:?}"
    );
    assert!(
        events.iter().zip(0..).all(|((sequence, ..), at)| *sequence == at),
        "{events:?}"
    );
    let said = events
        .iter()
        .find(|(_, word, _)| word == "message")
        .expect("the answer is an event");
    assert_eq!(said.2["content"], "fake(1): hello there");
    assert!(
        stage
            .model
            .asked()
            .iter()
            .any(|asked| asked.user.concat().contains("hello there"))
    );
}

#[tokio::test]
async fn claude_goes_on_with_its_session() {
    two_turns("claude").await;
}

#[tokio::test]
async fn codex_goes_on_with_its_session() {
    two_turns("codex").await;
}

#[tokio::test]
async fn gemini_goes_on_with_its_session() {
    two_turns("gemini").await;
}

/// Cancelled by a job while text streams: final at once, and nothing of the agent is left.
async fn cancelled(provider: &str) {
    let stage = Stage::new(provider).await;
    let mut run = stage.sandbox.start(&[
        "run",
        "--provider",
        provider,
        "[[slow:2]] [[say:one two three four five six seven eight]]",
    ]);
    eventually("the model to be asked", || async {
        (!stage.model.asked().is_empty()).then_some(())
    })
    .await;
    let subagents = stage.sandbox.get("/rest/v1/subagents").await;
    let cancel = json!({"subagent_id": subagents[0]["id"], "reason": "enough"}).to_string();
    let gateway = stage.sandbox.gateway_id().await;
    let submit = [
        "job",
        "submit",
        "--type",
        "subagent_cancel",
        "--gateway",
        &gateway,
        "--payload",
        &cancel,
    ];
    stage.sandbox.run(&submit).await.ok();
    let ended = eventually("the run to end", || async {
        let runs = stage.sandbox.get("/rest/v1/subagent_runs").await;
        (runs[0]["status"] != "running").then(|| runs[0].clone())
    })
    .await;
    assert_eq!(
        (&ended["status"], &ended["error"]),
        (&json!("cancelled"), &json!("enough"))
    );
    assert_eq!(stage.sandbox.get("/rest/v1/subagents").await[0]["status"], "cancelled");
    assert_eq!(run.wait().await.unwrap().code(), Some(1));
    let mark = format!(
        "GATEWAY_JOB_ID={}",
        stage
            .sandbox
            .get("/rest/v1/gateway_jobs?job_type=eq.subagent_run")
            .await[0]["id"]
            .as_str()
            .unwrap()
    );
    assert_eq!(
        crate::support::process_list::with_variable(&mark),
        [],
        "something of the agent is left"
    );
}

#[tokio::test]
async fn a_cancelled_claude_leaves_nothing_running() {
    cancelled("claude").await;
}

#[tokio::test]
async fn a_cancelled_codex_leaves_nothing_running() {
    cancelled("codex").await;
}

#[tokio::test]
async fn a_cancelled_gemini_leaves_nothing_running() {
    cancelled("gemini").await;
}

#[expect(clippy::disallowed_methods, reason = "a configuration as its owner writes it")]
#[tokio::test]
async fn a_restricted_gemini_starts_no_server_of_its_owner() {
    let model = FakeModel::start().await;
    let mut sandbox = Sandbox::new();
    let started = sandbox.home().join("started");
    let script = format!("echo >>{}; exec cat", started.display());
    let settings = json!({
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {"maxAttempts": 1, "retryFetchErrors": false, "enableAutoUpdate": false},
        "mcpServers": {"mine": {"command": "/bin/sh", "args": ["-c", script], "timeout": 1000}},
    });
    std::fs::create_dir(sandbox.home().join(".gemini")).unwrap();
    std::fs::write(sandbox.home().join(".gemini/settings.json"), settings.to_string()).unwrap();
    sandbox.set_env("PATH", clis::path().to_str().unwrap());
    sandbox.set_env("GOOGLE_GEMINI_BASE_URL", &model.url());
    sandbox.set_env("GEMINI_API_KEY", "none");
    sandbox.run(&["up", "--detach", "--full-control"]).await.ok();
    let run = ["run", "--json", "--provider", "gemini", "--model", "gemini-2.5-flash"];
    let answered = sandbox.json(&[&run[..], &["hello"]].concat()).await;
    assert_eq!(answered["content"], "fake(1): hello", "{answered}");
    assert!(!started.exists(), "a server was started");
    let free = sandbox.json(&[&run[..], &["--full-control", "hello"]].concat()).await;
    assert_eq!(free["status"], "completed", "{free}");
    assert!(started.exists(), "full control is the owner's own Gemini");
}

/// What the owner's MCP servers offer knows no sandbox: only a run that may do everything gets it.
#[expect(clippy::disallowed_methods, reason = "a configuration as its owner writes it")]
#[tokio::test]
async fn a_restricted_codex_starts_no_server_of_its_owner() {
    let model = FakeModel::start().await;
    let mut sandbox = Sandbox::new();
    let home = sandbox.home().join("codex");
    let (plain, odd) = (sandbox.home().join("plain"), sandbox.home().join("odd"));
    std::fs::create_dir(&home).unwrap();
    let server = |name: &str, mark: &std::path::Path| {
        format!(
            "[mcp_servers.{name}]\ncommand = \"/bin/sh\"\nstartup_timeout_sec = 1\n\
             args = [\"-c\", \"echo >>{}; exec cat\"]\n",
            mark.display()
        )
    };
    let config = format!(
        "model_provider = \"fake\"\n[model_providers.fake]\nname = \"fake\"\nbase_url = \"{}/v1\"\nenv_key = \"KEY\"\n\
         wire_api = \"responses\"\nrequest_max_retries = 0\nstream_max_retries = 0\n{}{}",
        model.url(),
        server("plain", &plain),
        server("\"a-b_c\"", &odd),
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    sandbox.set_env("PATH", clis::path().to_str().unwrap());
    sandbox.set_env("CODEX_HOME", home.to_str().unwrap());
    sandbox.set_env("KEY", "none");
    sandbox.run(&["up", "--detach", "--full-control"]).await.ok();
    let run = ["run", "--json", "--provider", "codex"];
    let answered = sandbox.json(&[&run[..], &["hello"]].concat()).await;
    assert_eq!(answered["content"], "fake(1): hello", "{answered}");
    assert!(!plain.exists() && !odd.exists(), "a server was started");
    let free = sandbox.json(&[&run[..], &["--full-control", "hello"]].concat()).await;
    assert_eq!(free["status"], "completed", "{free}");
    assert!(plain.exists() && odd.exists(), "full control is the owner's own Codex");
}
