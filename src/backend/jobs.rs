//! What a gateway asks about jobs, in the backend's words.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::backend::error::BackendError;
use crate::backend::http::StreamBody;
use crate::backend::rest::{Query, Rest};
use crate::domain::clock::{self, wire_time};
use crate::domain::escape::{json_chunks, json_len};
use crate::domain::ids::{GatewayId, JobId, ResourceId, TeamId};
use crate::domain::job::{Job, JobOutcome, JobStatus, Timeline};
use crate::domain::text::storable_text;

const JOBS: &str = "gateway_jobs";
const CANCEL: &str = "subagent_cancel";
const ORDER: &str = "created_at.asc,id.asc";
/// Ids in one query: the address stays below 4 KiB.
const IDS_PER_QUERY: usize = 100;
/// Every column of a row.
pub const WHOLE: &str = "*";
/// What tells whose a row is, when the whole of it is too much.
pub const HEAD: &str = "id,team_id,gateway_id,status,job_type,started_at,created_at,updated_at";
/// Twins of one idempotency key that are looked at.
const MAX_TWINS: u32 = 100;

/// The end of a job as one write; cheap to clone and to send again.
#[derive(Debug, Clone)]
pub struct Completion {
    /// A final state.
    pub status: JobStatus,
    /// The `error` column.
    pub error: Option<String>,
    /// When the job ended.
    pub completed_at: Timestamp,
    /// The `debug` column.
    pub debug: Value,
    /// JSON text of the `result` column.
    pub result: StreamBody,
}

/// What became of a completion.
#[must_use = "a row that was not running keeps its own end"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// The row carries it now.
    Applied,
    /// The row was not running: already final, or gone (`None`).
    NotRunning(Option<JobStatus>),
}

/// Rows of one page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Value>,
    /// How many were asked for in the end.
    pub limit: u32,
}

/// Jobs of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    rest: Rest,
    team: TeamId,
    gateway: GatewayId,
}

impl Jobs {
    /// Jobs of `gateway` in `team`.
    #[must_use]
    pub const fn new(rest: Rest, team: TeamId, gateway: GatewayId) -> Self {
        Self { rest, team, gateway }
    }

