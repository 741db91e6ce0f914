//! MCP servers that the host's owner has set up for their own use of a CLI, and runs that may not do everything.

use serde_json::json;

use crate::support::clis;
use crate::support::fake_model::FakeModel;
use crate::support::sandbox::Sandbox;

/// The one agent on the way: the daemon would start each of them to see what it is.
fn only(sandbox: &mut Sandbox, agent: &str) {
    let bin = sandbox.home().join("bin");
    clis::link(&bin, &[agent]);
    sandbox.set_env("PATH", clis::path(&bin).to_str().unwrap());
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
    only(&mut sandbox, "gemini");
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
    only(&mut sandbox, "codex");
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
