//! From settings and a session to running tasks, and back to nothing.

use std::ffi::OsString;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::realtime::{Binding, Realtime};
use crate::backend::{Auth, Client, Endpoint, Http, HttpError, Jobs};
use crate::config::backend::Backend;
use crate::domain::clock;
use crate::job::handler::{Context, Identity};
use crate::job::recovery;
use crate::job::report::{self, Mail, Reporter};
use crate::job::worker::Worker;
use crate::process::env::ChildEnv;
use crate::runtime::feed::Switches;
use crate::runtime::heartbeat;
use crate::runtime::ingress::{Ingress, Order, Parts, Report};
use crate::runtime::local_socket;
use crate::runtime::probes::Probes;
use crate::runtime::session_keeper::{self, SessionKeeper, install_switch, tokens_of};
use crate::runtime::signals::Signals;
use crate::runtime::supervisor::{About, Lines, Note, Supervisor, WorkEnd};
use crate::runtime::tasks::{Task, Tasks};
use crate::runtime::Start;
use crate::state::fs::OwnerDir;
use crate::state::journal::{Journal, JournalError, Opened};
use crate::state::session::{Session, SessionStore};
use crate::wire::heartbeat::WireStatus;

/// Bound of every small channel.
const MAILBOX: usize = 64;

/// The parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address of the control plane is unusable.
    #[error(transparent)]
    Backend(#[from] HttpError),
    /// The local socket cannot be opened.
    #[error("cannot open the local socket {path}: {why}")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        #[source]
        why: std::io::Error,
    },
}

/// What a gateway is built from.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Settings, paths and environment.
    pub start: &'a Start,
    /// The state directory.
    pub dir: &'a OwnerDir,
    /// Who we are.
    pub session: Session,
    /// Where the control plane is.
    pub backend: Backend,
    /// Label of this host.
    pub device_name: String,
    /// When the process began.
    pub began: Instant,
}

/// Everything that can fail has happened; nothing runs yet but the journal.
#[derive(Debug)]
pub struct Gateway {
    tasks: Tasks,
    journal: Journal,
    listener: UnixListener,
    client: Client,
    jobs: Jobs,
    identity: Identity,
    about: About,
    store: SessionStore,
    probes: Probes,
    context: Context,
}

impl Gateway {
    /// Opens socket and journal and prepares every part.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(plan: Plan<'_>) -> Result<Self, BuildError> {
        let start = plan.start;
        let socket = start.paths.socket();
        let listener = local_socket::bind(&socket).map_err(|why| BuildError::Socket {
            path: socket.display().to_string(),
            why,
        })?;
        let mut tasks = Tasks::default();
        let journal = open_journal(plan.dir, &mut tasks).await?;
        let store = SessionStore::new(&start.paths);
        let http = Http::new(Endpoint::new(&plan.backend.url, plan.backend.anon_key.clone())?)?;
        let keeper = Arc::new(SessionKeeper::new(store.clone(), &plan.session));
        let client = Client::new(http.clone(), Auth::session(http, keeper, tokens_of(&plan.session)));
        let identity = Identity {
            gateway_id: plan.session.gateway_id.clone(),
            team_id: plan.session.team_id.clone(),
        };
        let jobs = Jobs::new(client.rest(), identity.team_id.clone(), identity.gateway_id.clone());
        let child_env = child_env(start);
        let probes = Probes::new(&start.env, &start.settings.providers, child_env.clone(), plan.dir.clone())
            .with_known_health(&plan.session.provider_health);
        let context = Context {
            backend: jobs.clone(),
            identity: identity.clone(),
            install_full_control: install_switch(store.clone(), start.paths.config_file.clone()),
            child_env,
            providers: probes.providers(),
        };
        let about = About {
            backend_url: plan.backend.url,
            gateway_id: identity.gateway_id.to_string(),
            team_id: identity.team_id.to_string(),
            device_name: plan.device_name,
            began: plan.began,
        };
        Ok(Self {
            tasks,
            journal,
            listener,
            client,
            jobs,
            identity,
            about,
            store,
            probes,
            context,
        })
    }

    /// Works until somebody wants it to end, then takes everything down in order.
    pub async fn run(mut self, start: &Start, signals: &mut Signals) -> WorkEnd {
        let (reports, mail) = mpsc::channel(report::MAILBOX);
        let (unreported, unreported_seen) = watch::channel(0);
        let reporter = Reporter::new(self.jobs.clone(), self.journal.clone(), unreported);
        self.tasks.spawn(Task::Reporter, reporter.run(mail));
        if let Err(error) = recovery::from_journal(&self.journal, &reports).await {
            return WorkEnd::Fault(error.to_string());
        }
        let worker = Worker::new(self.context.clone(), self.journal.clone(), reports.clone());
        let (notes, notes_seen) = mpsc::channel(MAILBOX);
        let (asked, asked_seen) = mpsc::channel(MAILBOX);
        let (orders, orders_seen) = mpsc::channel(MAILBOX);
        let (report, report_seen) = watch::channel(Report::default());
        let status = watch::Sender::new(WireStatus::Pending);
        let lines = Lines {
            notes: notes_seen,
            ingress: report_seen,
            unreported: unreported_seen,
            asked: asked_seen,
            orders,
            reports,
            status: status.clone(),
            hurry: Arc::new(Notify::new()),
            first_beat: CancellationToken::new(),
            install: self.context.install_full_control.clone(),
        };
        let beats = self.heartbeat(&lines, notes.clone());
        self.tasks.spawn(Task::Heartbeat, beats.run(Arc::clone(&lines.hurry)));
        let (parts, first_beat) = (self.parts(&worker, start), lines.first_beat.clone());
        self.tasks.spawn(Task::Ingress, async move {
            // A heartbeat that takes long must not keep jobs waiting.
            drop(tokio::time::timeout(FIRST_BEAT_PATIENCE, first_beat.cancelled()).await);
            Ingress::new(parts, report).run(orders_seen).await;
        });
        let mut tasks = self.spawn_followers(notes, asked, worker, lines.first_beat.clone());
        let grace = start.settings.shutdown_grace;
        let about = self.about.take();
        let supervisor = Supervisor::new(about, lines, grace);
        let end = supervisor.run(&mut tasks, signals).await;
        take_down(tasks, &status).await;
        end
    }
