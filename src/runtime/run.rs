//! A daemon's life around the gateway: lock, log, pid file, session, and the last word about its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::backend::{self, Backend, BackendFlags};
use crate::config::paths::Paths;
use crate::config::settings::{Settings, device_name_for_start};
use crate::config::sources::{Environment, hostname};
use crate::domain::needles::Needles;
use crate::process::env::withheld_secrets;
use crate::process::{containment, guardian};
use crate::runtime::gateway::{Gateway, Plan};
use crate::runtime::logging;
use crate::runtime::signals::Signals;
use crate::runtime::supervisor::WorkEnd;
use crate::state::fs::OwnerDir;
use crate::state::last_exit::{self, LastExit};
use crate::state::lock::{LockError, StateLock};
use crate::state::log_file::RotatingLog;
use crate::state::place;
use crate::state::session::{Session, SessionStore};

/// The lock a running daemon holds.
const LOCK: &str = "gateway.lock";

/// Everything a daemon is started with. Nothing is read from the process's environment later.
#[derive(Debug, Clone)]
pub struct Start {
    /// Numbers and switches.
    pub settings: Settings,
    /// Where everything lies.
    pub paths: Paths,
    /// Flags that name another address of the paired backend.
    pub backend: BackendFlags,
    /// `--device-name`.
    pub device_name: Option<String>,
    /// The environment: settings of the paired backend, and what children inherit.
    pub env: Environment,
    /// Names an env file brought in; children do not get them.
    pub from_env_file: BTreeSet<String>,
    /// Whether our own debug events are logged.
    pub verbose: bool,
}

/// How a daemon ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// It was asked to stop.
    Stopped {
        /// Jobs had to be cancelled for it.
        cancelled: bool,
    },
    /// Another daemon runs on this state.
    AlreadyRunning {
        /// Its process id, if it is known.
        pid: Option<u32>,
    },
    /// There is no session.
    NotPaired,
    /// The control plane refused the session.
    SessionRefused {
        /// Its code.
        code: String,
    },
    /// Something else is wrong.
    Failed {
        /// What.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl RunEnd {
    fn failed(reason: &impl ToString) -> Self {
        Self::Failed {
            reason: reason.to_string(),
            hint: None,
        }
    }

    /// Exit code, reason and hint for whoever asks later.
    fn last_words(&self) -> (u8, String, Option<String>) {
        let pair = || Some("gateway pair CODE".to_owned());
        match self {
            Self::Stopped { cancelled: false } => (0, "stopped".to_owned(), None),
            Self::Stopped { cancelled: true } => (0, "stopped; running jobs were cancelled".to_owned(), None),
            Self::AlreadyRunning { .. } => (1, "another gateway runs on this state directory".to_owned(), None),
            Self::NotPaired => (1, "this host is not paired".to_owned(), pair()),
            Self::SessionRefused { code } => (1, format!("the control plane refused the session ({code})"), pair()),
            Self::Failed { reason, hint } => (1, reason.clone(), hint.clone()),
        }
    }
}

