//! Subagents and their runs: what a gateway reads, begins and ends.

mod close;
mod merge;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::backend::client::Client;
use crate::backend::error::BackendError;
use crate::backend::functions::Functions;
use crate::backend::rest::{Query, Rest};
use crate::domain::clock::wire_time;
use crate::domain::ids::{GatewayId, RunId, SubagentId, TeamId};

use self::merge::Merge;

pub use close::Closed;
pub use merge::Notes;

const SUBAGENTS: &str = "subagents";
const RUNS: &str = "subagent_runs";
const EVENTS: &str = "subagent_run_events";
/// Code of a row that is there already.
const DUPLICATE: &str = "23505";
/// How often events are numbered anew because somebody else took their numbers.
const TRIES: usize = 8;

/// Runs of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs {
    rest: Rest,
    functions: Functions,
    team: TeamId,
    gateway: GatewayId,
}

/// Whether a row could be written.
#[must_use = "a row that was there already is somebody else's"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is ours.
    New,
    /// One like it was there already.
    Duplicate,
}

impl Runs {
    /// Runs of `gateway` in `team`.
    #[must_use]
    pub fn new(client: &Client, team: TeamId, gateway: GatewayId) -> Self {
        Self {
            rest: client.rest(),
            functions: client.functions(),
            team,
            gateway,
        }
    }

