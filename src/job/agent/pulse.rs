//! Whether a run still says something.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::run::RunEvent;

/// More tools than this never work at the same time; what comes after them is not waited for.
const MAX_TOOLS: usize = 256;

/// When a run last said something, and which tools are at work.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Longest silence, and the longest one while a tool works: then it is the tool that is silent.
    patience: (Duration, Duration),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Instant,
    tools: HashSet<String>,
}

impl Pulse {
    pub(super) fn new(idle: Duration, tool_idle: Duration) -> Self {
        Self {
            patience: (idle, tool_idle.max(idle)),
            state: Mutex::new(State {
                last: Instant::now(),
                tools: HashSet::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line came, whatever it holds.
    pub(super) fn beat(&self) {
        self.state().last = Instant::now();
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
            sleep_until(due).await;
        }
    }

    fn due(&self) -> (Instant, Duration) {
        let state = self.state();
        let patience = if state.tools.is_empty() {
            self.patience.0
        } else {
            self.patience.1
        };
        (state.last + patience, patience)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
        let pulse = Pulse::new(5 * SECOND, 60 * SECOND);
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
}
