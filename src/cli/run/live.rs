//! The events of a run, each shown once and in its turn: told by Realtime, looked up where something was missed.

use serde_json::{Map, Value};

use super::view::View;
use crate::backend::BackendError;
use crate::backend::realtime::{Binding, Change};
use crate::cli::error::CliError;
use crate::cli::operator::Operator;
use crate::cli::watcher::Errand;

const TABLE: &str = "subagent_run_events";

/// A run that is being watched.
#[derive(Debug)]
pub(super) struct Live<'a> {
    run_id: &'a str,
    /// Number of the last event that was shown.
    last: i64,
    /// Shows them; none where only the end is wanted.
    pub(super) view: Option<View<'a>>,
}

impl<'a> Live<'a> {
    pub(super) const fn new(run_id: &'a str, view: Option<View<'a>>) -> Self {
        Self { run_id, last: 0, view }
    }

    fn show(&mut self, row: &Map<String, Value>) {
        let number = row.get("sequence").and_then(Value::as_i64);
        if let (Some(number), Some(view)) = (number.filter(|number| *number > self.last), &mut self.view) {
            let event_type = row.get("event_type").and_then(Value::as_str).unwrap_or_default();
            view.event(event_type, row.get("payload").unwrap_or(&Value::Null));
            self.last = number;
        }
    }
}

impl Errand for Live<'_> {
    fn bindings(&self) -> Vec<Binding> {
        let events = Binding {
            event: "INSERT".to_owned(),
            table: TABLE.to_owned(),
            filter: Some(format!("run_id=eq.{}", self.run_id)),
        };
        self.view.iter().map(|_view| events.clone()).collect()
    }

    /// An event that follows the last one is shown at once; one that does not says that some were missed.
    fn heard(&mut self, change: &Change) -> bool {
        if change.table != TABLE {
            return false;
        }
        let whole = change.errors.is_empty() && change.record.get("payload").is_some_and(Value::is_object);
        match change.record.get("sequence").and_then(Value::as_i64) {
            Some(number) if number <= self.last => true,
            Some(number) if whole && number == self.last + 1 => {
                self.show(&change.record);
                true
            }
            Some(_) | None => false,
        }
    }

    async fn look(&mut self, operator: &Operator) -> Result<(), BackendError> {
        let mut more = self.view.is_some();
        while more {
            let (rows, rest) = operator.run_events(self.run_id, self.last).await?;
            rows.iter().filter_map(Value::as_object).for_each(|row| self.show(row));
            more = rest;
        }
        Ok(())
    }

    async fn take_back(&mut self, operator: &Operator, id: &str, why: &str) -> Result<bool, CliError> {
        operator.withdraw_run(id, why).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::{Color, Output};

    fn change(sequence: i64, errors: &[&str]) -> Change {
        let record = json!({"sequence": sequence, "event_type": "run_started", "payload": {}});
        Change {
            kind: "INSERT".to_owned(),
            table: TABLE.to_owned(),
            record: record.as_object().unwrap().clone(),
            errors: errors.iter().map(|error| (*error).to_owned()).collect(),
        }
    }

    #[test]
    fn every_event_has_one_turn() {
        let out = Output::new(false, Color::Never, None);
        let mut live = Live::new("r", Some(View::new(&out, true)));
        assert!(live.heard(&change(1, &[])), "the first");
        assert!(live.heard(&change(1, &[])), "told again");
        assert!(!live.heard(&change(3, &[])), "one is missing");
        assert!(!live.heard(&change(2, &["payload too large"])));
        assert_eq!(live.last, 1);
        live.show(&change(2, &[]).record);
        live.show(&change(3, &[]).record);
        assert!(live.heard(&change(2, &[])) && live.heard(&change(4, &[])));
        assert_eq!(live.last, 4);
    }
}
