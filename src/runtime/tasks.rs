//! Every task of the daemon has a name and says what its end means. The only place that spawns.
//!
//! A panic always stops the daemon: what would go on without the task would only look like one.

use std::collections::HashMap;
use std::fmt;
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

/// What it means that a task has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// The rest must not go on without it.
    StopGateway,
    /// It has done, or told, what it had to.
    Fine,
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
    /// What its own end means, and what happens to it at the end of all.
    #[must_use]
    pub const fn policy(self) -> (OnEnd, OnStop) {
        match self {
            Self::Ingress | Self::Journal | Self::Heartbeat => (OnEnd::StopGateway, OnStop::Await),
            // What is not confirmed by then stays in the journal.
            Self::Reporter | Self::Session | Self::LocalSocket => (OnEnd::StopGateway, OnStop::Abort),
            Self::Probes | Self::Events | Self::Orphans | Self::Place | Self::Sweeper | Self::Shells => {
                (OnEnd::Fine, OnStop::Abort)
            }
        }
    }
}

/// A task that ended and should not have. `Display` is the reason for which the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub task: Task,
    /// Whether it panicked.
    pub panicked: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked {
            "panicked"
        } else {
            "ended unexpectedly"
        };
        write!(f, "the task {:?} {how}", self.task)
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

    /// The next task that panicked, or ended although the rest needs it.
    pub async fn fault(&mut self) -> Fault {
        loop {
            let Some(fault) = self.next().await else {
                return std::future::pending().await;
            };
            if fault.panicked || fault.task.policy().0 == OnEnd::StopGateway {
                error!(%fault, "A task of the gateway ended; stopping");
                return fault;
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

    async fn next(&mut self) -> Option<Fault> {
        let ended = self.set.join_next_with_id().await?;
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let task = self.named.remove(&id).map(|(task, _)| task);
        Some(Fault {
            task: task.unwrap_or(Task::Probes),
            panicked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_needed_task_is_a_fault_and_any_panic() {
        let mut tasks = Tasks::default();
        tasks.spawn(Task::Orphans, async {});
        tasks.spawn(Task::LocalSocket, std::future::pending());
        tasks.spawn(Task::Reporter, async {});
        let said = tasks.fault().await.to_string();
        assert_eq!(said, "the task Reporter ended unexpectedly");
        tasks.spawn(Task::Sweeper, async { panic!("by the test") });
        assert_eq!(tasks.fault().await.to_string(), "the task Sweeper panicked");
        tasks.stop(Task::LocalSocket).await;
    }
}
