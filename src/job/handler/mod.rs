//! One room per job type, and the few things a handler may use.

pub mod active;
mod agents;
pub mod diagnostic;
mod gate;
pub mod model_run;
pub mod shell_exec;
pub mod shell_session;
mod subagent_cancel;
mod subagent_run;
mod time_limit;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::{Jobs, Runs};
use crate::domain::ids::{GatewayId, TeamId};
use crate::domain::job::{Job, JobKind, JobOutcome};
use crate::domain::outgoing::Outgoing;
use crate::job::agent::Agents;
use crate::job::audit::Audit;
use crate::job::entry::Entry;
use crate::job::handler::active::ActiveRuns;
use crate::job::handler::shell_session::Sessions;
use crate::process::containment::Held;
use crate::process::env::ChildEnv;
use crate::process::hold::{Begun, Registrar, Unregistered};
use crate::process::identity::ProcessIdentity;
use crate::provider::Providers;
use crate::provider::home::Homes;
use crate::state::own_directories::OwnDirectories;
use crate::state::workspaces::Workspaces;

pub use subagent_run::PLACE as SUBAGENTS_PLACE;

/// What a handler may use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// Rows of the control plane.
    pub backend: Jobs,
    /// Whose jobs these are.
    pub identity: Identity,
    /// The host's own layer of machine control.
    pub install_full_control: InstallSwitch,
    /// Environment of children.
    pub child_env: ChildEnv,
    /// Agent CLIs of this host.
    pub providers: Providers,
    /// Runs them.
    pub agents: Agents,
    /// Subagents and their runs on the control plane.
    pub runs: Runs,
    /// Runs of subagents that are at work here.
    pub active: ActiveRuns,
    /// Where agents work.
    pub workspaces: Workspaces,
    /// Whose directories those are that nobody chose.
    pub directories: OwnDirectories,
    /// Homes and settings of agent CLIs.
    pub homes: Homes,
    /// Shells that outlive the jobs that opened them.
    pub sessions: Sessions,
    /// Takes secrets out of what leaves the host.
    pub outgoing: Outgoing,
    /// Where the owner reads what was done here.
    pub audit: Audit,
}

/// Who this gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Our gateway.
    pub gateway_id: GatewayId,
    /// Our team.
    pub team_id: TeamId,
}

/// Reads the host's switch of machine control anew on every question.
#[derive(Clone)]
pub struct InstallSwitch(Arc<dyn Fn() -> bool + Send + Sync>);

impl InstallSwitch {
    /// A switch read by `read`.
    pub fn new(read: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Whether the host allows machine control now.
    #[must_use]
    pub fn enabled(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for InstallSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallSwitch")
    }
}

/// What the control plane said about machine control while the claim travelled.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlFacts {
    /// Our `team_gateways` row with control state and `vm_id`, or why it could not be read.
    pub gateway: Result<Option<Value>, String>,
    /// The resource the payload names; null when it names none.
    pub resource: Result<Option<Value>, String>,
}

/// Why a running job has to end early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Its row was cancelled, or ended by somebody else.
    Cancelled,
    /// The daemon stops; the text says why.
    Shutdown(String),
}

impl StopReason {
    /// The text that a cancelled job carries.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Cancelled => "Gateway job was cancelled".to_owned(),
            Self::Shutdown(why) => why.clone(),
        }
    }
}

/// A handler's line to its owner: when to stop, and what was started. Clones share one life.
#[derive(Debug, Clone)]
pub struct JobLife {
    /// Fires when the job has to end early.
    pub stop: CancellationToken,
    /// Fetched beside the claim, for job types that need machine control.
    pub control: Option<Arc<ControlFacts>>,
    /// What is written down of it while it runs.
    pub entry: Entry,
    why: Arc<OnceLock<StopReason>>,
    process: watch::Sender<Option<ProcessIdentity>>,
    notes: Arc<Mutex<Map<String, Value>>>,
}

