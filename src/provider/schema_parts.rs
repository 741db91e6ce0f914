//! Where in a schema schemas are, and where values and names.

use serde_json::{Map, Value};

/// Members whose value names schemas; their keys are names and mean nothing.
pub(crate) const NAMED: &[&str] = &[
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];
/// Members whose value is no schema and means something.
const VALUES: &[&str] = &["enum", "const", "required", "dependentRequired", "$vocabulary"];

/// Shows every part of a schema that counts.
pub(crate) fn parts(schema: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
    match schema {
        Value::Object(members) => {
            see(members);
            for (key, value) in members.iter().filter(|(key, _)| !is_value(key)) {
                match value.as_object().filter(|_| is_named(key)) {
                    Some(named) => named.values().for_each(|part| parts(part, see)),
                    None => parts(value, see),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|part| parts(part, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a member's value is no schema.
pub(crate) fn is_value(key: &str) -> bool {
    VALUES.contains(&key)
}

/// Whether a member's value names schemas, if only some of the time.
pub(crate) fn is_named(key: &str) -> bool {
    NAMED.contains(&key) || key == "dependencies"
}