    /// Whether the backend did not answer lately.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.rest.is_away()
    }

    /// Now by the backend's clock.
    #[must_use]
    pub fn server_time(&self) -> Timestamp {
        self.rest.server_time()
    }

    fn mine(&self, columns: &str, status: JobStatus) -> Query {
        self.rest
            .from(JOBS)
            .select(columns)
            .eq("team_id", &self.team)
            .eq("status", status.as_str())
            .eq("gateway_id", &self.gateway)
    }

    /// Rows waiting for this gateway, oldest first, cancels left out.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn queued(&self, limit: u32, offset: u32) -> Result<Page, BackendError> {
        self.digestible(limit, |columns, limit| {
            self.mine(columns, JobStatus::Queued)
                .neq("job_type", CANCEL)
                .order(ORDER)
                .limit(limit)
                .offset(offset)
        })
        .await
    }

    /// Cancel rows waiting for this gateway, oldest first.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn queued_cancels(&self, limit: u32) -> Result<Vec<Value>, BackendError> {
        let page = self.digestible(limit, |columns, limit| {
            self.mine(columns, JobStatus::Queued)
                .eq("job_type", CANCEL)
                .order(ORDER)
                .limit(limit)
        });
        page.await.map(|page| page.rows)
    }

    /// The rows at once; where they are too much together the first alone; where it is too much by itself, its head,
    /// which can be refused. One row must not hide the others.
    async fn digestible(&self, limit: u32, query: impl Fn(&str, u32) -> Query) -> Result<Page, BackendError> {
        for (columns, limit) in [(WHOLE, limit), (WHOLE, 1)] {
            match query(columns, limit).fetch().await {
                Err(error) if error.is_indigestible() => {}
                answer => return answer.map(|rows| Page { rows, limit }),
            }
        }
        query(HEAD, 1).fetch().await.map(|rows| Page { rows, limit: 1 })
    }

    /// Rows this gateway has claimed and not ended.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn running_of_gateway(&self, limit: u32, offset: u32) -> Result<Vec<Value>, BackendError> {
        self.mine("id,job_type,started_at", JobStatus::Running)
            .order(ORDER)
            .limit(limit)
            .offset(offset)
            .fetch()
            .await
    }

    /// Claims a queued row: gives `columns` of it as it is now, or `None` when it is no longer there to be claimed.
    ///
    /// # Errors
    /// [`BackendError`]; after a transport error the claim may have been applied, see [`Jobs::claimed_at`].
    pub async fn claim(&self, id: &JobId, started_at: Timestamp, columns: &str) -> Result<Option<Value>, BackendError> {
        let changes = json!({"status": "running", "gateway_id": self.gateway, "started_at": wire_time(started_at)});
        self.rest
            .from(JOBS)
            .update(&changes)
            .eq("id", id)
            .eq("team_id", &self.team)
            .eq("status", JobStatus::Queued.as_str())
            .eq("gateway_id", &self.gateway)
            .returning(columns)
            .maybe_one()
            .await
    }

    /// One row of the team, whatever its state.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn row(&self, id: &JobId, columns: &str) -> Result<Option<Value>, BackendError> {
        self.rest
            .from(JOBS)
            .select(columns)
            .eq("id", id)
            .eq("team_id", &self.team)
            .maybe_one()
            .await
    }

    /// After a claim whose answer was lost: the row, if the claim made at `started_at` was applied after all.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn claimed_at(
        &self,
        id: &JobId,
        started_at: Timestamp,
        columns: &str,
    ) -> Result<Option<Value>, BackendError> {
        let row = self.row(id, columns).await?;
        Ok(row.filter(|row| {
            let text = |column: &str| row.get(column).and_then(Value::as_str);
            let started = text("started_at").and_then(|at| at.parse::<Timestamp>().ok());
            text("status") == Some("running")
                && text("gateway_id") == Some(self.gateway.as_str())
                && started.map(Timestamp::as_millisecond) == Some(started_at.as_millisecond())
        }))
    }

    /// Writes the end of a running job. Sending it again is harmless.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::is_refused_payload`] asks for a shorter result.
    pub async fn complete(&self, id: &JobId, completion: &Completion) -> Result<Completed, BackendError> {
        let rows = self
            .rest
            .from(JOBS)
            .update_stream(completion.body())
            .eq("id", id)
            .eq("status", JobStatus::Running.as_str())
            .returning("id,status")
            .fetch()
            .await?;
        if !rows.is_empty() {
            return Ok(Completed::Applied);
        }
        Ok(Completed::NotRunning(self.status(id).await?))
    }

    /// Writes the `debug` column alone, whatever the row's state.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn debug(&self, id: &JobId, debug: &Value) -> Result<(), BackendError> {
        self.rest
            .from(JOBS)
            .update(&json!({"debug": debug}))
            .eq("id", id)
            .execute()
            .await
    }

    /// State of one row; `None` when there is no such row.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn status(&self, id: &JobId) -> Result<Option<JobStatus>, BackendError> {
        let row = self.rest.from(JOBS).select("status").eq("id", id).maybe_one().await?;
        Ok(row.as_ref().and_then(status_of))
    }

    /// States of many rows; rows that are gone are left out.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn statuses(&self, ids: &[JobId]) -> Result<Vec<(JobId, JobStatus)>, BackendError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(IDS_PER_QUERY) {
            let rows = self.rest.from(JOBS).select("id,status").in_("id", some).fetch().await?;
            found.extend(rows.iter().filter_map(|row| {
                let id = JobId::new(row.get("id")?.as_str()?).ok()?;
                Some((id, status_of(row)?))
            }));
        }
        Ok(found)
    }

    /// Other rows with the job's idempotency key that run or have run, oldest first. The caller compares attempts:
    /// null and 1 are the same one, which no single filter says.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn idempotency_twins(&self, job: &Job) -> Result<Vec<Value>, BackendError> {
        let Some(key) = &job.idempotency_key else {
            return Ok(Vec::new());
        };
        self.rest
            .from(JOBS)
            .select("id,status,attempt,created_at,started_at")
            .eq("team_id", &self.team)
            .eq("idempotency_key", key)
            .in_("status", ["running", "completed"])
            .neq("id", &job.id)
            .order("created_at.asc")
            .limit(MAX_TWINS)
            .fetch()
            .await
    }

    /// Columns of this gateway's own row.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn gateway_row(&self, columns: &str) -> Result<Option<Value>, BackendError> {
        self.rest
            .from("team_gateways")
            .select(columns)
            .eq("id", &self.gateway)
            .eq("team_id", &self.team)
            .maybe_one()
            .await
    }

    /// A resource of the team.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn resource(&self, id: &ResourceId) -> Result<Option<Value>, BackendError> {
        self.rest
            .from("team_resources")
            .select("id,team_id,resource_type,max_access_level,metadata")
            .eq("id", id)
            .eq("team_id", &self.team)
            .maybe_one()
            .await
    }
}

impl Completion {
    /// The end `outcome` of a job, whose result streams with every escape and never exists as a whole.
    pub fn new(outcome: JobOutcome, timeline: &Timeline) -> Self {
        let status = outcome.status();
        let (result, error) = match outcome {
            JobOutcome::Completed { result } => (result, None),
            JobOutcome::Failed { result, error } | JobOutcome::Cancelled { result, error } => (result, Some(error)),
        };
        let result = Arc::new(result);
        Self {
            status,
            error: error.map(storable_text),
            completed_at: timeline.finished_at.unwrap_or_else(clock::now),
            debug: serde_json::to_value(timeline).unwrap_or_default(),
            result: StreamBody {
                length: json_len(&result),
                chunks: Arc::new(move || Box::new(json_chunks(Arc::clone(&result)))),
            },
        }
    }

    /// The whole body around the streamed result.
    fn body(&self) -> StreamBody {
        let head = format!(
            r#"{{"status":{},"error":{},"completed_at":{},"debug":{},"result":"#,
            json!(self.status.as_str()),
            json!(self.error.as_deref().filter(|error| !error.is_empty())),
            json!(wire_time(self.completed_at)),
            self.debug,
        );
        let result = self.result.clone();
        let length = result.length.saturating_add(head.len() as u64).saturating_add(1);
        StreamBody {
            length,
            chunks: Arc::new(move || {
                let head = std::iter::once(head.clone().into_bytes());
                Box::new(head.chain((result.chunks)()).chain(std::iter::once(vec![b'}'])))
            }),
        }
    }
}

fn status_of(row: &Value) -> Option<JobStatus> {
    serde_json::from_value(row.get("status")?.clone()).ok()
}