impl Default for JobLife {
    fn default() -> Self {
        Self {
            stop: CancellationToken::new(),
            control: None,
            entry: Entry::default(),
            why: Arc::default(),
            process: watch::Sender::new(None),
            notes: Arc::default(),
        }
    }
}

impl JobLife {
    /// The same life, with what was fetched beside the claim.
    #[must_use]
    pub fn with_control(mut self, facts: ControlFacts) -> Self {
        self.control = Some(Arc::new(facts));
        self
    }

    /// The same life, written down there.
    #[must_use]
    pub fn with_entry(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// Says which process is about to do the work. Written down when this returns.
    ///
    /// # Errors
    /// [`Unregistered`]; it must not begin.
    pub async fn begins(&self, begun: Begun) -> Result<(), Unregistered> {
        self.process.send_replace(Some(begun.process));
        self.entry.started(begun).await
    }

    /// The process that does the work, as soon as there is one.
    #[must_use]
    pub fn process(&self) -> watch::Receiver<Option<ProcessIdentity>> {
        self.process.subscribe()
    }

    /// Adds members to what the row's `debug` column will say.
    pub fn note(&self, members: Map<String, Value>) {
        self.notes().extend(members);
    }

    /// Says in the row's `debug` column how well the processes of the job were held.
    pub fn held(&self, held: Held) {
        self.note(Map::from_iter([("containment".to_owned(), held.members().into())]));
    }

    /// What was noted.
    #[must_use]
    pub fn take_notes(&self) -> Map<String, Value> {
        std::mem::take(&mut *self.notes())
    }

    fn notes(&self) -> MutexGuard<'_, Map<String, Value>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the job to end. The first reason stays.
    pub fn end(&self, why: StopReason) {
        // An earlier reason is the one the job ends with.
        drop(self.why.set(why));
        self.stop.cancel();
    }

    /// Why the job has to end, once it has to.
    #[must_use]
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.why.get()
    }

    /// The outcome of a job that ended because it was asked to.
    pub fn cancelled(&self) -> JobOutcome {
        let text = self
            .stop_reason()
            .map_or_else(|| StopReason::Cancelled.text(), StopReason::text);
        JobOutcome::cancelled(text, [("cancelled", Value::Bool(true))])
    }
}

impl Registrar for &JobLife {
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        Box::pin(self.begins(begun))
    }
}

/// Runs a claimed job to its end.
pub async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    match &job.kind {
        JobKind::Diagnostic => diagnostic::run(job, cx, life).await,
        JobKind::ShellExec => shell_exec::run(job, cx, life).await,
        JobKind::ShellSession => shell_session::run(job, cx, life).await,
        JobKind::ModelRun => Box::pin(model_run::run(job, cx, life)).await,
        JobKind::SubagentRun => Box::pin(subagent_run::run(job, cx, life)).await,
        JobKind::SubagentCancel => subagent_cancel::run(job, cx, life).await,
        JobKind::Unsupported(_) => unsupported(job),
    }
}

/// Whether the job type asks for machine control, so that its facts are worth fetching beside the claim.
#[must_use]
pub const fn needs_control(kind: &JobKind) -> bool {
    match kind {
        JobKind::ShellExec | JobKind::ShellSession | JobKind::SubagentRun => true,
        JobKind::Diagnostic | JobKind::ModelRun | JobKind::SubagentCancel | JobKind::Unsupported(_) => false,
    }
}

/// A type nobody here knows.
pub fn unsupported(job: &Job) -> JobOutcome {
    let job_type = job.kind.as_str();
    let about = [("job_type", Value::from(job_type))];
    JobOutcome::failed(format!("Unsupported job type: {job_type}"), about).saying("Unsupported job type")
}

/// A handler that broke.
pub fn broken(kind: &JobKind, error: String) -> JobOutcome {
    let about = [("job_type", Value::from(kind.as_str()))];
    JobOutcome::failed(error, about).saying("Gateway job processing failed")
}
