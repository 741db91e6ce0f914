//! `model_run` jobs with scripted agents: what is asked, what is answered, what is told about it.

mod answers;
mod daemon;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway::domain::clock;
use gateway::domain::ids::JobId;
use gateway::domain::job::{Job, JobOutcome};
use gateway::job::handler::{Context, JobLife, model_run};
use gateway::process::env::ChildEnv;
use gateway::provider::capability::{Features, Finding};
use gateway::provider::discovery::Places;
use gateway::provider::document::Picture;
use gateway::provider::health::Witness;
use gateway::provider::probe::Prober;
use gateway::provider::{ProviderId, Providers};
use gateway::wire::heartbeat::HealthStatus;
use gateway::wire::job_row;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::eventually::PATIENCE;
use crate::support::fake_agent::{self, FakeDriver, script};
use crate::support::handler::{Parts, context};
use crate::support::scripted_server::{Reply, ScriptedServer};

const CODEX: ProviderId = ProviderId::Codex;

/// A gateway's half of a job, before a control plane that writes everything down.
struct Bench {
    home: TempDir,
    server: ScriptedServer,
    cx: Context,
    /// Unique: what a job leaves behind is found by it.
    id: String,
}

impl Bench {
    async fn new(body: &str, driver: FakeDriver) -> Self {
        let home = tempfile::tempdir().unwrap();
        let command = script(home.path(), body);
        let server = ScriptedServer::start(|_| Reply::Json(200, json!([]))).await;
        let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]);
        let prober = Prober::new(
            Places::only(Vec::new()),
            BTreeMap::from([(CODEX, command.clone())]),
            env.clone(),
        );
        let mut picture = Picture::default();
        for provider in ProviderId::ALL {
            let missing = Finding::unavailable(provider.program(), "spawn agent ENOENT");
            picture.see(provider, missing, clock::now());
        }
        let finding = Finding {
            command,
            version: Ok("1.2.3".to_owned()),
            features: Features::default(),
        };
        picture.see(CODEX, finding, clock::now());
        let client = server.client();
        let cx = context(Parts {
            client: &client,
            ids: ("t", "g"),
            host_enabled: false,
            child_env: env,
            providers: Providers::new(prober, watch::Sender::new(Arc::new(picture))),
            agents: fake_agent::agents(home.path(), driver),
            state: home.path(),
        });
        Self {
            home,
            server,
            cx,
            id: uuid::Uuid::new_v4().to_string(),
        }
    }

    async fn run(&self, payload: &Value) -> (JobOutcome, JobLife) {
        let life = JobLife::default();
        let job = self.job(payload);
        let outcome = timeout(PATIENCE, model_run::run(&job, &self.cx, &life)).await.unwrap();
        (outcome, life)
    }

    fn job(&self, payload: &Value) -> Job {
        let row = json!({
            "id": self.id, "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "model_run",
            "payload": payload, "created_at": "c", "updated_at": "u"
        });
        job_row::decode(&row).unwrap()
    }

    fn witness(&self) -> Witness {
        Witness {
            context: "model_run",
            job_id: JobId::new(self.id.as_str()).unwrap(),
            run_id: None,
        }
    }

    fn health(&self) -> HealthStatus {
        self.cx.providers.picture().block(CODEX).health.unwrap().status
    }

    /// Bodies sent to a table.
    fn sent(&self, method: &str, table: &str) -> Vec<Value> {
        let target = format!("/rest/v1/{table}");
        let seen = self.server.seen().into_iter();
        seen.filter(|seen| seen.method == method && seen.target.starts_with(&target))
            .map(|seen| seen.json())
            .collect()
    }
}

fn text(prompt: &str) -> Value {
    json!({"prompt": prompt, "model": "gpt-5", "output_format": "text"})
}

fn result(outcome: &JobOutcome) -> Value {
    Value::Object(outcome.result().fields.clone())
}
