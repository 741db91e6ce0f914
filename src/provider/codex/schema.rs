//! The strict form of a JSON schema that Codex's model API demands, and the rule for schemas of tool calls.

use serde_json::{Map, Value, json};

use crate::provider::schema_parts::NAMED;

/// Members whose value is one schema.
const ONE: &[&str] = &[
    "items",
    "additionalItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
];
/// Members whose value is a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems", "items"];

/// Tells the model what became of the arguments.
pub const TOOL_HINT: &str = "Set args_json to a JSON-encoded string containing the arguments object.";

/// The schema as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// In strict form.
    pub schema: Value,
    /// Whether it asks for a tool call, whose arguments then come as text.
    pub tool_call: bool,
}

/// The strict form: every object is closed and all of its properties are required. A schema of a tool call, which has
/// the properties `name` and `args`, asks for `args_json` instead, for open arguments have no strict form.
#[must_use]
pub fn sent(schema: &Value) -> Sent {
    match tool_name(schema) {
        Some(name) => Sent {
            schema: strict(&tool_call(name)),
            tool_call: true,
        },
        None => Sent {
            schema: strict(schema),
            tool_call: false,
        },
    }
}

/// Whether a schema asks for a tool call.
#[must_use]
pub fn is_tool_call(schema: &Value) -> bool {
    tool_name(schema).is_some()
}

fn tool_name(schema: &Value) -> Option<&Value> {
    let properties = schema.get("properties")?.as_object()?;
    properties.get("args").and_then(|_| properties.get("name"))
}

fn tool_call(name: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["name", "args_json"],
        "properties": {"name": name, "args_json": {"type": "string"}},
    })
}

fn strict(schema: &Value) -> Value {
    let Value::Object(members) = schema else {
        return schema.clone();
    };
    let mut strict: Map<_, _> = members
        .iter()
        .map(|(key, value)| (key.clone(), inside(key, value)))
        .collect();
    if is_object(members) {
        let names = members.get("properties").and_then(Value::as_object);
        let names: Vec<_> = names.into_iter().flat_map(Map::keys).cloned().collect();
        strict.insert("additionalProperties".to_owned(), Value::Bool(false));
        strict.insert("required".to_owned(), Value::from(names));
    }
    Value::Object(strict)
}

/// The value of one member of a schema. What is no schema, such as `enum` or `default`, stays as it is.
fn inside(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(named) if NAMED.contains(&key) => named
            .iter()
            .map(|(name, schema)| (name.clone(), strict(schema)))
            .collect(),
        Value::Array(list) if LIST.contains(&key) => list.iter().map(strict).collect(),
        Value::Object(_) if ONE.contains(&key) => strict(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            value.clone()
        }
    }
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let named = match schema.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    };
    let shaped = |key| schema.get(key).is_some_and(Value::is_object);
    named || shaped("properties") || shaped("patternProperties")
}

/// The answer as the asker's schema has it: the text in `args_json` becomes the object `args`.
///
/// # Errors
/// The text is no JSON object.
pub fn with_arguments(mut answer: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let text = ["args_json", "argsJson"]
        .into_iter()
        .find_map(|key| answer.get(key)?.as_str());
    let Some(text) = text.map(str::to_owned) else {
        return Ok(answer);
    };
    let arguments: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| format!("Codex args_json is not valid JSON: {error}"))?;
    answer.retain(|key, _| key != "args_json" && key != "argsJson");
    answer.insert("args".to_owned(), Value::Object(arguments));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, expected: &Value) {
        assert_eq!(&sent(schema).schema, expected);
    }

    #[test]
    fn objects_are_closed_and_complete_at_every_depth() {
        check(
            &json!({"type": "object", "properties": {"a": {"type": "array", "items": {"properties": {"b": {}}}}},
                "anyOf": [{"type": ["object", "null"]}], "$defs": {"x": {"type": "object", "required": ["gone"]}}}),
            &json!({"type": "object",
                "properties": {"a": {"type": "array", "items":
                    {"properties": {"b": {}}, "additionalProperties": false, "required": ["b"]}}},
                "anyOf": [{"type": ["object", "null"], "additionalProperties": false, "required": []}],
                "$defs": {"x": {"type": "object", "required": [], "additionalProperties": false}},
                "additionalProperties": false, "required": ["a"]}),
        );
    }

    #[test]
    fn a_property_called_properties_is_a_property() {
        check(
            &json!({"type": "object", "properties": {
                "properties": {"type": "string"}, "required": {"type": "object", "properties": {"type": {}}}}}),
            &json!({"type": "object", "properties": {
                "properties": {"type": "string"},
                "required": {"type": "object", "properties": {"type": {}},
                    "additionalProperties": false, "required": ["type"]}},
                "additionalProperties": false, "required": ["properties", "required"]}),
        );
    }

    #[test]
    fn values_are_no_schemas() {
        let schema = json!({"enum": [{"type": "object"}], "default": {"properties": {}}, "const": {"items": {}}});
        check(&schema, &schema);
        check(&json!(true), &json!(true));
    }

    #[test]
    fn a_tool_call_sends_its_arguments_as_text() {
        let name = json!({"enum": ["sail"]});
        let asked = sent(&json!({"properties": {"name": name, "args": {"type": "object"}, "more": {}}}));
        assert!(asked.tool_call);
        assert_eq!(
            asked.schema,
            json!({"type": "object", "required": ["name", "args_json"], "additionalProperties": false,
                "properties": {"name": name, "args_json": {"type": "string"}}})
        );
    }

    #[test]
    fn arguments_come_back_as_an_object() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let answer = object(json!({"name": "sail", "args_json": "{\"knots\":7}"}));
        assert_eq!(
            with_arguments(answer),
            Ok(object(json!({"name": "sail", "args": {"knots": 7}})))
        );
        let other = object(json!({"args_json": 5, "a": 1}));
        assert_eq!(with_arguments(other.clone()), Ok(other));
        let bad = with_arguments(object(json!({"argsJson": "["}))).unwrap_err();
        assert!(bad.starts_with("Codex args_json is not valid JSON: "), "{bad}");
    }
}
