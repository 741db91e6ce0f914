//! Directories of subagents that are gone for good: looked for at every start and once a day, removed a week later.
//! Cgroups of jobs that have nobody in them any more go on the same occasions.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::backend::{BackendError, Runs};
use crate::domain::backoff::Backoff;
use crate::domain::clock;
use crate::domain::ids::{GatewayId, SubagentId};
use crate::job::handler::active::ActiveRuns;
use crate::process::containment;
use crate::state::document::DocumentError;
use crate::state::own_directories::{Missing, OwnDirectories};

const EVERY: Duration = Duration::from_hours(24);
/// How long a subagent must have been missing: an operator's slip can be undone until then.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Subagents asked for in one request.
const PAGE: usize = 100;

/// Looks for them.
#[derive(Debug)]
pub struct Sweeper {
    /// Where it is asked which subagents there are.
    pub runs: Runs,
    /// Whose subagents.
    pub gateway: GatewayId,
    /// What is at work is not touched.
    pub active: ActiveRuns,
    /// The directories.
    pub directories: OwnDirectories,
}

/// A look that came to nothing; nothing was removed.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Notes(#[from] DocumentError),
    #[error("the directories cannot be listed: {0}")]
    Disk(#[from] std::io::Error),
}

impl Sweeper {
    /// Looks until dropped.
    pub async fn run(self) {
        loop {
            containment::tidy();
            let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(10));
            while let Err(error) = self.look(clock::now()).await {
                warn!(%error, "Failed to look for directories of subagents that are gone");
                tokio::time::sleep(backoff.ceiling_step()).await;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&self, now: Timestamp) -> Result<(), SweepError> {
        // Listed first: a subagent that comes meanwhile has no directory in this list.
        let asked = self.directories.ids()?;
        let mut there = BTreeSet::new();
        for page in asked.chunks(PAGE) {
            there.extend(self.runs.existing(page).await?);
        }
        self.directories.saw(&self.gateway, (&asked, &there), now)?;
        let missing = self.directories.missing()?;
        let over = missing
            .into_iter()
            .filter(|gone| now.duration_since(gone.since) >= KEPT);
        for gone in over.filter(|gone| !self.is_at_work(gone)) {
            self.remove(gone).await;
        }
        Ok(())
    }

    fn is_at_work(&self, gone: &Missing) -> bool {
        SubagentId::new(gone.subagent_id.as_str()).is_ok_and(|id| self.active.is_at_work(&id))
    }

    async fn remove(&self, gone: Missing) {
        let path = gone.path.display().to_string();
        let removed = tokio::task::spawn_blocking(move || OwnDirectories::remove(&gone)).await;
        match removed {
            Ok(Ok(())) => info!(path, "Removed the directory of a subagent that is gone"),
            Ok(Err(error)) => warn!(path, %error, "Failed to remove the directory of a subagent that is gone"),
            Err(error) => warn!(path, %error, "Failed to remove the directory of a subagent that is gone"),
        }
    }
}
