//! Which run this job is for, and whether it may begin: every check in the documented order.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::accept;
use super::config::Config;
use super::refused::{Extra, Refused};
use crate::backend::BackendError;
use crate::backend::runs::Notes;
use crate::domain::backoff::Backoff;
use crate::domain::clock;
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::job::Job;
use crate::domain::text::trimmed;
use crate::job::handler::agents::looked_at;
use crate::job::handler::{Context, JobLife};
use crate::job::policy::{self, Fact, GatewayFacts};
use crate::provider::ProviderId;

/// How long a question may go unanswered before the job fails for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that may begin.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) subagent_id: SubagentId,
    pub(super) run_id: RunId,
    pub(super) sequence: i64,
    pub(super) provider: ProviderId,
    pub(super) subagent_type: String,
    pub(super) prompt: String,
    pub(super) config: Map<String, Value>,
    /// The subagent's metadata as it was read.
    pub(super) notes: Notes,
    /// The run's own metadata; none while there is no such row yet.
    pub(super) run_notes: Option<Notes>,
    pub(super) owner: Value,
    pub(super) full_control: FullControl,
    pub(super) started_at: Timestamp,
}

impl Target {
    /// What every refusal tells of it.
    pub(super) fn about(&self) -> Extra {
        vec![
            ("subagent_id", Value::from(self.subagent_id.as_str())),
            ("run_id", Value::from(self.run_id.as_str())),
        ]
    }
}

/// Whether the agent may do everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FullControl {
    /// Nobody asked.
    NotAsked,
    /// All layers agree.
    Granted,
    /// Somebody said no.
    Denied(String),
}

/// Asks until there is an answer, nothing more is to be hoped for, or the job is to end.
pub(in crate::job::handler) async fn ask<T, F>(
    life: &JobLife,
    mut question: impl FnMut() -> F,
) -> Result<T, BackendError>
where
    F: Future<Output = Result<T, BackendError>>,
{
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(4));
    loop {
        let error = match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !error.is_transient() || begun.elapsed() >= PATIENCE || life.stop.is_cancelled() {
            return Err(error);
        }
        tokio::select! {
            () = sleep(backoff.ceiling_step().max(error.retry_after().unwrap_or_default())) => {}
            () = life.stop.cancelled() => {}
        }
    }
}

/// Finds and checks the run of a job.
pub(super) async fn find(job: &Job, cx: &Context, life: &JobLife) -> Result<Target, Refused> {
    let started_at = clock::now();
    let payload = |snake: &str, camel: &str| trimmed(job.payload.get(snake).or_else(|| job.payload.get(camel)));
    let id = payload("subagent_id", "subagentId").and_then(|id| SubagentId::new(id).ok());
    let id = id.ok_or_else(|| Refused::fail("Missing subagent_id in payload", Vec::new()))?;
    let asked_run = payload("run_id", "runId").map(str::to_owned);
    let row = subagent(&id, cx, life).await?;
    belongs_here(&row, &id, asked_run.as_deref(), (cx, life)).await?;
    let kind = row.get("subagent_type").and_then(Value::as_str).unwrap_or_default();
    let provider = provider_of(kind)?;
    let about = || vec![("subagent_id", Value::from(id.as_str()))];
    let input = members(&row, "input");
    let prompt = prompt(&input).ok_or_else(|| Refused::fail("Missing prompt in subagent input", about()))?;
    let config = members(&row, "config");
    let gateway = admitted(provider, cx, life).await;
    let gateway = gateway.map_err(|why| Refused::fail(why.to_string(), about()))?;
    let full_control = full_control(Config(&config), &gateway, cx);
    let run_id = accept::run_id(asked_run.as_deref(), &input)?;
    let mut target = Target {
        subagent_id: id,
        run_id,
        sequence: 0,
        provider,
        subagent_type: kind.to_owned(),
        prompt,
        notes: Notes::of(&row),
        config,
        run_notes: None,
        owner: row.get("owner_agent_id").cloned().unwrap_or_default(),
        full_control,
        started_at,
    };
    accept::accept(&mut target, &input, cx, life).await?;
    Ok(target)
}

