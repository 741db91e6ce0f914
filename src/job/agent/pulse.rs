//! Whether a run still says something.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::domain::run::RunEvent;

/// More tools than this never work at the same time; what comes after them is not waited for.
const MAX_TOOLS: usize = 256;

/// When a run last said something, and what it is busy with since.
#[derive(Debug)]
pub(super) struct Pulse {
    patience: Patience,
    state: Mutex<State>,
    /// The silence may end sooner than it seemed.
    refused: Notify,
}

/// How long a run may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) usual: Duration,
    /// While a tool works: then it is the tool that is silent.
    pub(super) tool: Duration,
    /// Since its model API began to refuse it.
    pub(super) refused: Duration,
}

#[derive(Debug)]
struct State {
    last: Instant,
    refused: Option<Instant>,
    tools: HashSet<String>,
}

impl Pulse {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            state: Mutex::new(State {
                last: Instant::now(),
                refused: None,
                tools: HashSet::new(),
            }),
            refused: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line came, whatever it holds.
    pub(super) fn beat(&self) {
        let mut state = self.state();
        state.last = Instant::now();
        state.refused = None;
    }

    /// Its model API was heard to refuse it.
    pub(super) fn refused(&self) {
        self.state().refused.get_or_insert_with(Instant::now);
        self.refused.notify_one();
    }

    pub(super) fn note(&self, event: &RunEvent) {
        match event {
            RunEvent::ToolCall { id, .. } => {
                let mut state = self.state();
                if state.tools.len() < MAX_TOOLS {
                    state.tools.insert(id.clone());
                }
            }
            RunEvent::ToolResult { id, .. } => drop(self.state().tools.remove(id)),
            RunEvent::Message { .. } | RunEvent::Partial { .. } | RunEvent::Progress { .. } => {}
        }
    }

    /// Returns when the silence has lasted too long, and says how long that was.
    pub(super) async fn silence(&self) -> Duration {
        loop {
            let (due, patience) = self.due();
            if due <= Instant::now() {
                return patience;
            }
            drop(timeout_at(due, self.refused.notified()).await);
        }
    }

    fn due(&self) -> (Instant, Duration) {
        let Patience { usual, tool, refused } = self.patience;
        let state = self.state();
        let usual = (state.last + usual, usual);
        match state.refused {
            _ if !state.tools.is_empty() => usual.max((state.last + tool, tool)),
            Some(since) => usual.min((since + refused, refused)),
            None => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        usual: Duration::from_secs(5),
        tool: Duration::from_secs(60),
        refused: Duration::from_secs(3),
    };

    fn call(id: &str) -> RunEvent {
        RunEvent::ToolCall {
            id: id.to_owned(),
            name: None,
            input: Value::Null,
            summary: None,
            message_id: None,
        }
    }

    fn result(id: &str) -> RunEvent {
        RunEvent::ToolResult {
            id: id.to_owned(),
            name: None,
            content: String::new(),
            is_error: false,
            message_id: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_puts_the_end_off_and_a_working_tool_more_so() {
        let began = Instant::now();
        let pulse = Pulse::new(PATIENCE);
        let beats = async {
            tokio::time::sleep(4 * SECOND).await;
            pulse.beat();
        };
        let (silence, ()) = tokio::join!(pulse.silence(), beats);
        assert_eq!((silence, began.elapsed()), (5 * SECOND, 9 * SECOND));
        pulse.beat();
        pulse.note(&call("a"));
        pulse.note(&call("b"));
        pulse.note(&result("a"));
        assert_eq!(pulse.silence().await, 60 * SECOND);
        pulse.note(&result("b"));
        pulse.beat();
        assert_eq!(pulse.silence().await, 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_refuses_brings_the_end_nearer_until_something_is_said() {
        let began = Instant::now();
        let pulse = Pulse::new(PATIENCE);
        let refusals = async {
            tokio::time::sleep(SECOND).await;
            pulse.refused();
            tokio::time::sleep(SECOND).await;
            pulse.refused();
        };
        let (silence, ()) = tokio::join!(pulse.silence(), refusals);
        assert_eq!((silence, began.elapsed()), (3 * SECOND, 4 * SECOND));
        pulse.refused();
        pulse.beat();
        assert_eq!(pulse.silence().await, 5 * SECOND);
        pulse.beat();
        pulse.note(&call("a"));
        pulse.refused();
        assert_eq!(pulse.silence().await, 60 * SECOND);
    }
}
