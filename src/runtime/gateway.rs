//! From settings and a session to running tasks, and back to nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backend::events::Event;
use crate::backend::realtime::{Binding, Realtime};
use crate::backend::{Auth, Client, Endpoint, Events, Http, HttpError, Jobs, Runs};
use crate::config::backend::Backend;
use crate::config::settings::Settings;
use crate::domain::needles::Needles;
use crate::domain::outgoing::Outgoing;
use crate::job::agent::{Agents, clear_temp};
use crate::job::audit::Audit;
use crate::job::handler::active::ActiveRuns;
use crate::job::handler::shell_session::{self, Sessions};
use crate::job::handler::{Context, Identity, SUBAGENTS_PLACE, model_run};
use crate::job::recovery;
use crate::job::report::{self, Outbox, Reporter};
use crate::job::validation::Validator;
use crate::job::worker::Worker;
use crate::process::descriptors::jobs_at_once;
use crate::process::env::ChildEnv;
use crate::provider::driver::Known;
use crate::provider::health_memory::HealthMemory;
use crate::provider::home::Homes;
use crate::runtime::Start;
use crate::runtime::events::{self, Teller};
use crate::runtime::feed::Switches;
use crate::runtime::heartbeat;
use crate::runtime::ingress::{Ingress, Order, Parts, Report};
use crate::runtime::local_socket::{self, Asked};
use crate::runtime::probes::Probes;
use crate::runtime::session_keeper::{self, SessionKeeper, install_switch, tokens_of};
use crate::runtime::signals::Signals;
use crate::runtime::supervisor::{About, Lines, Note, Supervisor, WorkEnd};
use crate::runtime::sweeper::Sweeper;
use crate::runtime::tasks::{Task, Tasks};
use crate::state::fs::{FsError, OwnerDir};
use crate::state::journal::{Journal, JournalError, Opened};
use crate::state::lock::StateLock;
use crate::state::log_file::{AUDIT, Limits, RotatingLog};
use crate::state::operator;
use crate::state::own_directories::OwnDirectories;
use crate::state::session::{Session, SessionStore};
use crate::state::workspaces::Workspaces;
use crate::wire::heartbeat::WireStatus;

/// How long the ingress waits for the answer to the first heartbeat.
const FIRST_BEAT_PATIENCE: Duration = Duration::from_secs(1);
/// The end of an impatient stop.
const ABANDON_BOUND: Duration = Duration::from_secs(1);
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
    /// The directory for work cannot be used.
    #[error(transparent)]
    Directory(#[from] FsError),
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
    pub dir: &'a Arc<OwnerDir>,
    /// What keeps other daemons out of it.
    pub lock: &'a Arc<StateLock>,
    /// Learns the secrets that may not leave the host.
    pub secrets: &'a Needles,
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
    lock: Arc<StateLock>,
    listener: UnixListener,
    probes: Probes,
    store: SessionStore,
    journal: Journal,
    client: Client,
    context: Context,
    about: About,
    moved: Option<Event>,
}

