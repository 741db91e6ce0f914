//! The table of sessions: at most so many run, and what is over is kept for a while.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;
use uuid::Uuid;

use super::events::Events;
use super::input::Keyboard;
use super::ledger::Ledger;
use super::request::Opening;
use super::session::{About, Session, Status, Why};
use crate::domain::clock;
use crate::domain::needles::Needles;
use crate::job::handler::{Identity, JobLife};
use crate::process::env::ChildEnv;
use crate::process::interactive::{Link, spawn_interactive};
use crate::process::spawn::NotSpawned;
use crate::process::spec::Spec;
use crate::state::fs::OwnerDir;

/// Sessions that run at the same time.
pub(super) const MAX_RUNNING: usize = 64;
/// Sessions that are over and still can be read; the oldest goes first.
const MAX_OVER: usize = 64;
/// How long a session that is over can still be read.
const KEPT: Duration = Duration::from_mins(15);
const ID_ATTEMPTS: usize = 8;

/// A session was not opened. `Display` is the text of the job.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("Too many active shell sessions (max {MAX_RUNNING})")]
    TooMany,
    #[error("Shell session ID already exists")]
    Taken,
    #[error("Failed to allocate unique shell session ID")]
    NoId,
    #[error("Failed to open shell session: {0}")]
    Spawn(#[from] NotSpawned),
}

/// For whom, and in which environment, a session is opened.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) identity: &'a Identity,
    pub(super) resource_id: String,
    pub(super) env: &'a ChildEnv,
    /// Writes down which process it is.
    pub(super) life: &'a JobLife,
    /// What its output may not hold.
    pub(super) secrets: &'a Needles,
    /// The job's id: every descendant carries it.
    pub(super) mark: &'a str,
}

/// Shells that outlive the jobs that opened them. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    table: Mutex<HashMap<String, Arc<Session>>>,
    /// Held while one is opened, so that neither the limit nor an id is passed by two.
    opening: tokio::sync::Mutex<()>,
    tending: TaskTracker,
    ledger: Ledger,
}

impl Sessions {
    /// An empty table that notes in `dir` which sessions run, so that they end even when the daemon was killed.
    #[must_use]
    pub fn noted_in(dir: Arc<OwnerDir>) -> Self {
        Self(Arc::new(Inner {
            ledger: Ledger::in_dir(dir),
            ..Inner::default()
        }))
    }

    /// Ends what the sessions of an earlier run left behind. Before the first one is opened.
    pub async fn end_leftovers(&self) {
        self.0.ledger.end_leftovers().await;
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        running(&self.table())
    }

    /// Closes every session that runs and waits until their processes are gone.
    pub async fn close_all(&self, reason: &str) {
        let running = self.at_work();
        if !running.is_empty() {
            info!(sessions = running.len(), reason, "Closing shell sessions");
        }
        join_all(
            running
                .iter()
                .map(|session| session.close(Why::Reason(reason.to_owned()))),
        )
        .await;
    }

    /// Those that run.
    pub(super) fn at_work(&self) -> Vec<Arc<Session>> {
        let table = self.table();
        let running = table.values().filter(|session| session.status() == Status::Running);
        running.map(Arc::clone).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.table().get(id).map(Arc::clone)
    }

    /// Forgets what is over for long enough.
    pub(super) fn purge(&self) {
        let mut table = self.table();
        table.retain(|_, session| session.over_for().is_none_or(|over| over < KEPT));
        let mut over: Vec<_> = table
            .iter()
            .filter_map(|(id, session)| session.over_for().map(|over| (over, id.clone())))
            .collect();
        over.sort_unstable();
        let excess = over.len().saturating_sub(MAX_OVER);
        for (_, id) in over.iter().rev().take(excess) {
            table.remove(id);
        }
    }

    /// Starts a shell.
    pub(super) async fn open(&self, opening: &Opening, owner: Owner<'_>) -> Result<Arc<Session>, OpenError> {
        let _one_at_a_time = self.0.opening.lock().await;
        let id = self.admit(opening)?;
        let spec = spec(opening, owner.env, owner.mark);
        let (process, streams) = spawn_interactive(&spec, opening.link, &mut &*owner.life).await?;
        let gone = CancellationToken::new();
        let about = About {
            id: id.clone(),
            resource_id: owner.resource_id,
            owner: owner.identity.clone(),
            shell: spec.program.to_string_lossy().into_owned(),
            shell_args: opening.shell_args.clone(),
            cwd: spec.cwd.to_string_lossy().into_owned(),
            mark: owner.mark.to_owned(),
            held_by: process.held_by(),
            idle: opening.idle,
            created_at: clock::now(),
        };
        let size = match opening.link {
            Link::Pipes => None,
            Link::Terminal(size) => Some(size),
        };
        let keyboard = Keyboard::new(streams.input, gone.clone());
        let session = Arc::new(Session::new(
            about,
            (keyboard, gone),
            size,
            Events::without(owner.secrets),
        ));
        self.table().insert(id, Arc::clone(&session));
        self.0.ledger.add(owner.mark);
        let (inner, tended) = (Arc::clone(&self.0), Arc::clone(&session));
        self.0.tending.spawn(async move {
            let mark = tended.about.mark.clone();
            tended.tend(process, (streams.stdout, streams.stderr)).await;
            inner.ledger.remove(&mark);
        });
        Ok(session)
    }

    /// The id of one more.
    fn admit(&self, opening: &Opening) -> Result<String, OpenError> {
        let table = self.table();
        if running(&table) >= MAX_RUNNING {
            return Err(OpenError::TooMany);
        }
        free_id(&table, opening.session_id.as_deref())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn running(table: &HashMap<String, Arc<Session>>) -> usize {
    let running = table.values().filter(|session| session.status() == Status::Running);
    running.count()
}

fn free_id(table: &HashMap<String, Arc<Session>>, chosen: Option<&str>) -> Result<String, OpenError> {
    match chosen {
        Some(id) if table.contains_key(id) => Err(OpenError::Taken),
        Some(id) => Ok(id.to_owned()),
        None => {
            let mut ids = std::iter::repeat_with(|| Uuid::new_v4().to_string()).take(ID_ATTEMPTS);
            ids.find(|id| !table.contains_key(id)).ok_or(OpenError::NoId)
        }
    }
}

fn spec(opening: &Opening, base: &ChildEnv, mark: &str) -> Spec {
    let env = opening.environment(base, mark);
    let own = |name: &str| {
        let text = base.get(name)?.to_str()?.trim();
        (!text.is_empty()).then(|| PathBuf::from(text))
    };
    let usual = ["/bin/bash", "/bin/sh"]
        .into_iter()
        .find(|shell| Path::new(shell).exists());
    let shell = opening.shell.as_ref().map(PathBuf::from).or_else(|| own("SHELL"));
    let shell = shell.unwrap_or_else(|| PathBuf::from(usual.unwrap_or("/bin/bash")));
    let home = own("HOME").filter(|home| home.is_dir());
    let mut spec = Spec::new(shell, env).args(&opening.shell_args);
    spec.cwd = opening.cwd.clone().or(home).unwrap_or_else(|| PathBuf::from("/"));
    spec
}
