//! Figures of one run, also where a CLI counts the whole session.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tracing::warn;

use crate::domain::run::{Cumulative, RunEnd};
use crate::domain::usage;
use crate::state::fs::OwnerDir;

/// Where the last totals are remembered.
const FILE: &str = "agent-totals.json";
/// Sessions that are remembered; the one used longest ago goes first.
const MAX_SESSIONS: usize = 1000;

/// What sessions had cost when they were last used.
#[derive(Debug)]
pub(super) struct Totals {
    dir: Arc<OwnerDir>,
    known: Mutex<Option<Map<String, Value>>>,
}

/// Whether the session was there before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    /// It was not: its totals are the run's.
    Now,
    /// It was.
    Before,
}

impl Totals {
    pub(super) const fn new(dir: Arc<OwnerDir>) -> Self {
        Self {
            dir,
            known: Mutex::new(None),
        }
    }

    /// Turns the totals of a session into figures of the run, and remembers them for the next.
    ///
    /// Without an earlier total nothing can be said about the run; the totals are put into the metadata then.
    pub(super) fn settle(&self, session: &str, began: Began, end: &mut RunEnd) {
        if end.cumulative == Cumulative::default() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| self.load());
        let before = known.shift_remove(session);
        known.insert(session.to_owned(), newest(before.as_ref(), end));
        while known.len() > MAX_SESSIONS {
            let oldest = known.keys().next().cloned().unwrap_or_default();
            known.shift_remove(&oldest);
        }
        if began == Began::Before {
            per_run(before.as_ref(), end);
        }
        let text = Value::Object(known.clone()).to_string();
        if let Err(error) = self.dir.replace(FILE, text.as_bytes()) {
            warn!(%error, "the totals of agent sessions are not remembered");
        }
    }

    fn load(&self) -> Map<String, Value> {
        let stored = self.dir.read(FILE).unwrap_or_default().unwrap_or_default();
        serde_json::from_slice(&stored).unwrap_or_default()
    }
}

/// What a run said nothing of is as it was: a run that was cut short does not make the past unknown.
fn newest(before: Option<&Value>, end: &RunEnd) -> Value {
    let earlier = |name: &str| before.and_then(|before| before.get(name)).cloned().unwrap_or_default();
    json!({
        "usage": end.usage.clone().unwrap_or_else(|| earlier("usage")),
        "cost_usd": end.cost_usd.map_or_else(|| earlier("cost_usd"), Value::from),
    })
}

fn per_run(before: Option<&Value>, end: &mut RunEnd) {
    if end.cumulative.usage {
        let total = end.usage.take();
        end.usage = match before
            .and_then(|before| before.get("usage"))
            .filter(|usage| !usage.is_null())
        {
            Some(before) => total.map(|total| usage::since(total, before)),
            None => {
                end.metadata
                    .extend(total.map(|total| ("session_usage".to_owned(), total)));
                None
            }
        };
    }
    if end.cumulative.cost {
        let total = end.cost_usd.take();
        end.cost_usd = match before.and_then(|before| before.get("cost_usd")?.as_f64()) {
            Some(before) => total.map(|total| if total < before { total } else { total - before }),
            None => {
                end.metadata
                    .extend(total.map(|total| ("session_cost_usd".to_owned(), json!(total))));
                None
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::Answer;

    fn end(usage: Value, cost: f64) -> RunEnd {
        RunEnd {
            answer: Ok(Answer {
                text: String::new(),
                structured: None,
                raw: Value::Null,
            }),
            session_id: Some("s".to_owned()),
            model: None,
            usage: Some(usage),
            cost_usd: Some(cost),
            cumulative: Cumulative {
                usage: true,
                cost: true,
            },
            tool_ran: false,
            metadata: Map::new(),
        }
    }

    fn usage(input: u64, cached: u64) -> Value {
        json!({"input_tokens": input, "cache": {"read": cached}, "tier": "std"})
    }

    fn settled(totals: &Totals, began: Began, usage: Value, cost: f64) -> RunEnd {
        let mut end = end(usage, cost);
        totals.settle("codex s", began, &mut end);
        end
    }

    #[test]
    fn what_was_there_before_is_taken_off_also_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let dir = || Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let totals = Totals::new(dir());
        let first = settled(&totals, Began::Now, usage(100, 5), 0.5);
        assert_eq!((first.usage, first.cost_usd), (Some(usage(100, 5)), Some(0.5)));
        let second = settled(&totals, Began::Before, usage(300, 5), 0.75);
        assert_eq!((second.usage, second.cost_usd), (Some(usage(200, 0)), Some(0.25)));
        let totals = Totals::new(dir());
        let third = settled(&totals, Began::Before, usage(600, 9), 0.7);
        assert_eq!(third.usage, Some(usage(300, 4)));
        assert_eq!(third.cost_usd, Some(0.7), "a smaller total is a new count");
    }

    #[test]
    fn a_run_that_told_nothing_does_not_make_the_past_unknown() {
        let home = tempfile::tempdir().unwrap();
        let totals = Totals::new(Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap()));
        settled(&totals, Began::Now, usage(100, 5), 0.5);
        let mut cut_short = RunEnd {
            usage: None,
            cost_usd: None,
            ..end(Value::Null, 0.0)
        };
        totals.settle("codex s", Began::Before, &mut cut_short);
        assert_eq!((cut_short.usage, cut_short.cost_usd), (None, None));
        let next = settled(&totals, Began::Before, usage(300, 5), 0.75);
        assert_eq!((next.usage, next.cost_usd), (Some(usage(200, 0)), Some(0.25)));
    }

    #[test]
    fn an_unknown_past_is_no_figure() {
        let home = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let totals = Totals::new(dir);
        let end = settled(&totals, Began::Before, usage(300, 1), 0.5);
        assert_eq!((end.usage, end.cost_usd), (None, None));
        assert_eq!(end.metadata.get("session_usage"), Some(&usage(300, 1)));
        assert_eq!(end.metadata.get("session_cost_usd"), Some(&json!(0.5)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let totals = Totals::new(dir);
        let full: Map<_, _> = (0..MAX_SESSIONS)
            .map(|number| (format!("s{number}"), json!({})))
            .collect();
        *totals.known.lock().unwrap() = Some(full);
        totals.settle("new", Began::Now, &mut end(json!({}), 0.0));
        let known = totals.known.lock().unwrap().clone().unwrap();
        assert!(known.len() == MAX_SESSIONS && known.contains_key("new") && !known.contains_key("s0"));
    }
}