impl Gateway {
    /// Opens socket and journal and prepares every part.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(plan: Plan<'_>) -> Result<Self, BuildError> {
        let listener = listen(plan.start)?;
        let mut tasks = Tasks::default();
        let journal = open_journal(plan.dir, &mut tasks).await?;
        let store = SessionStore::new(&plan.start.paths);
        let client = client(&plan, &store)?;
        let (context, probes) = equip(&plan, &store, &client)?;
        let about = About {
            backend_url: plan.backend.url,
            gateway_id: plan.session.gateway_id.to_string(),
            team_id: plan.session.team_id.to_string(),
            device_name: plan.device_name,
            began: plan.began,
        };
        Ok(Self {
            tasks,
            lock: Arc::clone(plan.lock),
            listener,
            probes,
            store,
            journal,
            client,
            context,
            about,
            moved: events::fallback(plan.dir),
        })
    }

    /// Works until somebody wants it to end, then takes everything down in order.
    pub async fn run(mut self, settings: &Settings, signals: &mut Signals) -> WorkEnd {
        let jobs = self.context.backend.clone();
        let (reports, mail) = mpsc::channel(report::MAILBOX);
        let (outbox, outbox_seen) = watch::channel(Outbox::default());
        let reporter = Reporter::new(jobs, self.context.runs.clone(), self.journal.clone(), outbox);
        self.tasks.spawn(Task::Reporter, reporter.run(mail));
        if let Err(error) = recovery::from_journal(&self.journal, &self.context, &reports).await {
            return WorkEnd::Fault(error.to_string());
        }
        let sessions = self.context.sessions.clone();
        sessions.end_leftovers().await;
        let (notes, notes_seen) = mpsc::channel(MAILBOX);
        let (asked, asked_seen) = mpsc::channel(MAILBOX);
        let (orders, orders_seen) = mpsc::channel(MAILBOX);
        let (report, report_seen) = watch::channel(Report::default());
        let lines = Lines {
            notes: notes_seen,
            ingress: report_seen,
            outbox: outbox_seen,
            asked: asked_seen,
            orders,
            reports,
            status: watch::Sender::new(WireStatus::Pending),
            hurry: Arc::new(Notify::new()),
            first_beat: CancellationToken::new(),
            install: self.context.install_full_control.clone(),
        };
        let interval = settings.heartbeat_every.unwrap_or(heartbeat::INTERVAL);
        self.spawn_heartbeat(&lines, interval, notes.clone());
        self.spawn_events(&lines);
        let worker = self.spawn_ingress(&lines, settings, report, orders_seen);
        let status = lines.status.clone();
        let supervisor = Supervisor::new(self.about.clone(), lines, settings.shutdown_grace);
        let mut tasks = self.spawn_followers(notes, asked, worker);
        let (end, shutdown) = supervisor.run(&mut tasks, signals).await;
        // No job is left that could open another.
        let farewell = async {
            sessions
                .close_all(&format!("gateway_shutdown_{}", shutdown.cause()))
                .await;
            take_down(tasks, &status).await;
        };
        if shutdown.abandoned() {
            // A third signal: what is not done within a second is left to the next start.
            drop(tokio::time::timeout(ABANDON_BOUND, farewell).await);
        } else {
            farewell.await;
        }
        end
    }

    fn spawn_heartbeat(&mut self, lines: &Lines, interval: Duration, notes: mpsc::Sender<Note>) {
        let sender = heartbeat::Sender {
            client: self.client.clone(),
            device_name: self.about.device_name.clone(),
            install: self.context.install_full_control.clone(),
            picture: self.context.providers.watch(),
            outgoing: self.context.outgoing.clone(),
            status: lines.status.subscribe(),
            interval,
            notes,
        };
        self.tasks.spawn(Task::Heartbeat, sender.run(Arc::clone(&lines.hurry)));
    }

    fn spawn_events(&mut self, lines: &Lines) {
        let us = self.context.identity.clone();
        let teller = Teller {
            events: Events::new(self.client.rest(), us.team_id, us.gateway_id),
            picture: self.context.providers.watch(),
            status: lines.status.subscribe(),
            first: self.moved.take(),
            outgoing: self.context.outgoing.clone(),
        };
        self.tasks.spawn(Task::Events, teller.run());
    }

    fn spawn_ingress(
        &mut self,
        lines: &Lines,
        settings: &Settings,
        report: watch::Sender<Report>,
        orders: mpsc::Receiver<Order>,
    ) -> Worker {
        let worker = Worker::new(self.context.clone(), self.journal.clone(), lines.reports.clone());
        let switches = Switches {
            polling: settings.polling,
            realtime: settings.realtime,
        };
        if !switches.realtime {
            info!("Gateway job realtime channel disabled; using poll-only ingress");
        }
        let parts = Parts {
            jobs: self.context.backend.clone(),
            worker: worker.clone(),
            realtime: switches.realtime.then(|| self.realtime()),
            us: self.context.identity.clone(),
            switches,
            slots: slots(settings.concurrency),
        };
        let first_beat = lines.first_beat.clone();
        self.tasks.spawn(Task::Ingress, async move {
            // The control plane hears that we live before we ask for jobs; but a slow answer keeps no job waiting.
            drop(tokio::time::timeout(FIRST_BEAT_PATIENCE, first_beat.cancelled()).await);
            Box::pin(Ingress::new(parts, report).run(orders)).await;
        });
        worker
    }

    /// New rows of this gateway, and cancelled rows of the team as far as we may see them.
    fn realtime(&self) -> Realtime {
        let gateway = &self.context.identity.gateway_id;
        let binding = |event: &str, filter: String| Binding {
            event: event.to_owned(),
            table: "gateway_jobs".to_owned(),
            filter: Some(filter),
        };
        let bindings = vec![
            binding("INSERT", format!("gateway_id=eq.{gateway}")),
            binding("UPDATE", "status=eq.cancelled".to_owned()),
        ];
        Realtime::new(self.client.clone(), &format!("gateway_jobs_{gateway}"), bindings)
    }

    fn spawn_followers(self, notes: mpsc::Sender<Note>, asked: mpsc::Sender<Asked>, worker: Worker) -> Tasks {
        let mut tasks = self.tasks;
        let auth = self.client.auth().clone();
        tasks.spawn(Task::Place, session_keeper::watch_place(self.lock, notes.clone()));
        tasks.spawn(
            Task::Session,
            session_keeper::follow(auth, self.store, self.about.gateway_id, notes),
        );
        tasks.spawn(Task::LocalSocket, local_socket::serve(self.listener, asked));
        tasks.spawn(Task::Probes, self.probes.run());
        let sweeper = Sweeper {
            runs: self.context.runs,
            gateway: self.context.identity.gateway_id.clone(),
            active: self.context.active,
            directories: self.context.directories,
        };
        tasks.spawn(Task::Sweeper, sweeper.run());
        let shells = shell_session::Watch {
            sessions: self.context.sessions,
            host: self.context.install_full_control,
            backend: self.context.backend.clone(),
            identity: self.context.identity,
        };
        tasks.spawn(Task::Shells, shells.run());
        let (jobs, journal) = (self.context.backend, self.journal);
        tasks.spawn(Task::Orphans, async move {
            recovery::orphans(&jobs, &journal, &worker).await;
        });
        tasks
    }
}

