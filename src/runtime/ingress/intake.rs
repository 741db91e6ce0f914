//! Rows and pushed records into the queue.

use serde_json::Value;
use tracing::{debug, warn};

use crate::backend::jobs::Page;
use crate::backend::realtime::Change;
use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::job::{Ingress as Way, Job, JobStatus, Timeline};
use crate::job::handler::StopReason;
use crate::job::queue::{Offer, Waiting};
use crate::runtime::feed::Event;
use crate::runtime::ingress::queries::Answers;
use crate::runtime::ingress::{Ingress, MAX_ASIDE, Place};
use crate::runtime::reconcile::{Verdict, judge, weight};

/// What became of a row, for the sweep that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Queued,
    BusyLane,
    NoRoom,
    Nothing,
}

impl Ingress {
    /// Works through the answers of a reconcile.
    pub(super) fn take_answers(&mut self, answers: Answers) {
        if let Some(Ok(rows)) = answers.cancels {
            for row in &rows {
                self.take_row(row, Way::Poll);
            }
        }
        if let Some(Ok(page)) = answers.page {
            self.take_page(&page);
        }
        if let Some(Ok(statuses)) = answers.statuses {
            for (id, status) in statuses.iter().filter(|(_, status)| status.is_final()) {
                self.ended_elsewhere(id, *status);
            }
        }
    }

    fn take_page(&mut self, page: &Page) {
        let Some(mut sweep) = self.sweep.take() else { return };
        for row in &page.rows {
            if !sweep.wants_more() {
                break;
            }
            match self.take_row(row, Way::Poll) {
                Taken::Queued => sweep.took(),
                Taken::BusyLane | Taken::NoRoom => sweep.passed_busy(),
                Taken::Nothing => {}
            }
        }
        sweep.page_done(page.rows.len(), page.limit as usize);
        self.sweep = Some(sweep);
    }

    /// A record from the channel.
    pub(super) fn pushed(&mut self, change: Change) {
        let now = self.now();
        if !change.errors.is_empty() {
            warn!(errors = ?change.errors, "A job event came incomplete; asking for the row");
            return self.feed.on(now, Event::Missed);
        }
        let row = Value::Object(change.record);
        if self.switches.polling && matches!(judge(&row, &self.us), Verdict::Reject { .. }) {
            debug!("A job event lacks something; asking for the row");
            return self.feed.on(now, Event::Missed);
        }
        if self.take_row(&row, Way::Push) == Taken::NoRoom {
            self.feed.on(now, Event::Refused);
        }
    }

    fn take_row(&mut self, row: &Value, way: Way) -> Taken {
        match judge(row, &self.us) {
            Verdict::Ours(job) => return self.take_job(*job, row, way),
            Verdict::Cancel(job) => self.serve_cancel(*job, row, way),
            Verdict::NotQueued(id, status) if status.is_final() => self.ended_elsewhere(&id, status),
            Verdict::NotQueued(..) => {}
            Verdict::Foreign => self.report.foreign += 1,
            Verdict::Reject { id, reason } => self.refuse(id, reason, way),
            Verdict::Unreadable(reason) => {
                if self.rejected == 0 {
                    warn!(reason, "Rejected malformed gateway job");
                }
                self.rejected += 1;
            }
        }
        Taken::Nothing
    }

    fn take_job(&mut self, job: Job, row: &Value, way: Way) -> Taken {
        if self.queue.holds(&job.id) || self.avoided.contains(&job.id, self.now()) {
            debug!(job = %job.id, "Skipping duplicate gateway job");
            return Taken::Nothing;
        }
        if way == Way::Push && !self.feed.accepts_push() {
            return Taken::Nothing;
        }
        // A polled row would only wait in memory; its place in the table keeps it in order.
        if way == Way::Poll && job.lane().is_some_and(|lane| self.queue.lane_is_busy(&lane)) {
            return Taken::BusyLane;
        }
        match self.queue.offer(waiting(job, row, way)) {
            Offer::Queued => Taken::Queued,
            Offer::Duplicate => Taken::Nothing,
            Offer::Full => Taken::NoRoom,
        }
    }

    fn has_room_aside(&mut self) -> bool {
        self.aside_full |= self.aside >= MAX_ASIDE;
        self.aside < MAX_ASIDE && self.report.journal.is_none()
    }

    /// Cancels never wait for a slot.
    fn serve_cancel(&mut self, job: Job, row: &Value, way: Way) {
        if !self.has_room_aside() {
            return;
        }
        let Some(life) = self.running.begin(&job.id) else {
            return;
        };
        let (worker, id) = (self.worker.clone(), job.id.clone());
        let waiting = waiting(job, row, way);
        self.start(id, Place::Aside, async move { worker.work(waiting, life).await });
    }

    /// Fails a row that is no job, so that whoever wrote it learns why.
    fn refuse(&mut self, id: JobId, reason: String, way: Way) {
        let passed_over = self.avoided.contains(&id, self.now());
        if passed_over || !self.has_room_aside() {
            return;
        }
        let Some(life) = self.running.begin(&id) else {
            return;
        };
        self.avoided.for_good(id.clone());
        self.rejected += 1;
        warn!(job = %id, reason, "Rejected malformed gateway job");
        let (worker, row) = (self.worker.clone(), id.clone());
        let timeline = Timeline::received(way, clock::now());
        self.start(id, Place::Aside, async move {
            worker.reject(&row, reason, timeline, &life).await
        });
    }

    /// The row was ended by somebody else: whatever we have of it has to go.
    fn ended_elsewhere(&mut self, id: &JobId, status: JobStatus) {
        if self.running.end(id, StopReason::Cancelled) {
            debug!(job = %id, status = status.as_str(), "Gateway job was ended on the control plane");
        } else if self.queue.withdraw(id).is_some() {
            self.slot_freed();
        }
    }
}

fn waiting(job: Job, row: &Value, way: Way) -> Waiting {
    Waiting {
        bytes: row.get("payload").map_or(0, weight),
        job,
        timeline: Timeline::received(way, clock::now()),
    }
}
