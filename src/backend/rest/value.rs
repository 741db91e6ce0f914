//! Values in a query string, written as postgrest-js writes them.

use std::collections::BTreeSet;

use serde_json::Value;

/// The elements of an `in` list: each once, quoted only where the list's own signs occur.
pub(super) fn list(values: impl Iterator<Item = String>) -> String {
    let mut seen = BTreeSet::new();
    values
        .filter(|value| seen.insert(value.clone()))
        .map(|value| element(&value))
        .collect::<Vec<_>>()
        .join(",")
}

fn element(value: &str) -> String {
    if value.contains([',', '(', ')', '"', '\\']) {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

/// The `columns` parameter of an array insert: every key once, quoted.
pub(super) fn columns(rows: &[Value]) -> String {
    let mut seen = BTreeSet::new();
    rows.iter()
        .filter_map(Value::as_object)
        .flat_map(|row| row.keys())
        .filter(|key| seen.insert(key.as_str()))
        .map(|key| format!("\"{key}\""))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_quoted_only_when_needed() {
        let values = ["a", "b c", "x,y", "q\"r", "a"].map(str::to_owned);
        assert_eq!(list(values.into_iter()), r#"a,b c,"x,y","q\"r""#);
    }

    #[test]
    fn columns_are_quoted_and_unique() {
        assert_eq!(
            columns(&[json!({"a": 1, "b": 2}), json!({"b": 3, "c": 4})]),
            r#""a","b","c""#
        );
    }
}
