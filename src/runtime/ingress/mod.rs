//! Brings jobs in and runs them: carries out what feed, sweep and queue decide.
//!
//! One task. Queries, workers and the Realtime channel are futures of it, so nothing here is shared or locked.

mod intake;
mod queries;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backend::realtime::Realtime;
use crate::backend::{Jobs, RealtimeEvent};
use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::job::handler::{Identity, StopReason};
use crate::job::queue::{JobQueue, Limits};
use crate::job::running::Running;
use crate::job::worker::{Worked, Worker};
use crate::runtime::feed::{Event, Feed, Outcome, Switches};
use crate::runtime::ingress::queries::{Answers, Asking};
use crate::runtime::reconcile::{Avoided, Sweep};

/// Jobs and payload bytes that may wait in memory.
const MAX_WAITING: usize = 1_024;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Rows that are being refused, and cancels that are being served, at the same time.
const MAX_ASIDE: usize = 16;
/// After a failed write of the journal nothing is claimed; so often it is tried whether it takes writes again.
const JOURNAL_PAUSE: Duration = Duration::from_secs(5);

/// What the supervisor orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Take no more jobs.
    Drain,
    /// Ask every running job to end.
    CancelAll(StopReason),
    /// Kill what still runs.
    KillAll,
    /// The session is unusable.
    Pause,
    /// The session is usable again.
    Resume,
    /// What is open leads nowhere any more.
    Reconnect,
    /// Whether the control plane knows that we live: only then are jobs claimed.
    Claiming(bool),
}

/// What the ingress knows about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Jobs running now.
    pub running: usize,
    /// Jobs waiting in memory.
    pub waiting: usize,
    /// Rows and frames that could not be decoded.
    pub malformed: u64,
    /// Rows of other owners that came along.
    pub foreign: u64,
    /// The last good reconcile.
    pub reconciled: Option<(Instant, Timestamp)>,
    /// Why the last reconcile failed, if it did.
    pub trouble: Option<String>,
    /// Whether the channel is joined.
    pub realtime: bool,
    /// Why the channel is down, once it has failed.
    pub realtime_down: Option<String>,
    /// Why the journal cannot be written.
    pub journal: Option<String>,
}

/// What an ingress is made of.
#[derive(Debug)]
pub struct Parts {
    /// Rows of the control plane.
    pub jobs: Jobs,
    /// Runs jobs.
    pub worker: Worker,
    /// The job channel, unless it is switched off.
    pub realtime: Option<Realtime>,
    /// Whose rows are ours.
    pub us: Identity,
    /// Test switches.
    pub switches: Switches,
    /// Jobs at the same time.
    pub slots: usize,
}

/// Why a worker was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It holds a slot of the queue.
    Slot,
    /// A cancel, or a row to be refused.
    Aside,
}

type Trial = BoxFuture<'static, Result<(), String>>;
type Working = FuturesUnordered<BoxFuture<'static, (JobId, Place, Worked)>>;

/// The ingress; see the module's head.
pub struct Ingress {
    jobs: Jobs,
    worker: Worker,
    realtime: Option<Realtime>,
    us: Identity,
    switches: Switches,
    began: Instant,
    feed: Feed,
    queue: JobQueue,
    running: Running,
    working: Working,
    aside: usize,
    /// Rows were passed over because there was no room aside.
    aside_full: bool,
    avoided: Avoided,
    sweep: Option<Sweep>,
    resume_at: usize,
    claiming: bool,
    journal_retry: Option<Instant>,
    journal_trial: Option<Trial>,
    /// Rows that could not be decoded; the channel counts its own.
    rejected: u64,
    report: Report,
    reports: watch::Sender<Report>,
}

