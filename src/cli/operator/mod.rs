//! The operator: rows read and written with an operator credential. There is no way from here to a process.

mod runs;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::backend::rest::Query;
use crate::backend::{Auth, BackendError, Client, Endpoint, Http, account};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::domain::clock::wire_time;
use crate::domain::ids::TeamId;
use crate::domain::job::JobStatus;
use crate::domain::secret::Secret;
use crate::state::operator::Operator as Credential;

pub(crate) use self::runs::StartedRun;

const SUBAGENT_RUN: &str = "subagent_run";

/// A job to be written.
#[derive(Debug)]
pub(crate) struct NewJob {
    pub(crate) gateway_id: String,
    pub(crate) job_type: String,
    pub(crate) payload: Map<String, Value>,
    pub(crate) idempotency_key: Option<String>,
}

/// Which jobs to list.
#[derive(Debug)]
pub(crate) struct JobFilter<'a> {
    pub(crate) status: Option<JobStatus>,
    pub(crate) gateway_id: Option<&'a str>,
    pub(crate) limit: u32,
}

/// In which states a job may be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Only while nobody took it.
    Queued,
    /// While it is not final.
    Unfinished,
}

/// How a job was cancelled.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It is final; its id and status.
    Ended(Value),
    /// Its gateway was asked to end what it runs.
    Asked,
}

/// A control plane seen by an operator.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    client: Client,
    url: String,
    team_id: TeamId,
}

impl Operator {
    /// Opens the saved credential; `GATEWAY_TOKEN` wins over its token.
    pub(crate) async fn open(cx: &Context) -> Result<Self, CliError> {
        let saved = cx.operator()?;
        let Some(token) = cx.env.get("GATEWAY_TOKEN") else {
            return Self::of(&saved.ok_or_else(no_credential)?);
        };
        let token = Secret::new(token);
        match saved {
            Some(saved) if saved.token == token => Self::of(&saved),
            Some(saved) => Self::verified(&saved.url, saved.anon_key, token)
                .await
                .map(|(operator, _)| operator),
            None => {
                let backend = cx.paired_backend()?;
                Self::verified(&backend.url, backend.anon_key, token)
                    .await
                    .map(|(operator, _)| operator)
            }
        }
    }

    /// An operator from a credential that was verified before.
    pub(crate) fn of(credential: &Credential) -> Result<Self, CliError> {
        let client = client(&credential.url, credential.anon_key.clone(), credential.token.clone())?;
        Ok(Self {
            client,
            url: credential.url.clone(),
            team_id: credential.team_id.clone(),
        })
    }

    /// Asks the control plane whose token this is.
    pub(crate) async fn verified(url: &str, key: Secret, token: Secret) -> Result<(Self, Credential), CliError> {
        let client = client(url, key.clone(), token.clone())?;
        let user = account::user(&client).await.map_err(|error| explain(url, &error))?;
        let team_id = user
            .pointer("/app_metadata/team_id")
            .and_then(Value::as_str)
            .ok_or_else(|| CliError::with(Exit::NO_CREDENTIAL, "The token is not an operator's: it names no team."))?;
        let credential = Credential {
            url: url.to_owned(),
            anon_key: key,
            token,
            team_id: TeamId::new(team_id).map_err(|error| CliError::failed(error.to_string()))?,
        };
        Ok((Self::of(&credential)?, credential))
    }

    /// The address of the control plane.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Now, by the clock of the control plane.
    pub(crate) fn server_time(&self) -> Timestamp {
        self.client.http().server_time()
    }

    /// Gateways of the team, the one last seen first.
    pub(crate) async fn gateways(&self) -> Result<Vec<Value>, CliError> {
        let query = self.client.rest().from("team_gateways").select("*");
        let query = query.eq("team_id", &self.team_id).order("last_seen_at.desc.nullslast");
        query.fetch().await.map_err(|error| self.explain(&error))
    }

    /// Remote shells of the team, oldest first.
    pub(crate) async fn remote_shells(&self) -> Result<Vec<Value>, CliError> {
        let query = self.client.rest().from("team_resources").select("*");
        let query = query
            .eq("team_id", &self.team_id)
            .eq("resource_type", "remote_shell")
            .order("created_at.asc");
        query.fetch().await.map_err(|error| self.explain(&error))
    }

    /// Writes a job; gives the row.
    pub(crate) async fn insert(&self, job: &NewJob) -> Result<Value, CliError> {
        let mut row = json!({
            "team_id": self.team_id, "gateway_id": job.gateway_id, "job_type": job.job_type,
            "payload": job.payload, "status": JobStatus::Queued.as_str(), "requested_via": "cli",
        });
        if let (Some(key), Some(columns)) = (&job.idempotency_key, row.as_object_mut()) {
            columns.insert("idempotency_key".to_owned(), json!(key));
        }
        let query = self.client.rest().from("gateway_jobs").insert(&row).returning("*");
        let written = query.maybe_one().await.map_err(|error| self.explain(&error))?;
        written.ok_or_else(|| CliError::failed("The control plane took the job but did not show it."))
    }