async fn subagent(id: &SubagentId, cx: &Context, life: &JobLife) -> Result<Value, Refused> {
    let extra = vec![("subagent_id", Value::from(id.as_str()))];
    match ask(life, || cx.runs.subagent(id)).await {
        Ok(Some(row)) => Ok(row),
        Ok(None) => Err(Refused::skip("Subagent not found", extra)),
        Err(error) => Err(Refused::fail("Subagent not found", extra).because(&error)),
    }
}

async fn belongs_here(
    row: &Value,
    id: &SubagentId,
    asked_run: Option<&str>,
    (cx, life): (&Context, &JobLife),
) -> Result<(), Refused> {
    let word = |column: &str| row.get(column).and_then(Value::as_str);
    let skip = |message: String, mut extra: Extra| {
        extra.push(("subagent_id", Value::from(id.as_str())));
        Err(Refused::skip(message, extra))
    };
    let own = cx.identity.gateway_id.as_str();
    if word("gateway_id") != Some(own) {
        let assigned = row.get("gateway_id").cloned().unwrap_or_default();
        return skip(
            "Subagent is assigned to a different gateway".to_owned(),
            vec![("assigned_gateway_id", assigned), ("gateway_id", Value::from(own))],
        );
    }
    let current = trimmed(row.pointer("/metadata/current_run_id"));
    let runs = || {
        vec![
            ("expected_run_id", Value::from(asked_run)),
            ("current_run_id", Value::from(current)),
        ]
    };
    let status = word("status").unwrap_or_default();
    if status != "running" {
        return skip(
            format!("Subagent status changed before queued job execution (status={status})"),
            runs(),
        );
    }
    let (Some(asked), Some(current)) = (asked_run, current) else {
        return Ok(());
    };
    if asked == current {
        return Ok(());
    }
    match accept::is_next(asked, current, cx, life).await {
        Ok(true) => Ok(()),
        Ok(false) => skip(
            "Queued subagent job no longer matches the subagent current_run_id".to_owned(),
            runs(),
        ),
        Err(error) => {
            let about = vec![("subagent_id", Value::from(id.as_str()))];
            Err(Refused::fail("Failed to load accepted subagent run", about).because(&error))
        }
    }
}

fn provider_of(kind: &str) -> Result<ProviderId, Refused> {
    ProviderId::of_subagent_type(kind).ok_or_else(|| {
        let about = vec![("subagent_type", Value::from(kind))];
        Refused::fail("Unsupported subagent type", about).because(&format!("Unsupported subagent type: {kind}"))
    })
}

/// The first of the three that says anything at all, trimmed.
fn prompt(input: &Map<String, Value>) -> Option<String> {
    let first = ["prompt", "query", "task"]
        .iter()
        .find_map(|key| input.get(*key)?.as_str().filter(|text| !text.is_empty()))?;
    let trimmed = first.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

async fn admitted(provider: ProviderId, cx: &Context, life: &JobLife) -> Result<GatewayFacts, policy::Refusal> {
    let facts = life.control.as_deref();
    let gateway = facts.map_or(Fact::Unavailable, |facts| {
        Fact::read(&facts.gateway, GatewayFacts::from_row)
    });
    match policy::model_execution(gateway.clone(), cx.backend.server_time()) {
        // What the control plane knows about this host came from this host, some heartbeats ago. It may be mended
        // meanwhile, and if it is not the attempt says what is wrong.
        Err(refusal @ policy::Refusal::NoModels { .. }) => match gateway {
            Fact::Present(facts) => {
                looked_at(&cx.providers, |picture| picture.finding(provider).is_some()).await;
                Ok(facts)
            }
            Fact::Absent | Fact::Unavailable => Err(refusal),
        },
        decided => decided,
    }
}

/// Team, then host: the first that says no is named. The provider is asked when its program is found.
fn full_control(config: Config<'_>, gateway: &GatewayFacts, cx: &Context) -> FullControl {
    if !config.wants_full_control() {
        return FullControl::NotAsked;
    }
    if !gateway.full_control_enabled {
        return FullControl::Denied(policy::Refusal::TeamDisabled.to_string());
    }
    if !cx.install_full_control.enabled() {
        return FullControl::Denied(policy::Refusal::HostDisabled.to_string());
    }
    FullControl::Granted
}

fn members(row: &Value, column: &str) -> Map<String, Value> {
    row.get(column).and_then(Value::as_object).cloned().unwrap_or_default()
}
