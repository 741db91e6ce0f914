//! What all attempts of a run took together.

use serde_json::{Map, Value};

use crate::domain::run::RunEnd;

/// Usage and cost so far; none while no attempt told.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Spent {
    pub(super) usage: Option<Value>,
    pub(super) cost_usd: Option<f64>,
}

impl Spent {
    /// Takes over what one attempt took.
    pub(super) fn add(&mut self, end: &mut RunEnd) {
        self.usage = match (self.usage.take(), end.usage.take()) {
            (Some(before), Some(now)) => Some(plus(before, now)),
            (before, now) => now.or(before),
        };
        self.cost_usd = match (self.cost_usd, end.cost_usd.take()) {
            (Some(before), Some(now)) => Some(before + now),
            (before, now) => now.or(before),
        };
    }
}

/// Number by number; of anything else the later one stands.
fn plus(before: Value, now: Value) -> Value {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let mut sum: Map<String, Value> = before;
            for (name, now) in now {
                let before = sum.remove(&name).unwrap_or_default();
                sum.insert(name, plus(before, now));
            }
            Value::Object(sum)
        }
        (Value::Number(before), Value::Number(now)) => match (before.as_u64(), now.as_u64()) {
            (Some(before), Some(now)) => before.saturating_add(now).into(),
            _ => (before.as_f64().unwrap_or_default() + now.as_f64().unwrap_or_default()).into(),
        },
        (before, Value::Null) => before,
        (_, now) => now,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_added_at_every_depth() {
        let before = json!({"input": 10, "deep": {"a": 1}, "tier": "x", "only": 3, "cost": 0.5});
        let now = json!({"input": 5, "deep": {"a": 2, "b": 7}, "tier": "y", "cost": 0.25, "only": null});
        let sum = json!({"input": 15, "deep": {"a": 3, "b": 7}, "tier": "y", "only": 3, "cost": 0.75});
        assert_eq!(plus(before, now), sum);
    }
}
