//! The operator's end: writes jobs, and notes when the control plane says what became of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gateway::backend::realtime::Binding;
use gateway::backend::{Auth, Client, Endpoint, Http, Realtime, RealtimeEvent};
use gateway::domain::secret::Secret;
use serde_json::{Value, json};

use super::stack::Stack;

const PATIENCE: Duration = Duration::from_secs(120);

pub struct Operator {
    client: Client,
    changes: Realtime,
    team_id: String,
    gateway_id: String,
    resource_id: String,
}

/// When a job passed its steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    pub claimed: Option<Instant>,
    pub finished: Option<Instant>,
}

impl Operator {
    /// Logs in with the credential that `up` saved, and subscribes.
    pub async fn of(stack: &Stack) -> Self {
        let saved = stack.json("operator.json");
        let text = |key: &str| saved[key].as_str().expect("a member of operator.json").to_owned();
        let endpoint = Endpoint::new(&text("url"), Secret::new(text("anon_key"))).expect("an address");
        let client = Client::new(
            Http::new(endpoint).expect("a client"),
            Auth::fixed(Secret::new(text("token"))),
        );
        let gateway_id = first_id(&client, "team_gateways", "id").await;
        let resource_id = first_id(&client, "team_resources", "id").await;
        let binding = Binding {
            event: "UPDATE".to_owned(),
            table: "gateway_jobs".to_owned(),
            filter: Some(format!("gateway_id=eq.{gateway_id}")),
        };
        let mut changes = Realtime::new(client.clone(), "journey", vec![binding]);
        let joined = async { while changes.next_event().await != RealtimeEvent::SystemOk {} };
        tokio::time::timeout(PATIENCE, joined).await.expect("a subscription");
        Self {
            client,
            changes,
            team_id: text("team_id"),
            gateway_id,
            resource_id,
        }
    }

    fn row(&self, job_type: &str, payload: &Value) -> Value {
        json!({"team_id": self.team_id, "gateway_id": self.gateway_id, "job_type": job_type,
            "payload": payload, "status": "queued", "requested_via": "cli"})
    }

    pub fn diagnostic(&self) -> Value {
        self.row("diagnostic", &json!({}))
    }

    pub fn shell(&self, command: &str) -> Value {
        let payload = json!({"resource_id": self.resource_id, "command": command, "timeout_ms": 120_000});
        self.row("shell_exec", &payload)
    }

    pub fn model(&self, provider: &str, prompt: &str) -> Value {
        let payload = json!({"provider": provider, "model": "__default__", "prompt": prompt, "output_format": "text"});
        self.row("model_run", &payload)
    }

    /// Writes rows in one request; gives their ids.
    pub async fn insert(&self, rows: &[Value]) -> Vec<String> {
        insert(self.client.clone(), rows.to_vec()).await
    }

    /// Writes one job and waits for its end; gives insert to claimed and insert to completed.
    pub async fn run(&mut self, row: Value) -> (Duration, Duration) {
        let begun = Instant::now();
        let (_, steps) = self.run_all(vec![row]).await;
        let steps = steps.into_values().next().expect("one job");
        let after = |step: Option<Instant>| step.expect("a step").duration_since(begun);
        (after(steps.claimed), after(steps.finished))
    }

    /// Writes jobs and waits for the end of all; events may be faster than the answer to the insert.
    pub async fn run_all(&mut self, rows: Vec<Value>) -> (Vec<String>, HashMap<String, Steps>) {
        let mut insert = std::pin::pin!(insert(self.client.clone(), rows));
        let mut ids = None;
        let mut seen = HashMap::new();
        let work = async {
            loop {
                if ids.as_ref().is_some_and(|ids: &Vec<String>| all_finished(ids, &seen)) {
                    return;
                }
                tokio::select! {
                    inserted = &mut insert, if ids.is_none() => ids = Some(inserted),
                    event = self.changes.next_event() => note(&event, &mut seen),
                }
            }
        };
        tokio::time::timeout(PATIENCE, work).await.expect("every job ends");
        let ids = ids.expect("inserted");
        seen.retain(|id, _| ids.contains(id));
        (ids, seen)
    }

    /// Waits for the end of jobs that were written before.
    pub async fn all_finished(&mut self, ids: &[String]) -> HashMap<String, Steps> {
        let mut seen = HashMap::new();
        let work = async {
            while !all_finished(ids, &seen) {
                let event = self.changes.next_event().await;
                note(&event, &mut seen);
            }
        };
        tokio::time::timeout(PATIENCE, work).await.expect("every job ends");
        seen
    }
}

async fn insert(client: Client, rows: Vec<Value>) -> Vec<String> {
    let written = client
        .rest()
        .from("gateway_jobs")
        .insert(&Value::from(rows))
        .returning("id");
    let written = written.fetch().await.expect("the control plane takes jobs");
    written
        .iter()
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

async fn first_id(client: &Client, table: &str, column: &str) -> String {
    let rows = client.rest().from(table).select(column).fetch().await.expect("rows");
    let id = rows.first().and_then(|row| row[column].as_str());
    id.expect("`up` made one").to_owned()
}

fn all_finished(ids: &[String], seen: &HashMap<String, Steps>) -> bool {
    ids.iter()
        .all(|id| seen.get(id).is_some_and(|steps| steps.finished.is_some()))
}

fn note(event: &RealtimeEvent, seen: &mut HashMap<String, Steps>) {
    let change = match event {
        RealtimeEvent::Change(change) => change,
        RealtimeEvent::Subscribed | RealtimeEvent::SystemOk => return,
        RealtimeEvent::Down { reason, .. } => panic!("the subscription broke: {reason}"),
    };
    let now = Instant::now();
    let steps = seen.entry(change.id().expect("an id").to_owned()).or_default();
    match change.record.get("status").and_then(Value::as_str) {
        Some("running") => drop(steps.claimed.get_or_insert(now)),
        // A row too large for a frame comes without its columns; only an ended one is that large.
        Some("completed") | None => drop(steps.finished.get_or_insert(now)),
        Some(other) => panic!("a job ended as {other}: {:?}", change.record.get("error")),
    }
}
