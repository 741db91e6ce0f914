//! What runs used, as the CLIs tell it: objects of numbers at any depth, with words between them.

use serde_json::{Number, Value};

/// Both together; none where nobody told.
#[must_use]
pub fn sum(before: Option<Value>, now: Option<Value>) -> Option<Value> {
    match (before, now) {
        (Some(mut sum), Some(now)) => {
            add(&mut sum, now);
            Some(sum)
        }
        (before, now) => now.or(before),
    }
}

/// Adds number to number; of anything else the later one stands.
pub fn add(sum: &mut Value, now: Value) {
    match (sum, now) {
        (_, Value::Null) => {}
        (Value::Object(sum), Value::Object(now)) => {
            for (name, now) in now {
                add(sum.entry(name).or_insert(Value::Null), now);
            }
        }
        (sum @ Value::Number(_), Value::Number(now)) => *sum = total(sum, &now),
        (sum, now) => *sum = now,
    }
}

fn total(before: &Value, now: &Number) -> Value {
    match (before.as_u64(), now.as_u64()) {
        (Some(before), Some(now)) => before.saturating_add(now).into(),
        _ => (before.as_f64().unwrap_or_default() + now.as_f64().unwrap_or_default()).into(),
    }
}

/// What came since `before`, number by number. Where the total shrank the CLI has begun to count anew.
#[must_use]
pub fn since(total: Value, before: &Value) -> Value {
    match total {
        Value::Object(total) => total
            .into_iter()
            .map(|(name, value)| {
                let value = since(value, before.get(&name).unwrap_or(&Value::Null));
                (name, value)
            })
            .collect(),
        Value::Number(total) => match (total.as_u64(), before.as_u64()) {
            (Some(total), Some(before)) => total.checked_sub(before).unwrap_or(total).into(),
            _ => match (total.as_f64(), before.as_f64()) {
                (Some(all), Some(before)) if all >= before => (all - before).into(),
                _ => total.into(),
            },
        },
        other @ (Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_)) => other,
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
        let both = json!({"input": 15, "deep": {"a": 3, "b": 7}, "tier": "y", "only": 3, "cost": 0.75});
        assert_eq!(sum(Some(before), Some(now)), Some(both));
    }

    #[test]
    fn who_told_nothing_takes_nothing_away() {
        let told = json!({"input": 1});
        assert_eq!(sum(None, Some(told.clone())), Some(told.clone()));
        assert_eq!(sum(Some(told.clone()), None), Some(told));
        assert_eq!(sum(None, None), None);
    }

    #[test]
    fn numbers_are_taken_off_at_every_depth() {
        let before = json!({"input": 10, "deep": {"a": 1}, "tier": "x", "cost": 0.5, "anew": 9});
        let total = json!({"input": 15, "deep": {"a": 3, "b": 7}, "tier": "y", "cost": 0.75, "anew": 2});
        let rest = json!({"input": 5, "deep": {"a": 2, "b": 7}, "tier": "y", "cost": 0.25, "anew": 2});
        assert_eq!(since(total, &before), rest);
    }
}
