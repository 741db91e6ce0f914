//! A real agent CLI, pointed at the scripted model the way a person would do it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::clis;
use crate::support::fake_model::FakeModel;
use crate::support::home::Done;

/// How long one run may take before the test fails.
const RUN_LIMIT: Duration = Duration::from_secs(90);

/// A model, and a home in which the CLIs know no other.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) model: FakeModel,
    home: tempfile::TempDir,
}

impl Agent {
    pub(crate) async fn new() -> Self {
        let home = clis::dir();
        for dir in ["work", "codex", "tmp", ".gemini"] {
            std::fs::create_dir(home.path().join(dir)).unwrap();
        }
        let settings = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}},
            "privacy": {"usageStatisticsEnabled": false},
            "general": {"maxAttempts": 1, "retryFetchErrors": false, "enableAutoUpdate": false},
        });
        Self::put(&home.path().join(".gemini/settings.json"), &settings.to_string());
        Self {
            model: FakeModel::start().await,
            home,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own files need no guard")]
    fn put(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    /// The agents' working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// Claude Code, one turn, as JSON lines.
    pub(crate) async fn claude(&self, args: &[&str], prompt: &str) -> Done {
        let mut command = self.command(&clis::claude());
        command
            .args(["-p", "--output-format", "stream-json", "--verbose"])
            .args(args)
            .env("ANTHROPIC_BASE_URL", self.model.url())
            .env("ANTHROPIC_API_KEY", "sk-none")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .env("CLAUDE_CODE_MAX_RETRIES", "0");
        run(command, prompt).await
    }

    /// Codex, one turn, as JSON lines.
    pub(crate) async fn codex(&self, args: &[&str], prompt: &str) -> Done {
        let provider = format!(
            r#"model_providers.fake={{name="fake",base_url="{}/v1",env_key="KEY",wire_api="responses",request_max_retries=0,stream_max_retries=0}}"#,
            self.model.url()
        );
        let mut command = self.command(&clis::codex());
        command
            .args(["exec", "--json", "--skip-git-repo-check", "-m", "gpt-5.5"])
            .args([
                "-c",
                "model_provider=fake",
                "-c",
                &provider,
                "-c",
                "analytics.enabled=false",
            ])
            .args([
                "-c",
                "sandbox_mode=\"danger-full-access\"",
                "-c",
                "web_search=\"disabled\"",
            ])
            .args(["-c", "check_for_update_on_startup=false", "--disable", "plugins"])
            .args(args)
            .arg("-")
            .env("CODEX_HOME", self.home.path().join("codex"))
            .env("KEY", "none");
        run(command, prompt).await
    }

    /// Gemini CLI, one turn, as JSON lines.
    pub(crate) async fn gemini(&self, args: &[&str], prompt: &str) -> Done {
        let mut command = self.command(&clis::gemini());
        command
            .args(["-m", "gemini-2.5-flash", "-o", "stream-json"])
            .args(args)
            .env("GOOGLE_GEMINI_BASE_URL", self.model.url())
            .env("GEMINI_API_KEY", "none")
            .env("GEMINI_CLI_NO_RELAUNCH", "true");
        run(command, prompt).await
    }

    #[expect(clippy::disallowed_methods, reason = "the CLIs are started as a person starts them")]
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", clis::path(&clis::bin()))
            .env("TMPDIR", self.home.path().join("tmp"))
            .env("TERM", "dumb")
            .current_dir(self.work())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

async fn run(mut command: Command, prompt: &str) -> Done {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = tokio::time::timeout(RUN_LIMIT, async {
        // One that refuses its arguments does not read.
        drop(stdin.write_all(prompt.as_bytes()).await);
        drop(stdin);
        child.wait_with_output().await.unwrap()
    });
    Done::from(output.await.unwrap_or_else(|_| panic!("{command:?} did not end")))
}

impl Done {
    /// The JSON lines on stdout.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.split('\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}")))
            .collect()
    }

    /// The last JSON line of that type.
    #[track_caller]
    pub(crate) fn last(&self, kind: &str) -> Value {
        let found = self.lines().into_iter().rfind(|line| line["type"] == kind);
        found.unwrap_or_else(|| panic!("no `{kind}` in {self:?}"))
    }
}
