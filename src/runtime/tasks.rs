//! Every task of the daemon has a name and says what its failure and its end mean. The only place that spawns.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinSet};
use tracing::{error, warn};

/// How long the tasks that are awaited may take to end.
const STOP_BOUND: Duration = Duration::from_secs(5);

/// The daemon's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Brings jobs in and runs them.
    Ingress,
    /// Sends results.
    Reporter,
    /// Writes the journal.
    Journal,
    /// Tells the control plane that we live; says goodbye.
    Heartbeat,
    /// Examines the agent CLIs.
    Probes,
    /// Answers the command line.
    LocalSocket,
    /// Follows whether the session is good.
    Session,
    /// Follows whether the state directory is still ours.
    Place,
    /// Tells the control plane what is wrong with this host.
    Events,
    /// Ends what an earlier run left on the control plane.
    Orphans,
    /// Removes directories that nobody comes back to.
    Sweeper,
    /// Closes shells when the host takes its word back.
    Shells,
}

/// What a failure of a task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The rest must not go on without it.
    StopGateway,
    /// Worth a line in the log.
    Log,
}

/// What happens to a task at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// It ends by itself and is waited for.
    Await,
    /// It can be dropped anywhere.
    Abort,
}

impl Task {
    /// What its failure and its end mean.
    #[must_use]
    pub const fn policy(self) -> (OnError, OnStop) {
        match self {
            Self::Ingress | Self::Journal | Self::Heartbeat => (OnError::StopGateway, OnStop::Await),
            // What is not confirmed by then stays in the journal.
            Self::Reporter | Self::Session | Self::LocalSocket => (OnError::StopGateway, OnStop::Abort),
            Self::Probes | Self::Events | Self::Orphans | Self::Place | Self::Sweeper | Self::Shells => {
                (OnError::Log, OnStop::Abort)
            }
        }
    }
}

/// The running tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    named: HashMap<Id, (Task, AbortHandle)>,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&mut self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(work);
        self.named.insert(handle.id(), (task, handle));
    }

    /// The next task that ended although the rest needs it.
    pub async fn fault(&mut self) -> Task {
        loop {
            let Some((task, panicked)) = self.next().await else {
                return std::future::pending().await;
            };
            match task.policy().0 {
                OnError::StopGateway => {
                    error!(?task, panicked, "A task of the gateway ended; stopping");
                    return task;
                }
                OnError::Log if panicked => warn!(?task, "A task of the gateway failed"),
                OnError::Log => {}
            }
        }
    }

    /// Ends one task: waits for it if it ends by itself, drops it otherwise.
    pub async fn stop(&mut self, task: Task) {
        if task.policy().1 == OnStop::Await && tokio::time::timeout(STOP_BOUND, self.ended(task)).await.is_err() {
            warn!(?task, "A task did not end in time");
        }
        for (_, handle) in self.named.values().filter(|(running, _)| *running == task) {
            handle.abort();
        }
    }

    async fn ended(&mut self, task: Task) {
        while self.named.values().any(|(running, _)| *running == task) {
            if self.next().await.is_none() {
                break;
            }
        }
    }

    async fn next(&mut self) -> Option<(Task, bool)> {
        let ended = self.set.join_next_with_id().await?;
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let task = self.named.remove(&id).map(|(task, _)| task);
        Some((task.unwrap_or(Task::Probes), panicked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_needed_task_is_a_fault() {
        let mut tasks = Tasks::default();
        tasks.spawn(Task::Probes, async {});
        tasks.spawn(Task::LocalSocket, std::future::pending());
        tasks.spawn(Task::Reporter, async {});
        assert_eq!(tasks.fault().await, Task::Reporter);
        tasks.stop(Task::LocalSocket).await;
    }
}
