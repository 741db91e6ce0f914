//! Control plane, daemon and the real agent CLIs in a home of their own, with a scripted model to talk to.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::clis;
use crate::support::eventually::{eventually, within};
use crate::support::fake_model::FakeModel;
use crate::support::home::Done;
use crate::support::sandbox::Sandbox;

/// How long it may take until an agent is known on a machine that has much else to do.
const FIRST_LOOK: Duration = Duration::from_secs(100);
/// Every agent.
pub(crate) const AGENTS: [&str; 3] = ["claude", "codex", "gemini"];

/// A home with control plane and daemon, whose agent CLIs talk to a scripted model.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) model: FakeModel,
}

/// An event of a run.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) sequence: i64,
    pub(crate) word: String,
    pub(crate) payload: Value,
}

impl Stage {
    /// With these agents pointed at the model, the way their owner would do it.
    pub(crate) async fn new(agents: &[&str]) -> Self {
        Self::beside(agents, &[]).await
    }

    /// The same, with scripts that are programs beside them.
    pub(crate) async fn beside(agents: &[&str], programs: &[(&str, &str)]) -> Self {
        let model = FakeModel::start().await;
        let mut sandbox = Sandbox::new();
        // No other is on the way: the daemon would start each of them to see what it is.
        let bin = sandbox.home().join("bin");
        clis::link(&bin, agents);
        for (name, script) in programs {
            clis::write(&bin.join(name), script);
        }
        sandbox.set_env("PATH", clis::path(&bin).to_str().unwrap());
        sandbox.up().await;
        for agent in agents {
            let set = ["providers", "set", agent, "--base-url", &model.url(), "--allow-root"];
            sandbox.run(&set).await.ok();
        }
        let stage = Self { sandbox, model };
        for agent in agents {
            stage.known(agent).await;
        }
        stage
    }

    /// Waits until the gateway has told what an agent is; a first look that took too long is followed by another.
    pub(crate) async fn known(&self, agent: &str) {
        let wire = if agent == "claude" { "claude_code" } else { agent };
        let available = format!("/0/capabilities/providers/{wire}/available");
        within(FIRST_LOOK, &format!("{agent} to be known"), || async {
            let gateways = self.sandbox.get("/rest/v1/team_gateways").await;
            (gateways.pointer(&available) == Some(&Value::Bool(true))).then_some(())
        })
        .await;
    }

    /// A turn to its end; the document of `gateway run --json`.
    pub(crate) async fn turn(&self, words: &[&str]) -> Value {
        self.sandbox.json(&[&["run", "--json"], words].concat()).await
    }

    /// Submits a job for the gateway, watched by nobody; the job as a document.
    pub(crate) async fn submit(&self, job_type: &str, payload: &Value) -> Done {
        let (gateway, payload) = (self.sandbox.gateway_id().await, payload.to_string());
        let job = ["job", "submit", "--type", job_type, "--gateway", &gateway];
        let submit = [job.as_slice(), &["--payload", &payload, "--json"]].concat();
        self.sandbox.run(&submit).await
    }

    /// A command to its end, with a text on its stdin.
    pub(crate) async fn with_input(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.sandbox.command(args);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that refuses what it reads does not read on.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        Done::from(child.wait_with_output().await.unwrap())
    }

    /// A directory in which agents may work.
    pub(crate) async fn workspace(&self, name: &str) -> PathBuf {
        let dir = self.sandbox.home().join(name);
        std::fs::create_dir(&dir).unwrap();
        self.sandbox
            .run(&["workspace", "add", dir.to_str().unwrap()])
            .await
            .ok();
        dir
    }

    /// A file in the home.
    #[expect(clippy::disallowed_methods, reason = "a file as a person writes it")]
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.sandbox.home().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Rows of a table, as their operator sees them; `query` as PostgREST has it.
    pub(crate) async fn rows(&self, table: &str, query: &str) -> Vec<Value> {
        let rows = self.sandbox.get(&format!("/rest/v1/{table}?{query}")).await;
        rows.as_array().unwrap().clone()
    }

    /// The row with that id.
    pub(crate) async fn row(&self, table: &str, id: &Value) -> Value {
        let query = format!("id=eq.{}", id.as_str().unwrap());
        self.rows(table, &query).await.remove(0)
    }

    /// The newest turn, once its agent is at work: its job.
    pub(crate) async fn job_at_work(&self) -> Value {
        let query = "job_type=eq.subagent_run&order=created_at.desc&limit=1";
        eventually("a turn at work", || async {
            let job = self.rows("gateway_jobs", query).await.pop()?;
            (job["status"] == "running").then_some(job)
        })
        .await
    }

    /// The events of a run in their order, which must have no gap.
    pub(crate) async fn events(&self, run: &Value) -> Vec<Event> {
        let query = format!("run_id=eq.{}&order=sequence.asc", run.as_str().unwrap());
        let rows = self.rows("subagent_run_events", &query).await;
        let event = |row: &Value| Event {
            sequence: row["sequence"].as_i64().unwrap(),
            word: row["event_type"].as_str().unwrap().to_owned(),
            payload: row["payload"].clone(),
        };
        let events: Vec<Event> = rows.iter().map(event).collect();
        let in_order = events.iter().zip(0..).all(|(event, at)| event.sequence == at);
        assert!(in_order, "{events:#?}");
        events
    }
}
