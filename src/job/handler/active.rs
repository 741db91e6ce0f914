//! Runs of subagents that are at work, and cancels that came before their run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{RunId, SubagentId};

/// How long a cancel waits for its run, and how many may wait.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
const MOST_REMEMBERED: usize = 1_024;

/// All runs of this daemon. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ActiveRuns(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    runs: HashMap<SubagentId, (RunId, RunStop)>,
    early: HashMap<RunId, (String, Instant)>,
}

/// A run's own line to whoever wants it to end.
#[derive(Debug, Clone)]
pub struct RunStop {
    /// Fires when the run has to end.
    pub token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl RunStop {
    /// Ends the run. The first reason stays.
    pub fn end(&self, reason: &str) {
        // An earlier reason is the one the run ends with.
        drop(self.reason.set(reason.to_owned()));
        self.token.cancel();
    }

    /// Why it has to end, once it has to.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

/// A run at work; it is forgotten when this is dropped.
#[must_use = "a run that nobody holds cannot be cancelled"]
#[derive(Debug)]
pub struct Working {
    runs: ActiveRuns,
    subagent: SubagentId,
    run: RunId,
    /// The line to it.
    pub stop: RunStop,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.runs.with(|book| {
            // Another run of the subagent is not forgotten with this one.
            if book.runs.get(&self.subagent).is_some_and(|(run, _)| *run == self.run) {
                book.runs.remove(&self.subagent);
            }
        });
    }
}

impl ActiveRuns {
    /// A run begins whose job ends it by `token`. A cancel that came before the run ends it at once.
    pub fn begin(&self, subagent: &SubagentId, run: &RunId, token: CancellationToken) -> Working {
        let stop = RunStop {
            token,
            reason: Arc::default(),
        };
        let early = self.with(|book| {
            book.runs.insert(subagent.clone(), (run.clone(), stop.clone()));
            book.early.remove(run)
        });
        if let Some((reason, _)) = early {
            stop.end(&reason);
        }
        Working {
            runs: self.clone(),
            subagent: subagent.clone(),
            run: run.clone(),
            stop,
        }
    }

    /// The reason of a cancel that came before its run; it is used up.
    #[must_use]
    pub fn take_early(&self, run: &RunId) -> Option<String> {
        self.with(|book| book.early.remove(run)).map(|(reason, _)| reason)
    }

    /// Ends a run, or remembers that it has to end when it comes. Tells whether it was at work.
    pub fn cancel(&self, subagent: &SubagentId, run: &RunId, reason: &str) -> bool {
        self.with(|book| {
            if let Some((active, stop)) = book.runs.get(subagent)
                && active == run
            {
                stop.end(reason);
                return true;
            }
            let now = Instant::now();
            book.early.retain(|_, (_, at)| now.duration_since(*at) < REMEMBERED_FOR);
            if book.early.len() < MOST_REMEMBERED {
                book.early.insert(run.clone(), (reason.to_owned(), now));
            }
            false
        })
    }

    /// Whether a run of the subagent is at work.
    #[must_use]
    pub fn is_at_work(&self, subagent: &SubagentId) -> bool {
        self.with(|book| book.runs.contains_key(subagent))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (SubagentId, RunId, RunId) {
        (
            SubagentId::new("s").unwrap(),
            RunId::new("r1").unwrap(),
            RunId::new("r2").unwrap(),
        )
    }

    #[test]
    fn a_cancel_reaches_its_run_only() {
        let (runs, (subagent, run, other)) = (ActiveRuns::default(), ids());
        let working = runs.begin(&subagent, &run, CancellationToken::new());
        assert!(!runs.cancel(&subagent, &other, "no"));
        assert!(!working.stop.token.is_cancelled());
        assert!(runs.cancel(&subagent, &run, "why") && runs.cancel(&subagent, &run, "later"));
        assert_eq!(working.stop.reason(), Some("why"));
        drop(working);
        assert!(!runs.cancel(&subagent, &run, "gone"));
    }

    #[test]
    fn the_end_of_one_run_leaves_the_next_within_reach() {
        let (runs, (subagent, first, second)) = (ActiveRuns::default(), ids());
        let ending = runs.begin(&subagent, &first, CancellationToken::new());
        let working = runs.begin(&subagent, &second, CancellationToken::new());
        drop(ending);
        assert!(runs.cancel(&subagent, &second, "why"));
        assert_eq!(working.stop.reason(), Some("why"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_cancel_waits_for_its_run_but_not_for_ever() {
        let (runs, (subagent, run, other)) = (ActiveRuns::default(), ids());
        assert!(!runs.cancel(&subagent, &run, "early"));
        assert_eq!(
            runs.begin(&subagent, &run, CancellationToken::new()).stop.reason(),
            Some("early")
        );
        assert!(!runs.cancel(&subagent, &run, "early"));
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(!runs.cancel(&subagent, &other, "another"));
        assert_eq!(runs.take_early(&run), None);
        assert_eq!(runs.take_early(&other).as_deref(), Some("another"));
    }
}