impl std::fmt::Debug for Ingress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingress")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl Ingress {
    /// An ingress that begins with a reconcile. `reports` follows what it knows.
    #[must_use]
    pub fn new(parts: Parts, reports: watch::Sender<Report>) -> Self {
        let limits = Limits {
            slots: parts.slots,
            jobs: MAX_WAITING.max(parts.slots),
            bytes: MAX_WAITING_BYTES,
        };
        Self {
            jobs: parts.jobs,
            worker: parts.worker,
            realtime: parts.realtime,
            us: parts.us,
            switches: parts.switches,
            began: Instant::now(),
            feed: Feed::new(parts.switches, parts.slots, Duration::ZERO),
            queue: JobQueue::new(limits),
            running: Running::default(),
            working: FuturesUnordered::new(),
            aside: 0,
            aside_full: false,
            avoided: Avoided::default(),
            sweep: None,
            resume_at: 0,
            claiming: false,
            journal_retry: None,
            journal_trial: None,
            rejected: 0,
            report: Report::default(),
            reports,
        }
    }

    /// Works until the sender of `orders` is gone, then leaves the channel.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut asking: Option<Asking> = None;
        loop {
            self.try_journal();
            self.start_ready();
            if asking.is_none() {
                asking = self.ask();
            }
            self.publish();
            let wake = self.wake_at();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                Some((id, place, worked)) = self.working.next() => self.worked(&id, place, worked),
                answers = answered(&mut asking) => {
                    asking = self.answered(answers);
                }
                tried = answered(&mut self.journal_trial) => self.journal_tried(tried),
                event = next_event(&mut self.realtime) => self.event(event),
                () = tokio::time::sleep_until(wake), if asking.is_none() => {}
            }
        }
        if let Some(realtime) = self.realtime.take() {
            realtime.close().await;
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// When to look again although nothing happened. Nothing is due while queries travel.
    fn wake_at(&self) -> Instant {
        let due = self.feed.wake_at(self.queue.free()).map(|at| self.began + at);
        [due, self.journal_retry]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(60))
    }

    fn obey(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::Drain => {
                self.feed.on(now, Event::Drain);
                self.queue.clear_waiting();
                // Rows that are on their way come too late.
                self.sweep = None;
            }
            Order::CancelAll(why) => self.running.end_all(&why),
            Order::KillAll => self.running.kill_all(),
            Order::Pause => self.feed.on(now, Event::Pause),
            Order::Resume => self.feed.on(now, Event::Resume),
            Order::Claiming(claiming) => self.claiming = claiming,
            Order::Reconnect => {
                if let Some(realtime) = &mut self.realtime {
                    realtime.reconnect();
                }
                self.feed.on(now, Event::Missed);
            }
        }
    }

    /// Starts every job that may start now.
    fn start_ready(&mut self) {
        if !self.claiming || self.report.journal.is_some() {
            return;
        }
        while let Some(waiting) = self.queue.take_ready() {
            let id = waiting.job.id.clone();
            let Some(life) = self.running.begin(&id) else {
                self.queue.done(&id);
                continue;
            };
            let worker = self.worker.clone();
            self.start(id, Place::Slot, async move { worker.work(waiting, life).await });
        }
    }

    fn start(&mut self, id: JobId, place: Place, work: impl Future<Output = Worked> + Send + 'static) {
        self.aside += usize::from(place == Place::Aside);
        let guarded = async move {
            let worked = AssertUnwindSafe(work).catch_unwind().await;
            let worked = worked.unwrap_or_else(|_| Worked::Broken("the worker panicked".to_owned()));
            (id, place, worked)
        };
        self.working.push(guarded.boxed());
    }

    fn worked(&mut self, id: &JobId, place: Place, worked: Worked) {
        self.running.done(id);
        match place {
            Place::Slot => self.queue.done(id),
            Place::Aside => self.aside -= 1,
        }
        match worked {
            Worked::Finished => {
                self.slot_freed();
                self.aside_freed();
            }
            // Should the row still be queued, it must not come back at once, nor keep those behind it waiting.
            Worked::NotOurs | Worked::Refused => self.pass_over(id, place),
            Worked::Broken(why) => {
                error!(job = %id, why, "The work on a gateway job panicked; its row is left as it is");
                self.pass_over(id, place);
            }
            // The row is still queued: the next reconcile brings it again, without a hot loop.
            Worked::NotClaimed(why) => {
                self.avoided.forget(id);
                self.report.trouble = Some(why);
            }
            Worked::NotJournalled(why) => {
                warn!(why, "The journal cannot be written; no job is claimed until it can");
                self.journal_fails(why);
                self.slot_freed();
            }
        }
    }

    fn pass_over(&mut self, id: &JobId, place: Place) {
        if place == Place::Slot {
            let now = self.now();
            self.avoided.for_now(id.clone(), now);
        }
        self.slot_freed();
    }

    fn journal_fails(&mut self, why: String) {
        self.report.journal = Some(why);
        self.journal_retry = Some(Instant::now() + JOURNAL_PAUSE);
    }

    fn try_journal(&mut self) {
        if self.journal_trial.is_none() && self.journal_retry.is_some_and(|at| Instant::now() >= at) {
            self.journal_retry = None;
            let worker = self.worker.clone();
            self.journal_trial = Some(async move { worker.try_journal().await }.boxed());
        }
    }

    fn journal_tried(&mut self, tried: Result<(), String>) {
        self.journal_trial = None;
        match tried {
            Ok(()) => {
                info!("The journal takes writes again");
                self.report.journal = None;
                self.slot_freed();
            }
            Err(why) => self.journal_fails(why),
        }
    }

    /// A cancel that somebody waits for may stand behind any number of others.
    fn aside_freed(&mut self) {
        if self.aside == 0 && std::mem::take(&mut self.aside_full) {
            self.feed.on(self.now(), Event::Missed);
        }
    }

    fn slot_freed(&mut self) {
        let now = self.now();
        self.feed.on(now, Event::SlotFreed);
    }

    fn event(&mut self, event: RealtimeEvent) {
        let now = self.now();
        match event {
            RealtimeEvent::Subscribed => {
                info!("Gateway subscribed to job queue");
                self.joined();
                self.feed.on(now, Event::Subscribed);
            }
            RealtimeEvent::SystemOk => {
                self.joined();
                self.feed.on(now, Event::SystemOk);
            }
            RealtimeEvent::Down { reason, retry_in } => {
                info!(reason, ?retry_in, "Gateway realtime channel unavailable");
                self.report.realtime = false;
                self.report.realtime_down = Some(reason);
                self.feed.on(now, Event::PushLost);
            }
            RealtimeEvent::Change(change) => self.pushed(change),
        }
    }

    fn joined(&mut self) {
        self.report.realtime = true;
        self.report.realtime_down = None;
        if !self.switches.polling {
            self.report.reconciled = Some((Instant::now(), clock::now()));
        }
    }

    /// The answers are in: works through them, and asks for the next page if there is one.
    fn answered(&mut self, answers: Answers) -> Option<Asking> {
        let now = self.now();
        let (trouble, after) = (answers.trouble(), answers.retry_after());
        self.take_answers(answers);
        if trouble.is_none()
            && let Some(next) = self.next_page()
        {
            return Some(next);
        }
        let more = self.sweep.take().is_some_and(|sweep| {
            self.resume_at = sweep.resume_at();
            sweep.more()
        });
        let outcome = match &trouble {
            Some(why) => {
                warn!(why, "Failed to reconcile queued gateway jobs");
                Outcome::Failed { after }
            }
            None => {
                if self.switches.polling || self.report.realtime {
                    self.report.reconciled = Some((Instant::now(), clock::now()));
                }
                Outcome::Done { more }
            }
        };
        self.report.trouble = trouble;
        self.feed.finished(now, outcome, rand::random());
        if self.resume_at > 0 {
            self.slot_freed();
        }
        None
    }

    fn publish(&mut self) {
        self.report.running = self.running.len();
        self.report.waiting = self.queue.waiting();
        self.report.malformed = self.rejected + self.realtime.as_ref().map_or(0, Realtime::malformed);
        if *self.reports.borrow() != self.report {
            self.reports.send_replace(self.report.clone());
        }
    }
}

async fn answered<T>(asking: &mut Option<BoxFuture<'static, T>>) -> T {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

async fn next_event(realtime: &mut Option<Realtime>) -> RealtimeEvent {
    match realtime {
        Some(realtime) => realtime.next_event().await,
        None => std::future::pending().await,
    }
}
