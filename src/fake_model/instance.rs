//! The smallest value that fits a JSON schema.

use serde_json::{Map, Value, json};

/// How deep a schema is followed; one that contains itself must end somewhere.
const MAX_DEPTH: usize = 8;
/// Most members made for `minItems`.
const MAX_ITEMS: u64 = 16;

/// A small value of that schema. What the schema says in a way not known here is not obeyed.
pub(super) fn instance(schema: &Value) -> Value {
    instance_at(schema, MAX_DEPTH)
}

fn instance_at(schema: &Value, depth: usize) -> Value {
    let first = |key: &str| schema.get(key)?.as_array()?.first();
    if depth == 0 {
        return Value::Null;
    }
    if let Some(value) = schema.get("const").or_else(|| first("enum")) {
        return value.clone();
    }
    if let Some(choice) = ["anyOf", "oneOf", "allOf"].into_iter().find_map(first) {
        return instance_at(choice, depth - 1);
    }
    let kind = first("type").or_else(|| schema.get("type")).and_then(Value::as_str);
    match kind.map(str::to_lowercase).as_deref() {
        None | Some("object") => object(schema, depth),
        Some("array") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            (0..least.min(MAX_ITEMS))
                .map(|_| instance_at(items, depth - 1))
                .collect()
        }
        Some("string") => json!("fake"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some(_) => Value::Null,
    }
}

fn object(schema: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let wanted = |name: &String| required.is_none_or(|names| names.iter().any(|one| one == name));
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return json!({});
    };
    let members = properties.iter().filter(|(name, _)| wanted(name));
    let members: Map<String, Value> = members
        .map(|(name, schema)| (name.clone(), instance_at(schema, depth - 1)))
        .collect();
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_what_is_required() {
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": ["integer", "null"]},
            "b": {"type": "ARRAY", "minItems": 2, "items": {"enum": ["x", "y"]}},
            "c": {"type": "string"},
        }});
        assert_eq!(instance(&schema), json!({"a": 1, "b": ["x", "x"]}));
        assert_eq!(
            instance(&json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]})),
            json!(true)
        );
    }
}