/// Says goodbye, leaves the channel, and lets reporter and journal finish, in this order.
async fn take_down(mut tasks: Tasks, status: &watch::Sender<WireStatus>) {
    for task in [
        Task::Probes,
        Task::Events,
        Task::Orphans,
        Task::Sweeper,
        Task::Shells,
        Task::Place,
        Task::Session,
        Task::LocalSocket,
    ] {
        tasks.stop(task).await;
    }
    status.send_replace(WireStatus::Offline);
    for task in [Task::Heartbeat, Task::Ingress, Task::Reporter, Task::Journal] {
        tasks.stop(task).await;
    }
}

fn listen(start: &Start) -> Result<UnixListener, BuildError> {
    let socket = start.paths.socket();
    local_socket::bind(&socket).map_err(|why| BuildError::Socket {
        path: socket.display().to_string(),
        why,
    })
}

fn client(plan: &Plan<'_>, store: &SessionStore) -> Result<Client, HttpError> {
    let http = Http::new(Endpoint::new(&plan.backend.url, plan.backend.anon_key.clone())?)?;
    let keeper = Arc::new(SessionKeeper::new(store.clone(), &plan.session, plan.secrets.clone()));
    let auth = Auth::session(http.clone(), keeper, tokens_of(&plan.session));
    Ok(Client::new(http, auth))
}

/// What jobs are served with, and what keeps looking at the agent CLIs for them.
fn equip(plan: &Plan<'_>, store: &SessionStore, client: &Client) -> Result<(Context, Probes), FsError> {
    let (start, dir) = (plan.start, plan.dir);
    let (gateway, team) = (&plan.session.gateway_id, &plan.session.team_id);
    // Jobs can read its file; a damaged one holds nothing worth hiding.
    if let Ok(Some(operator)) = operator::load(dir) {
        plan.secrets.hold(&operator.token);
    }
    let outgoing = Outgoing::new(plan.secrets.clone());
    let book = RotatingLog::with_limits(OwnerDir::open_or_create(dir.path())?, AUDIT, Limits::default())?;
    let child_env = child_env(start);
    let (agents, homes) = (agents(dir, &start.paths.tmp())?, Homes::new(dir));
    let validator = Validator::new(agents.clone(), homes.clone(), child_env.clone());
    let probes = Probes::new(&start.env, &start.settings, child_env.clone(), Arc::clone(dir))
        .with_validator(start.settings.validation.then_some(validator))
        .with_memory(HealthMemory::new(store.clone(), gateway.clone()))
        .with_secrets(plan.secrets.clone());
    let context = Context {
        backend: Jobs::new(client.rest(), team.clone(), gateway.clone()),
        identity: Identity {
            gateway_id: gateway.clone(),
            team_id: team.clone(),
        },
        install_full_control: install_switch(store.clone(), start.paths.config_file.clone()),
        child_env,
        providers: probes.providers(),
        agents,
        runs: Runs::new(client, team.clone(), gateway.clone()),
        active: ActiveRuns::default(),
        workspaces: Workspaces::new(dir),
        directories: OwnDirectories::new(dir),
        homes,
        sessions: Sessions::noted_in(Arc::clone(dir)),
        outgoing: outgoing.clone(),
        audit: Audit::new(book, outgoing),
    };
    Ok((context, probes))
}

async fn open_journal(dir: &OwnerDir, tasks: &mut Tasks) -> Result<Journal, JournalError> {
    let Opened {
        journal,
        writer,
        set_aside,
    } = Journal::open(dir).await?;
    if let Some(path) = set_aside {
        warn!(path = %path.display(), "The journal was damaged beyond use; it was moved aside and a new one begun");
    }
    tasks.spawn(Task::Journal, writer.run());
    Ok(journal)
}

/// Jobs at once, as far as there are descriptors for them.
fn slots(asked: usize) -> usize {
    let slots = jobs_at_once(asked);
    if slots < asked {
        warn!(
            slots,
            asked, "Too few open files are allowed for that many jobs at once"
        );
    }
    slots
}

/// What runs agents, with nothing left of the runs of an earlier life.
fn agents(dir: &Arc<OwnerDir>, temp: &Path) -> Result<Agents, FsError> {
    let agents = Agents::new(dir, Arc::new(Known))?;
    agents.clear(model_run::PLACE);
    agents.clear(SUBAGENTS_PLACE);
    clear_temp(temp);
    Ok(agents)
}

fn child_env(start: &Start) -> ChildEnv {
    let inherited = start
        .env
        .vars()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    ChildEnv::for_user(inherited, &start.from_env_file, &start.paths.tmp())
}
