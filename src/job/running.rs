//! Jobs that run now, with the line to each of them. Owned by the ingress; nobody else starts or ends jobs.

use std::collections::HashMap;

use crate::domain::ids::JobId;
use crate::job::handler::{JobLife, StopReason};
use crate::process::identity::{self, ProcessIdentity};

/// The running jobs.
#[derive(Debug, Default)]
pub struct Running {
    lives: HashMap<JobId, JobLife>,
}

impl Running {
    /// A job begins; `None` when it runs already.
    pub fn begin(&mut self, id: &JobId) -> Option<JobLife> {
        if self.lives.contains_key(id) {
            return None;
        }
        let life = JobLife::default();
        self.lives.insert(id.clone(), life.clone());
        Some(life)
    }

    /// A job ended.
    pub fn done(&mut self, id: &JobId) {
        self.lives.remove(id);
    }

    /// Asks one job to end; false when it does not run here.
    pub fn end(&self, id: &JobId, why: StopReason) -> bool {
        let life = self.lives.get(id);
        if let Some(life) = life {
            life.end(why);
        }
        life.is_some()
    }

    /// Asks every job to end.
    pub fn end_all(&self, why: &StopReason) {
        for life in self.lives.values() {
            life.end(why.clone());
        }
    }

    /// Kills every job's processes, whatever its handler is doing.
    pub fn kill_all(&self) {
        for process in self.lives.values().filter_map(Self::process) {
            let end = identity::kill_group_if_same(process);
            tracing::warn!(pid = process.pid, ?end, "Killed what a job had not ended in time");
        }
    }

    /// Whether the job runs here.
    #[must_use]
    pub fn holds(&self, id: &JobId) -> bool {
        self.lives.contains_key(id)
    }

    /// Ids of all running jobs.
    #[must_use]
    pub fn ids(&self) -> Vec<JobId> {
        self.lives.keys().cloned().collect()
    }

    /// How many run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lives.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    fn process(life: &JobLife) -> Option<ProcessIdentity> {
        *life.process().borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_begins_once_and_the_first_reason_stays() {
        let id = JobId::new("j").unwrap();
        let mut running = Running::default();
        let life = running.begin(&id).unwrap();
        assert!(running.begin(&id).is_none());
        assert!(running.end(&id, StopReason::Cancelled));
        running.end_all(&StopReason::Shutdown("bye".to_owned()));
        assert!(life.stop.is_cancelled());
        assert_eq!(life.stop_reason(), Some(&StopReason::Cancelled));
        running.done(&id);
        assert!(running.is_empty() && !running.end(&id, StopReason::Cancelled));
    }
}
