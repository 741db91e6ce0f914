//! The one place where the parts meet: collects facts, publishes the status, answers the command line, ends the daemon.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::backend::auth::AuthState;
use crate::domain::awake::Awake;
use crate::domain::clock::{self, wire_time};
use crate::job::handler::{InstallSwitch, StopReason};
use crate::job::report::{Mail, Outbox};
use crate::process::containment;
use crate::runtime::heartbeat::Beat;
use crate::runtime::ingress::{Order, Report};
use crate::runtime::local_socket::Asked;
use crate::runtime::shutdown::{Load, Phase, Shutdown, Wish};
use crate::runtime::signals::Signals;
use crate::runtime::status::{Assessment, Facts, SessionFact, assess};
use crate::runtime::tasks::Tasks;
use crate::wire::heartbeat::WireStatus;
use crate::wire::local::{DaemonStatus, LocalReply, LocalRequest};

/// A look at the clock even if nothing happens: facts get old.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Jobs are claimed while the last accepted heartbeat is younger: the control plane refuses work of a gateway whose
/// heartbeat is 90 s old.
const HEARTBEAT_FRESH: Duration = Duration::from_secs(75);

/// News from a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A heartbeat was answered, or not.
    Beat {
        /// When it was sent.
        sent_at: Instant,
        /// How it went.
        beat: Beat,
    },
    /// The session is good, or not.
    Session(AuthState),
    /// `gateway.json` holds another gateway now.
    PairedAnew,
    /// The state directory was deleted or replaced.
    StateGone,
}

/// How the daemon's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkEnd {
    /// Somebody wanted it to stop.
    Stopped {
        /// Jobs had to be cancelled for it.
        cancelled: bool,
    },
    /// The control plane refused the session before anything worked.
    SessionRefused(String),
    /// This host was paired as another gateway.
    PairedAnew,
    /// A part of the daemon failed.
    Fault(String),
}

/// Facts about this daemon that never change.
#[derive(Debug, Clone)]
pub struct About {
    /// Control plane address.
    pub backend_url: String,
    /// Its gateway id.
    pub gateway_id: String,
    /// Its team id.
    pub team_id: String,
    /// Device name.
    pub device_name: String,
    /// When the process began.
    pub began: Instant,
}

/// The supervisor's ends of every channel.
#[derive(Debug)]
pub struct Lines {
    /// News of the tasks.
    pub notes: mpsc::Receiver<Note>,
    /// What the ingress knows.
    pub ingress: watch::Receiver<Report>,
    /// Results not yet confirmed.
    pub outbox: watch::Receiver<Outbox>,
    /// Questions of the command line.
    pub asked: mpsc::Receiver<Asked>,
    /// Orders for the ingress.
    pub orders: mpsc::Sender<Order>,
    /// Letters to the reporter.
    pub reports: mpsc::Sender<Mail>,
    /// The wire's status word.
    pub status: watch::Sender<WireStatus>,
    /// Asks for a heartbeat at once.
    pub hurry: Arc<Notify>,
    /// Fires when the first heartbeat was answered, or not.
    pub first_beat: CancellationToken,
    /// The host's layer of machine control.
    pub install: InstallSwitch,
}

/// See the module's head.
#[derive(Debug)]
pub struct Supervisor {
    about: About,
    lines: Lines,
    facts: Facts,
    shutdown: Shutdown,
    /// Last accepted heartbeat.
    beat: Option<(Instant, Timestamp)>,
    beat_trouble: Option<String>,
    claiming: bool,
    was_in_trouble: bool,
    awake: Awake,
    reloads: Vec<(Instant, oneshot::Sender<LocalReply>)>,
    last_state: Option<Assessment>,
    end: Option<WorkEnd>,
    cancelled: bool,
}

impl Supervisor {
    /// A supervisor of parts that were just started. `grace` bounds the drain of a signal.
    #[must_use]
    pub fn new(about: About, lines: Lines, grace: Duration) -> Self {
        let began = about.began;
        Self {
            about,
            lines,
            facts: Facts::starting(),
            shutdown: Shutdown::new(grace),
            beat: None,
            beat_trouble: None,
            claiming: false,
            was_in_trouble: false,
            awake: Awake::at(clock::now(), began.elapsed()),
            reloads: Vec::new(),
            last_state: None,
            end: None,
            cancelled: false,
        }
    }