/// Runs the daemon until it ends. Must be called on a current-thread tokio runtime.
pub async fn run(start: Start) -> RunEnd {
    let began = Instant::now();
    let place = match place::prepare(&start.paths) {
        Ok(place) => place,
        Err(error) => {
            return RunEnd::Failed {
                hint: error.mend(),
                reason: error.to_string(),
            };
        }
    };
    let start = Start {
        paths: place.paths,
        ..start
    };
    let lock = match StateLock::acquire(&place.dir, LOCK) {
        Ok(lock) => Arc::new(lock),
        Err(LockError::Held { pid, .. }) => return RunEnd::AlreadyRunning { pid },
        Err(error) => return RunEnd::failed(&error),
    };
    let _session = match place::lock_session(&start.paths) {
        Ok(lock) => lock,
        Err(LockError::Held { pid, .. }) => return RunEnd::AlreadyRunning { pid },
        Err(error) => return RunEnd::failed(&error),
    };
    let secrets = Needles::default();
    withheld_secrets(start.env.vars(), &start.from_env_file).for_each(|secret| secrets.hold(&secret));
    match RotatingLog::open(&start.paths) {
        Ok(log) => logging::init(log, start.verbose, secrets.clone()),
        Err(error) => return RunEnd::failed(&error),
    }
    if let Some(moved) = place.moved_from {
        let (previous, current) = (moved.dir.display(), start.paths.dir.display());
        warn!(%previous, %current, reason = %moved.reason, "Gateway config directory was not writable; using fallback location.");
    }
    for warning in &start.settings.warnings {
        warn!("{warning}");
    }
    if let Err(error) = place::write_pid_file(&start.paths) {
        warn!(%error, "Failed to write the pid file");
    }
    if let Err(error) = std::env::current_exe().and_then(|program| guardian::start(&program)) {
        warn!(%error, "No guardian: should this gateway be killed, its jobs go on until the next start");
    }
    info!("Jobs are held by {}", containment::current().line());
    let dir = Arc::new(place.dir);
    let end = live(&start, &dir, (&lock, &secrets), began).await;
    containment::tidy();
    // Whoever stands at these paths by now is somebody else.
    if lock.is_in_place() {
        tidy(&start, &dir, &end);
    }
    end
}

/// Works, and works on with the new session when this host is paired anew.
async fn live(
    start: &Start,
    dir: &Arc<OwnerDir>,
    (lock, secrets): (&Arc<StateLock>, &Needles),
    began: Instant,
) -> RunEnd {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return RunEnd::failed(&error),
    };
    loop {
        let session = match SessionStore::new(&start.paths).load() {
            Ok(Some(session)) => session,
            Ok(None) => return RunEnd::NotPaired,
            Err(error) => return RunEnd::failed(&error),
        };
        let backend = match backend_of(start, &session) {
            Ok(backend) => backend,
            Err(error) => return RunEnd::failed(&error),
        };
        let stored_name = session.device_name.as_deref();
        let device_name = device_name_for_start(start.device_name.as_deref(), stored_name, &start.env, &hostname());
        let plan = Plan {
            start,
            dir,
            lock,
            secrets,
            session,
            backend,
            device_name,
            began,
        };
        let gateway = match Gateway::build(plan).await {
            Ok(gateway) => gateway,
            Err(error) => return RunEnd::failed(&error),
        };
        match gateway.run(&start.settings, &mut signals).await {
            WorkEnd::Stopped { cancelled } => return RunEnd::Stopped { cancelled },
            WorkEnd::SessionRefused(code) => return RunEnd::SessionRefused { code },
            WorkEnd::Fault(reason) => return RunEnd::failed(&reason),
            WorkEnd::PairedAnew => info!("This host was paired anew; going on with the new session"),
        }
    }
}

fn backend_of(start: &Start, session: &Session) -> Result<Backend, backend::BackendError> {
    let stored = Backend {
        url: session.supabase_url.clone(),
        anon_key: session.anon_key.clone(),
    };
    backend::for_paired(&start.backend, &start.env, &stored)
}

/// Leaves the last word and takes socket and pid file away.
fn tidy(start: &Start, dir: &OwnerDir, end: &RunEnd) {
    let (code, reason, hint) = end.last_words();
    if code == 0 {
        info!(reason, "Gateway ended");
    } else {
        error!(reason, hint, "Gateway ended");
    }
    let last = LastExit {
        work_cancelled: matches!(end, RunEnd::Stopped { cancelled: true }),
        ..LastExit::of_this_process(code, reason, hint)
    };
    if let Err(error) = last_exit::save(dir, &last) {
        warn!(%error, "Failed to write down how the gateway ended");
    }
    if let Err(error) = dir.remove("gateway.sock") {
        warn!(%error, "Failed to remove the local socket");
    }
    if let Err(error) = place::remove_pid_file(&start.paths) {
        warn!(%error, "Failed to remove the pid file");
    }
}
