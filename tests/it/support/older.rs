//! A control plane of the older kind: gateways write their runs themselves and end them by updates.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use gateway::control_plane::query::ast::Op;
use gateway::control_plane::registry::{SUBAGENT_RUN_EVENTS, SUBAGENT_RUNS, SUBAGENTS, Table};
use gateway::control_plane::store::{Rows, Store};
use serde_json::{Value, json};

use super::plane::Plane;
use super::recorder::Seen;

/// What the older kind answers in another way.
#[derive(Debug)]
pub(crate) struct Older {
    store: Store,
    /// Whether it gives runs their numbers.
    pub(crate) numbers: bool,
    /// So many answers to written runs get lost.
    pub(crate) lost_inserts: AtomicU32,
    /// So many answers to changed subagents get lost, the changes too.
    pub(crate) lost_changes: AtomicU32,
    /// So many questions about runs are not answered.
    pub(crate) secrets: AtomicU32,
    /// Whether it has a function for ends, which answers in no known way.
    pub(crate) mumbles: AtomicBool,
    /// Tables in whose rows somebody else writes metadata just before the gateway does; each once.
    pub(crate) intrusions: Mutex<Vec<&'static str>>,
    /// Words in events whose numbers somebody else takes just before the gateway does; each once.
    pub(crate) contested: Mutex<Vec<&'static str>>,
    intruded: AtomicU32,
}

impl Older {
    pub(crate) async fn of(plane: &Plane) -> Self {
        Self {
            store: Store::open(&plane.database).await.unwrap(),
            numbers: true,
            lost_inserts: AtomicU32::new(0),
            lost_changes: AtomicU32::new(0),
            secrets: AtomicU32::new(0),
            mumbles: AtomicBool::new(false),
            intrusions: Mutex::default(),
            contested: Mutex::default(),
            intruded: AtomicU32::new(0),
        }
    }

    /// Its own answer to a request, if it has one.
    pub(crate) async fn answer(&self, seen: &Seen) -> Option<(u16, Value)> {
        let path = seen.target.split('?').next().unwrap_or_default();
        match (seen.method.as_str(), path) {
            ("POST", "/functions/v1/finalize-gateway-subagent-run") if self.mumbles.load(Ordering::SeqCst) => {
                Some((200, json!({"done": "perhaps"})))
            }
            ("GET", "/rest/v1/subagent_runs") if take(&self.secrets).is_some() => {
                Some((403, json!({"code": "42501", "message": "permission denied"})))
            }
            ("POST", "/functions/v1/finalize-gateway-subagent-run") => {
                let body = json!({"code": "NOT_FOUND", "message": "Requested function was not found"});
                Some((404, body))
            }
            ("POST", "/rest/v1/rpc/allocate_subagent_run_sequence") if !self.numbers => {
                let message = "Could not find the function public.allocate_subagent_run_sequence";
                Some((404, json!({"code": "PGRST202", "message": message})))
            }
            ("POST", "/rest/v1/subagent_runs") => {
                let answer = self.insert_run(&seen.body).await;
                Some(if take(&self.lost_inserts).is_some() {
                    lost()
                } else {
                    answer
                })
            }
            ("POST", "/rest/v1/subagent_run_events") => self.speak_first(&seen.body).await,
            ("PATCH", "/rest/v1/subagents") if take(&self.lost_changes).is_some() => Some(lost()),
            ("PATCH", "/rest/v1/subagents") => self.intrude(&SUBAGENTS, &seen.target).await,
            ("PATCH", "/rest/v1/subagent_runs") => self.intrude(&SUBAGENT_RUNS, &seen.target).await,
            _ => None,
        }
    }

    /// One run of a subagent at a time.
    async fn insert_run(&self, body: &str) -> (u16, Value) {
        let row: Value = serde_json::from_str(body).unwrap();
        let running = Rows::of(&SUBAGENT_RUNS)
            .eq("subagent_id", row["subagent_id"].as_str().unwrap())
            .compare("status", Op::Eq, "running");
        let duplicate = |why: &str| (409, json!({"code": "23505", "message": why}));
        if row["status"] == "running" && !self.store.select_rows(&running).await.unwrap().is_empty() {
            return duplicate("one run at a time");
        }
        match self.store.insert_row(&SUBAGENT_RUNS, &row).await {
            Ok(_row) => (201, Value::Null),
            Err(problem) => duplicate(&problem.to_string()),
        }
    }

    /// Somebody else takes the number of the gateway's event, whose write is passed on.
    async fn speak_first(&self, body: &str) -> Option<(u16, Value)> {
        taken(&self.contested, |word| body.contains(word))?;
        let mut event = serde_json::from_str::<Value>(body).unwrap()[0].take();
        event["event_type"] = json!("system");
        self.insert(&SUBAGENT_RUN_EVENTS, &event).await;
        None
    }

    /// Somebody else was a moment faster; the gateway's write is passed on.
    async fn intrude(&self, table: &'static Table, target: &str) -> Option<(u16, Value)> {
        taken(&self.intrusions, |name| name == table.name)?;
        let number = self.intruded.fetch_add(1, Ordering::SeqCst) + 1;
        let url = reqwest::Url::parse(&format!("http://h{target}")).unwrap();
        let id = url.query_pairs().find(|(name, _)| name == "id").unwrap().1;
        let rows = Rows::of(table).eq("id", id.strip_prefix("eq.").unwrap());
        let mut metadata = self.store.select_rows(&rows).await.unwrap()[0]["metadata"].clone();
        metadata[format!("others_{number}")] = json!(true);
        self.update(rows, &json!({"metadata": metadata})).await;
        None
    }

    /// Changes rows as the control plane itself.
    pub(crate) async fn update(&self, rows: Rows, changes: &Value) -> Vec<Value> {
        self.store.update_rows(&rows, changes).await.unwrap()
    }

    /// Writes a row as the control plane itself.
    pub(crate) async fn insert(&self, table: &'static Table, row: &Value) {
        self.store.insert_row(table, row).await.unwrap();
    }

    /// A Codex subagent, as the control plane hands it to its gateway.
    pub(crate) async fn subagent(&self, columns: Value) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let mut row = json!({"id": id, "subagent_type": "codex_gateway", "status": "running"});
        let members = row.as_object_mut().unwrap();
        members.extend(columns.as_object().unwrap().clone());
        self.store.insert_row(&SUBAGENTS, &row).await.unwrap();
        id
    }

    pub(crate) async fn runs_of(&self, subagent: &str) -> Vec<Value> {
        let rows = Rows::of(&SUBAGENT_RUNS).eq("subagent_id", subagent);
        self.store.select_rows(&rows.ascending("run_sequence")).await.unwrap()
    }

    pub(crate) async fn subagent_row(&self, id: &str) -> Value {
        let rows = Rows::of(&SUBAGENTS).eq("id", id);
        self.store.select_rows(&rows).await.unwrap().remove(0)
    }
}

/// Takes out the first word that is meant.
fn taken(words: &Mutex<Vec<&'static str>>, is_meant: impl Fn(&str) -> bool) -> Option<&'static str> {
    let mut words = words.lock().unwrap();
    let at = words.iter().position(|word| is_meant(word))?;
    Some(words.remove(at))
}

/// One less; what was left.
fn take(left: &AtomicU32) -> Option<u32> {
    let less = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    less.ok()
}

fn lost() -> (u16, Value) {
    (503, json!({"message": "lost by the test"}))
}