    /// Watches over the daemon until it has nothing left to do. Tells how it ended, and what led there.
    pub async fn run(mut self, tasks: &mut Tasks, signals: &mut Signals) -> (WorkEnd, Shutdown) {
        loop {
            self.look().await;
            if self.shutdown.phase() == Phase::Done {
                let stopped = WorkEnd::Stopped {
                    cancelled: self.cancelled,
                };
                return (self.end.unwrap_or(stopped), self.shutdown);
            }
            let wake = self.wake_at();
            tokio::select! {
                Some(note) = self.lines.notes.recv() => self.note(note).await,
                Ok(()) = self.lines.ingress.changed() => {}
                Ok(()) = self.lines.outbox.changed() => {}
                Some(asked) = self.lines.asked.recv() => self.answer(asked),
                name = signals.next() => self.wish(Wish::Signal(name)),
                fault = tasks.fault() => {
                    self.end = Some(WorkEnd::Fault(fault.to_string()));
                    self.wish(Wish::Fault);
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.about.began.elapsed()
    }

    fn wake_at(&self) -> Instant {
        let look = Instant::now() + LOOK_EVERY;
        self.shutdown
            .wake_at()
            .map_or(look, |at| look.min(self.about.began + at))
    }

    fn wish(&mut self, wish: Wish) {
        let now = self.now();
        self.shutdown.wish(now, wish);
        info!(phase = ?self.shutdown.phase(), ?wish, "Gateway shutting down");
    }

    /// Brings facts, phase and status up to date, and tells whom it concerns.
    async fn look(&mut self) {
        let report = self.lines.ingress.borrow_and_update().clone();
        let unreported = self.lines.outbox.borrow_and_update().unreported;
        let before = self.facts.phase;
        self.shutdown.tick(
            self.now(),
            Load {
                running: report.running,
                unreported,
            },
        );
        self.facts.phase = self.shutdown.phase();
        if before != self.facts.phase {
            self.enter(self.facts.phase, report.running).await;
        }
        self.facts.reconciled = report.reconciled.map(|(at, _)| at.elapsed());
        self.facts.trouble = report.trouble.clone().or_else(|| self.beat_trouble.clone());
        self.facts.heartbeat = self.beat.map(|(at, _)| at.elapsed());
        self.facts.realtime_down = report.realtime_down.clone();
        self.facts.journal = report.journal.clone();
        self.recovered(report.trouble.is_some()).await;
        self.wake_up().await;
        self.set_claiming().await;
        self.publish();
    }

    async fn enter(&mut self, phase: Phase, running: usize) {
        info!(?phase, running, "Gateway phase");
        match phase {
            Phase::Running | Phase::Done => {}
            Phase::Draining => self.order(Order::Drain).await,
            Phase::Cancelling => {
                self.cancelled |= running > 0;
                self.order(Order::Drain).await;
                let why = StopReason::Shutdown(self.shutdown.reason().to_owned());
                self.order(Order::CancelAll(why)).await;
            }
            Phase::Killing => self.order(Order::KillAll).await,
        }
        if self.shutdown.abandoned() {
            self.order(Order::KillAll).await;
        }
    }

    /// The control plane answers again: what waits for it need not wait longer.
    async fn recovered(&mut self, trouble: bool) {
        if self.was_in_trouble && !trouble {
            self.lines.hurry.notify_one();
            self.mail_nudge().await;
        }
        self.was_in_trouble = trouble;
    }

    /// After a sleep of the host the channel leads nowhere, and what was to come is due.
    async fn wake_up(&mut self) {
        let Some(slept) = self.awake.look(clock::now(), self.now()) else {
            return;
        };
        info!(?slept, "The host was asleep, or its clock was set; connecting anew");
        self.order(Order::Reconnect).await;
        self.lines.hurry.notify_one();
        self.mail_nudge().await;
    }

    async fn mail_nudge(&self) {
        if self.lines.reports.send(Mail::Nudge).await.is_err() {
            warn!("The reporter is gone");
        }
    }

    /// A job that is claimed while the control plane thinks us dead would be refused for that.
    async fn set_claiming(&mut self) {
        let fresh = self.facts.heartbeat.is_some_and(|age| age < HEARTBEAT_FRESH);
        if fresh != self.claiming {
            self.claiming = fresh;
            self.order(Order::Claiming(fresh)).await;
        }
    }

    fn publish(&mut self) {
        let said = assess(&self.facts);
        if self.last_state.as_ref() != Some(&said) {
            match &said.reason {
                Some(reason) => info!(state = ?said.state, reason, "Gateway state"),
                None => info!(state = ?said.state, "Gateway running"),
            }
        }
        self.lines.status.send_if_modified(|status| {
            let changed = *status != said.wire && said.wire != WireStatus::Offline;
            if changed {
                *status = said.wire;
            }
            changed
        });
        self.last_state = Some(said);
    }

    async fn order(&self, order: Order) {
        if self.lines.orders.send(order).await.is_err() {
            error!("The ingress is gone");
        }
    }

    async fn note(&mut self, note: Note) {
        match note {
            Note::Beat { sent_at, beat } => self.beat(sent_at, beat).await,
            Note::Session(state) => self.session(state).await,
            Note::PairedAnew => {
                self.end = Some(WorkEnd::PairedAnew);
                self.wish(Wish::Fault);
            }
            Note::StateGone => {
                let reason = "the state directory was deleted or replaced under the running gateway";
                self.end = Some(WorkEnd::Fault(reason.to_owned()));
                self.wish(Wish::Fault);
            }
        }
    }

    async fn beat(&mut self, sent_at: Instant, beat: Beat) {
        self.lines.first_beat.cancel();
        let reply = match beat {
            Beat::Accepted => {
                if self.beat_trouble.take().is_some() {
                    self.mail_nudge().await;
                }
                self.beat = Some((sent_at, clock::now()));
                self.session(AuthState::Active).await;
                LocalReply::Ok
            }
            Beat::Failed(message) => {
                self.beat_trouble = Some(message.clone());
                LocalReply::Error { message }
            }
            Beat::SessionLost(lost) => {
                let message = lost.to_string();
                self.session(AuthState::Lost(lost)).await;
                LocalReply::Error { message }
            }
        };
        for (since, answer) in std::mem::take(&mut self.reloads) {
            if since > sent_at {
                self.reloads.push((since, answer));
            } else if answer.send(reply.clone()).is_err() {
                info!("Nobody waited for the reload any more");
            }
        }
    }

    async fn session(&mut self, state: AuthState) {
        match state {
            AuthState::Active => {
                if matches!(self.facts.session, SessionFact::Lost(_)) {
                    info!("The session is good again");
                    self.order(Order::Resume).await;
                    self.mail_nudge().await;
                    self.lines.hurry.notify_one();
                }
                self.facts.session = SessionFact::Usable;
            }
            AuthState::Lost(lost) if self.beat.is_none() => {
                self.end = Some(WorkEnd::SessionRefused(lost.code));
                self.wish(Wish::Fault);
            }
            AuthState::Lost(lost) => {
                if !matches!(self.facts.session, SessionFact::Lost(_)) {
                    error!(code = lost.code, "The session was refused; pair this host again");
                    self.order(Order::Pause).await;
                }
                self.facts.session = SessionFact::Lost(lost.code);
            }
        }
    }

    fn answer(&mut self, asked: Asked) {
        let reply = match asked.request {
            LocalRequest::Status => LocalReply::Status(Box::new(self.status())),
            LocalRequest::Stop { how } => {
                self.wish(Wish::Local(how));
                LocalReply::Ok
            }
            LocalRequest::ReloadFullControl => {
                info!("Reloaded gateway host machine-control setting");
                self.reloads.push((Instant::now(), asked.answer));
                self.lines.hurry.notify_one();
                return;
            }
        };
        if asked.answer.send(reply).is_err() {
            info!("Nobody waited for an answer on the local socket any more");
        }
    }

    fn status(&self) -> DaemonStatus {
        let report = self.lines.ingress.borrow();
        let outbox = self.lines.outbox.borrow();
        let said = assess(&self.facts);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        DaemonStatus {
            state: said.state,
            reason: said.reason,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.about.began.elapsed().as_secs(),
            backend_url: self.about.backend_url.clone(),
            gateway_id: self.about.gateway_id.clone(),
            team_id: self.about.team_id.clone(),
            device_name: self.about.device_name.clone(),
            full_control_enabled: self.lines.install.enabled(),
            realtime: report.realtime,
            last_heartbeat_at: self.beat.map(|(_, at)| wire_time(at)),
            last_reconcile_at: report.reconciled.map(|(_, at)| wire_time(at)),
            running_jobs: count(report.running),
            queued_jobs: count(report.waiting),
            unreported_results: count(outbox.unreported),
            set_aside: outbox.set_aside.clone(),
            malformed_rows: report.malformed,
            containment: Some(containment::current()),
        }
    }
}