    /// Reads columns of one job.
    pub(crate) async fn job(&self, id: &str, columns: &str) -> Result<Value, CliError> {
        match self.try_job(id, columns).await {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(CliError::failed(format!("There is no job {id} in this team.")).hint("gateway job list")),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// As [`Self::job`], for callers that wait an outage out.
    pub(crate) async fn try_job(&self, id: &str, columns: &str) -> Result<Option<Value>, BackendError> {
        let query = self.client.rest().from("gateway_jobs").select(columns);
        query.eq("id", id).eq("team_id", &self.team_id).maybe_one().await
    }

    /// Lists jobs, newest first.
    pub(crate) async fn jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<Value>, CliError> {
        const COLUMNS: &str =
            "id,job_type,status,gateway_id,payload,error,requested_via,created_at,started_at,completed_at";
        let query = self.client.rest().from("gateway_jobs").select(COLUMNS);
        let mut query = query
            .eq("team_id", &self.team_id)
            .order("created_at.desc")
            .limit(filter.limit);
        if let Some(status) = filter.status {
            query = query.eq("status", status.as_str());
        }
        if let Some(gateway) = filter.gateway_id {
            query = query.eq("gateway_id", gateway);
        }
        query.fetch().await.map_err(|error| self.explain(&error))
    }

    /// Cancels a job; `None` when it was in no state for it. A turn of a subagent is never cut off from its run: one that
    /// nobody took is taken back whole, one that is at work is ended by its gateway.
    pub(crate) async fn cancel(&self, id: &str, when: Cancel, why: &str) -> Result<Option<Cancelled>, CliError> {
        let others = self.cancel_rows(id, when, why).neq("job_type", SUBAGENT_RUN);
        let written = others.returning("id,status").maybe_one().await;
        if let Some(row) = written.map_err(|error| self.explain(&error))? {
            return Ok(Some(Cancelled::Ended(row)));
        }
        let job = self.try_job(id, "id,job_type,status,gateway_id,payload").await;
        let turn = job
            .map_err(|error| self.explain(&error))?
            .filter(|job| job.get("job_type").is_some_and(|kind| kind == SUBAGENT_RUN))
            .filter(|job| {
                job.get("status")
                    .is_some_and(|status| status == "queued" || status == "running")
            });
        match turn {
            Some(job) => self.cancel_turn(id, &job, when, why).await,
            None => Ok(None),
        }
    }

    fn cancel_rows(&self, id: &str, when: Cancel, why: &str) -> Query {
        let now = wire_time(self.server_time());
        let changes = json!({"status": JobStatus::Cancelled.as_str(), "error": why, "completed_at": now});
        let query = self.client.rest().from("gateway_jobs").update(&changes);
        let query = query.eq("id", id).eq("team_id", &self.team_id);
        match when {
            Cancel::Queued => query.eq("status", JobStatus::Queued.as_str()),
            Cancel::Unfinished => query.in_("status", [JobStatus::Queued.as_str(), JobStatus::Running.as_str()]),
        }
    }

    /// A backend error for people.
    pub(crate) fn explain(&self, error: &BackendError) -> CliError {
        explain(&self.url, error)
    }
}

fn client(url: &str, key: Secret, token: Secret) -> Result<Client, CliError> {
    let http = Endpoint::new(url, key).and_then(Http::new);
    let http = http.map_err(|error| CliError::usage(error.to_string()))?;
    Ok(Client::new(http, Auth::fixed(token)))
}

fn no_credential() -> CliError {
    CliError::with(Exit::NO_CREDENTIAL, "There is no operator credential on this machine.")
        .hint("`gateway up` makes one for this machine; `gateway login` saves one for another control plane")
}

/// How PostgreSQL, and so every control plane, calls a disk without room.
const DISK_FULL: &str = "53100";

/// Unreachable, refused or broken: each has its exit code and its next step.
pub(crate) fn explain(url: &str, error: &BackendError) -> CliError {
    match error {
        BackendError::Http(error) => CliError::unreachable(url, error),
        BackendError::Status {
            status: 401, problem, ..
        } if problem.message.as_deref() == Some("Invalid API key") => CliError::with(
            Exit::NO_CREDENTIAL,
            "The control plane does not accept this public key.",
        )
        .detail(error.to_string())
        .hint("name the one that `gateway control-plane serve` shows: gateway login --anon-key KEY"),
        BackendError::Status { status: 401 | 403, .. } => CliError::with(
            Exit::NO_CREDENTIAL,
            "The control plane does not accept this operator token.",
        )
        .detail(error.to_string())
        .hint("gateway login --url URL; `gateway control-plane token create` makes a new token"),
        BackendError::Status { .. } if error.code() == Some(DISK_FULL) => {
            CliError::with(Exit::UNREACHABLE, "The control plane can store nothing.")
                .detail(error.to_string())
                .hint("make room where its database is, and ask again")
        }
        BackendError::Status { .. } if error.is_transient() => CliError::unreachable(url, error),
        BackendError::Status { .. }
        | BackendError::Unexpected { .. }
        | BackendError::SessionLost(_)
        | BackendError::NotRefreshed { .. } => {
            CliError::failed("The control plane refused the request.").detail(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::problem::Problem;

    #[test]
    fn a_full_disk_is_no_question_of_the_network() {
        let refused = |code: &str| BackendError::Status {
            what: "POST gateway_jobs".to_owned(),
            status: 503,
            problem: Problem {
                code: Some(code.to_owned()),
                message: None,
            },
            retry_after: None,
        };
        let hint = |code| explain("http://127.0.0.1:1", &refused(code)).hint.unwrap_or_default();
        assert!(hint("53100").contains("make room"));
        assert!(hint("57P03").contains("network"));
    }
}
