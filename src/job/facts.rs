//! The control plane's side of machine control for one job: asked beside the claim, and again where that was too early.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::backend::BackendError;
use crate::backend::jobs::Jobs;
use crate::domain::backoff::Backoff;
use crate::domain::ids::ResourceId;
use crate::domain::job::Job;
use crate::job::handler::{self, ControlFacts, JobLife};
use crate::job::policy::GatewayFacts;

/// How old an answer may be when the job starts. Somebody may have said no in the meantime.
const FRESH: Duration = Duration::from_secs(5);
/// How long a claimed job waits for an answer before it is refused for the lack of one.
const DEADLINE: Duration = Duration::from_secs(60);

type Answer = Result<Option<Value>, BackendError>;

/// Answers as they came, with the time of asking.
#[derive(Debug)]
pub(super) struct Fetched {
    gateway: Answer,
    resource: Answer,
    asked: Instant,
}

impl Fetched {
    fn is_good(&self) -> bool {
        let passing = |answer: &Answer| answer.as_ref().is_err_and(BackendError::is_transient);
        !passing(&self.gateway) && !passing(&self.resource)
    }

    fn is_fresh(&self) -> bool {
        self.asked.elapsed() <= FRESH
    }

    fn into_facts(self) -> ControlFacts {
        ControlFacts {
            gateway: self.gateway.map_err(|error| error.to_string()),
            resource: self.resource.map_err(|error| error.to_string()),
        }
    }
}

/// Asks once; `None` for jobs that need no machine control.
pub(super) async fn fetch(backend: &Jobs, job: &Job) -> Option<Fetched> {
    if !handler::needs_control(&job.kind) {
        return None;
    }
    let asked = Instant::now();
    let named = job.payload.get("resource_id").and_then(Value::as_str).map(str::trim);
    let resource_id = named.and_then(|id| ResourceId::new(id).ok());
    let resource = async {
        match &resource_id {
            Some(id) => backend.resource(id).await,
            None => Ok(None),
        }
    };
    let (gateway, resource) = tokio::join!(backend.gateway_row(GatewayFacts::COLUMNS), resource);
    Some(Fetched {
        gateway,
        resource,
        asked,
    })
}

/// Asks again where that was too early or failed, until the job is to end or nothing more is to be hoped for.
pub(super) async fn settle(backend: &Jobs, job: &Job, first: Option<Fetched>, life: &JobLife) -> Option<ControlFacts> {
    let mut fetched = first?;
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(4));
    let mut usable = fetched.is_good() && fetched.is_fresh();
    while !usable && begun.elapsed() < DEADLINE && !life.stop.is_cancelled() {
        fetched = fetch(backend, job).await?;
        // However long it took: nothing newer is to be had.
        usable = fetched.is_good();
        if usable {
            break;
        }
        tokio::select! {
            () = sleep(backoff.ceiling_step()) => {}
            () = life.stop.cancelled() => {}
        }
    }
    Some(fetched.into_facts())
}