    /// A subagent, if the team has it: every column a run needs.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn subagent(&self, id: &SubagentId) -> Result<Option<Value>, BackendError> {
        self.rest
            .from(SUBAGENTS)
            .select("id,team_id,gateway_id,owner_agent_id,subagent_type,status,config,input,metadata,updated_at")
            .eq("id", id)
            .maybe_one()
            .await
    }

    /// Which of these subagents the team still has.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn existing(&self, ids: &[String]) -> Result<Vec<String>, BackendError> {
        let rows = self.rest.from(SUBAGENTS).select("id").in_("id", ids).fetch().await?;
        let id = |row: &Value| Some(row.get("id")?.as_str()?.to_owned());
        Ok(rows.iter().filter_map(id).collect())
    }

    /// An accepted run, if there is one of that id.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn run(&self, id: &RunId) -> Result<Option<Value>, BackendError> {
        self.rest
            .from(RUNS)
            .select("id,subagent_id,run_sequence,status,prompt,metadata,updated_at")
            .eq("id", id)
            .maybe_one()
            .await
    }

    /// State of a run; `None` when there is no such run.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn run_status(&self, id: &RunId) -> Result<Option<String>, BackendError> {
        let row = self.rest.from(RUNS).select("status").eq("id", id).maybe_one().await?;
        Ok(row.and_then(|row| row.get("status")?.as_str().map(str::to_owned)))
    }

    /// The newest run of a subagent that is running: `{id, run_sequence, metadata, updated_at}`.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn active_run(&self, subagent: &SubagentId) -> Result<Option<Value>, BackendError> {
        let newest = self
            .rest
            .from(RUNS)
            .select("id,run_sequence,metadata,updated_at")
            .eq("subagent_id", subagent)
            .eq("status", "running")
            .order("run_sequence.desc")
            .limit(1);
        Ok(newest.fetch().await?.into_iter().next())
    }

    /// The number for a run that the backend did not number itself: its next one or, if it gives none, one more than the
    /// last that is known.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn allocate_sequence(&self, subagent: &SubagentId) -> Result<i64, BackendError> {
        let asked = json!({"p_subagent_id": subagent});
        match self.rest.rpc("allocate_subagent_run_sequence", &asked).await {
            Ok(number) => Ok(number.as_i64().unwrap_or(1)),
            Err(error) if error.is_transient() => Err(error),
            Err(_no_such_function) => {
                let runs = self.rest.from(RUNS).select("run_sequence").eq("subagent_id", subagent);
                let last = runs.order("run_sequence.desc").limit(1).fetch().await?;
                let last = last.first().and_then(|run| run.get("run_sequence")?.as_i64());
                Ok(last.unwrap_or(0).saturating_add(1))
            }
        }
    }

    /// Writes a run that no backend accepted beforehand; tells when another one is there already.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn insert(&self, run: &Value) -> Result<Inserted, BackendError> {
        inserted(self.rest.from(RUNS).insert(run).execute().await)
    }

    /// Notes on a run that the turn begins, over what was seen of it; false when it was not running any more.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn begin_run(
        &self,
        run: &RunId,
        subagent: &SubagentId,
        started_at: Timestamp,
        (seen, patch): (&Notes, &Map<String, Value>),
    ) -> Result<bool, BackendError> {
        let merge = Merge {
            table: RUNS,
            id: run.as_str(),
            columns: columns(json!({"started_at": wire_time(started_at)})),
            patch,
        };
        self.merge(&merge, Some(seen), |query| query.eq("subagent_id", subagent))
            .await
    }

    /// As [`Runs::begin_run`], for the subagent.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn begin_subagent(
        &self,
        subagent: &SubagentId,
        started_at: Timestamp,
        (seen, patch): (&Notes, &Map<String, Value>),
    ) -> Result<bool, BackendError> {
        let merge = Merge {
            table: SUBAGENTS,
            id: subagent.as_str(),
            columns: columns(json!({"status": "running", "started_at": wire_time(started_at)})),
            patch,
        };
        self.merge(&merge, Some(seen), |query| query).await
    }

    /// Adds to the metadata of a running subagent; false when it was not running any more.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn note_subagent(
        &self,
        subagent: &SubagentId,
        seen: &Notes,
        patch: &Map<String, Value>,
    ) -> Result<bool, BackendError> {
        self.note(SUBAGENTS, subagent.as_str(), (seen, patch)).await
    }

    /// Adds to the metadata of a running run; false when it was not running any more.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn note_run(&self, run: &RunId, seen: &Notes, patch: &Map<String, Value>) -> Result<bool, BackendError> {
        self.note(RUNS, run.as_str(), (seen, patch)).await
    }

    async fn note(
        &self,
        table: &'static str,
        id: &str,
        (seen, patch): (&Notes, &Map<String, Value>),
    ) -> Result<bool, BackendError> {
        let columns = Map::new();
        let merge = Merge {
            table,
            id,
            columns,
            patch,
        };
        self.merge(&merge, Some(seen), |query| query).await
    }

    /// The number for the next event of a run.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn next_event(&self, run: &RunId) -> Result<i64, BackendError> {
        let last = self
            .rest
            .from(EVENTS)
            .select("sequence")
            .eq("run_id", run)
            .order("sequence.desc")
            .limit(1)
            .fetch()
            .await?;
        let last = last.first().and_then(|row| row.get("sequence")?.as_i64());
        Ok(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// Type and payload of one event, if there is one of that number.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn event(&self, run: &RunId, sequence: i64) -> Result<Option<(String, Value)>, BackendError> {
        let row = self
            .rest
            .from(EVENTS)
            .select("event_type,payload")
            .eq("run_id", run)
            .eq("sequence", &sequence)
            .maybe_one()
            .await?;
        Ok(row.and_then(|mut row| {
            let event_type = row.get("event_type")?.as_str()?.to_owned();
            Some((event_type, row.get_mut("payload")?.take()))
        }))
    }

    /// Writes events of a run, numbered from `first`, in one request.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn write_events(
        &self,
        run: &RunId,
        subagent: &SubagentId,
        first: i64,
        events: &[(String, Value)],
    ) -> Result<Inserted, BackendError> {
        if events.is_empty() {
            return Ok(Inserted::New);
        }
        let rows: Vec<Value> = (first..)
            .zip(events)
            .map(|(sequence, (event_type, payload))| {
                json!({
                    "run_id": run,
                    "subagent_id": subagent,
                    "team_id": self.team,
                    "gateway_id": self.gateway,
                    "sequence": sequence,
                    "event_type": event_type,
                    "payload": payload,
                })
            })
            .collect();
        inserted(self.rest.from(EVENTS).insert(&Value::from(rows)).execute().await)
    }

    /// Writes events behind those that are there, whoever else writes some of the same run just then.
    ///
    /// # Errors
    /// [`BackendError`] as for every request, also when others were faster every time.
    pub async fn append_events(
        &self,
        run: &RunId,
        subagent: &SubagentId,
        events: &[(String, Value)],
    ) -> Result<(), BackendError> {
        for _try in 0..TRIES {
            let first = self.next_event(run).await?;
            if self.write_events(run, subagent, first, events).await? == Inserted::New {
                return Ok(());
            }
        }
        Err(BackendError::Unexpected {
            what: format!("POST {EVENTS}"),
            why: format!("its number was taken {TRIES} times"),
        })
    }

    /// Rows of this gateway only: nobody else's run is ended from here.
    fn own(&self, query: Query) -> Query {
        query.eq("gateway_id", &self.gateway)
    }
}

fn columns(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(columns) => columns,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn inserted(sent: Result<(), BackendError>) -> Result<Inserted, BackendError> {
    match sent {
        Ok(()) => Ok(Inserted::New),
        Err(error) if error.code() == Some(DUPLICATE) => Ok(Inserted::Duplicate),
        Err(error) => Err(error),
    }
}
