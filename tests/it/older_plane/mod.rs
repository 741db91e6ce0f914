//! Turns of subagents on a control plane of the older kind: nobody accepts runs beforehand, and no function ends them.

mod once;
mod traces;
mod turns;

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{Daemon, Host};
use crate::support::eventually::eventually;
use crate::support::fake_agent::script;
use crate::support::older::Older;
use crate::support::recorder::Recorder;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

/// A host whose only agent is a Codex that fails, waits or answers as it is told.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) recorder: Recorder,
    pub(crate) older: Arc<Older>,
    agent: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Older)) -> Self {
        let (host, recorder) = Host::recorded().await;
        let mut older = Older::of(&host.plane).await;
        change(&mut older);
        let older = Arc::new(older);
        recorder.older(&older);
        let agent = tempfile::tempdir().unwrap();
        let body = format!(
            r#"case "$*" in --version) echo codex-cli 0.169.0; exit;; esac
            case "$*" in *--help*)
                [ -e "${{0%/*}}/meek" ] && grep -v sandbox '{HELP}' || cat '{HELP}'; exit;;
            esac
            prompt=$(cat); echo "$prompt" >>"${{0%/*}}/asked"
            case "$prompt $*" in "gone "*resume*)
                echo 'Error: thread/resume: thread/resume failed: no rollout found for thread id x (code -32600)' >&2
                exit 1;;
            esac
            case "$prompt" in stray) thread=1;; *) thread=0;; esac
            echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-00000000000'$thread'"}}'
            case "$prompt" in
                leak) echo 'sent Authorization: Bearer hunter2-hunter2' >&2
                    echo '{{"type":"turn.failed","error":{{"message":"no such key: sk-ant-hunter2-hunter2-hunter2"}}}}'
                    exit 1;;
                fail) echo '{{"type":"turn.failed","error":{{"message":"out of ideas"}}}}'; exit 1;;
                wait) while [ ! -e "${{0%/*}}/go" ]; do sleep 0.05; done;;
            esac
            echo '{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"hello"}}}}'
            echo 'a word aside' >&2
            echo '{{"type":"turn.completed","usage":{{"input_tokens":3}}}}'"#
        );
        script(agent.path(), &body);
        Self {
            host,
            recorder,
            older,
            agent,
        }
    }

    pub(crate) async fn start(&self) -> Daemon {
        let codex = self.agent.path().join("agent").display().to_string();
        let settings = [
            ("PANORAMA_CODEX_CLI", codex.as_str()),
            ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
            ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
        ];
        self.host.start_ready(&settings).await
    }

    pub(crate) async fn subagent(&self, prompt: &str, metadata: Value) -> String {
        let row = json!({
            "team_id": self.host.paired.team_id, "gateway_id": self.host.paired.gateway_id,
            "input": {"prompt": prompt}, "metadata": metadata,
        });
        self.older.subagent(row).await
    }

    async fn submit(&self, payload: Value) -> String {
        self.host.submit("subagent_run", payload, json!({})).await
    }

    /// A turn to its end: its job.
    pub(crate) async fn turn(&self, payload: Value) -> Value {
        self.host.done(&self.submit(payload).await).await
    }

    async fn at_work(&self) {
        let asked = self.agent.path().join("asked");
        eventually("the agent to be asked", || async { asked.exists().then_some(()) }).await;
    }

    fn go(&self) {
        self.sign("go");
    }

    #[expect(clippy::disallowed_methods, reason = "a sign for a fake program")]
    pub(crate) fn sign(&self, name: &str) {
        std::fs::write(self.agent.path().join(name), "").unwrap();
    }

    /// What the agent was asked, in order.
    pub(crate) fn asked(&self) -> String {
        std::fs::read_to_string(self.agent.path().join("asked")).unwrap_or_default()
    }

    pub(crate) async fn events(&self, run: &Value) -> Vec<String> {
        let run = run["id"].as_str().unwrap();
        let path = format!("/rest/v1/subagent_run_events?run_id=eq.{run}&order=sequence.asc");
        let rows = self.host.plane.get(&path, &self.host.operator).await.1;
        let word = |row: &Value| row["event_type"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(word).collect()
    }
}
