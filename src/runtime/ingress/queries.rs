//! The queries of a reconcile, sent together, and their answers.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::backend::jobs::Page as Rows;
use crate::backend::{BackendError, Jobs};
use crate::domain::ids::JobId;
use crate::domain::job::JobStatus;
use crate::runtime::feed::Due;
use crate::runtime::ingress::Ingress;
use crate::runtime::reconcile::{CANCEL_LIMIT, Page, STATUS_CHUNK, Sweep};

/// Queries on their way.
pub(super) type Asking = BoxFuture<'static, Answers>;

/// What came back; `None` was not asked for.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) cancels: Option<Result<Vec<Value>, BackendError>>,
    pub(super) page: Option<Result<Rows, BackendError>>,
    pub(super) statuses: Option<Result<Vec<(JobId, JobStatus)>, BackendError>>,
}

impl Answers {
    /// Why something failed, if it did.
    pub(super) fn trouble(&self) -> Option<String> {
        fn why<T>(answer: Option<&Result<T, BackendError>>) -> Option<String> {
            answer?.as_ref().err().map(ToString::to_string)
        }
        why(self.cancels.as_ref())
            .or_else(|| why(self.page.as_ref()))
            .or_else(|| why(self.statuses.as_ref()))
    }
}

impl Answers {
    /// How long the control plane asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        fn wait<T>(answer: Option<&Result<T, BackendError>>) -> Option<Duration> {
            answer?.as_ref().err()?.retry_after()
        }
        let asked = [
            wait(self.cancels.as_ref()),
            wait(self.page.as_ref()),
            wait(self.statuses.as_ref()),
        ];
        asked.into_iter().flatten().max()
    }
}

impl Ingress {
    /// Sends the queries that are due.
    pub(super) fn ask(&mut self) -> Option<Asking> {
        let free = self.queue.free();
        let due = self.feed.due(self.now(), free)?;
        self.sweep = due.jobs.then(|| Sweep::new(free, self.resume_at));
        let page = self.sweep.as_ref().and_then(Sweep::next);
        let running = if due.statuses { self.running.ids() } else { Vec::new() };
        Some(ask_all(self.jobs.clone(), due, page, running).boxed())
    }

    /// Asks for the sweep's next page.
    pub(super) fn next_page(&mut self) -> Option<Asking> {
        let page = self.sweep.as_ref()?.next()?;
        Some(ask_all(self.jobs.clone(), Due::default(), Some(page), Vec::new()).boxed())
    }
}

async fn ask_all(jobs: Jobs, due: Due, page: Option<Page>, running: Vec<JobId>) -> Answers {
    let cancels = async {
        match due.cancels {
            true => Some(jobs.queued_cancels(small(CANCEL_LIMIT)).await),
            false => None,
        }
    };
    let rows = async {
        let page = page?;
        Some(jobs.queued(small(page.limit), small(page.offset)).await)
    };
    let statuses = async {
        let some = running.get(..running.len().min(STATUS_CHUNK * 4))?;
        match some.is_empty() {
            true => None,
            false => Some(jobs.statuses(some).await),
        }
    };
    let (cancels, page, statuses) = tokio::join!(cancels, rows, statuses);
    Answers {
        cancels,
        page,
        statuses,
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
