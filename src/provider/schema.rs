//! Whether an answer is of the form that a JSON schema asks for, and whether the schema is one.
//!
//! Nothing is fetched: a reference to another document is an error in the schema.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::schema_bounds;
use crate::provider::steps::{self, Steps};

/// Largest schema, as compact JSON.
pub const MAX_SCHEMA_BYTES: usize = 128 * 1024;
/// Steps back that one pattern may take on one text.
const BACKTRACK_LIMIT: usize = 100_000;
/// Bytes that one pattern may be compiled to.
const PATTERN_LIMIT: usize = 1 << 20;
/// Faults that are named; there may be more.
const MAX_FAULTS: usize = 3;
/// Characters of one fault.
const MAX_FAULT_CHARS: usize = 300;

/// A schema that answers can be held against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    steps: Steps,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is too large, or no schema.
    pub fn new(schema: &Value) -> Result<Self, RunFailure> {
        let refuse = |why| Err(RunFailure::new(FailureKind::Request, why));
        let size = schema.to_string().len();
        if size > MAX_SCHEMA_BYTES {
            return refuse(format!(
                "a JSON schema may have {MAX_SCHEMA_BYTES} bytes at most; this one has {size}"
            ));
        }
        schema_bounds::check(schema).map_err(|why| RunFailure::new(FailureKind::Request, why))?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_LIMIT)
            .size_limit(PATTERN_LIMIT);
        let steps = Steps::default();
        let made = steps
            .counted(jsonschema::options())
            .offline()
            .with_pattern_options(patterns)
            .build(&steps::marked(schema));
        match made {
            Ok(validator) => Ok(Self { validator, steps }),
            Err(fault) => {
                let fault = fault_text(&fault.instance_path().to_string(), &fault.to_string());
                refuse(format!("the JSON schema is not valid: {fault}"))
            }
        }
    }

    /// Holds an answer against it.
    ///
    /// # Errors
    /// The answer is of another form; the message names where.
    pub fn check(&self, answer: &Value) -> Result<(), RunFailure> {
        let faults = self.steps.bounded(|| {
            let faults = self.validator.iter_errors(answer).take(MAX_FAULTS);
            faults
                .map(|fault| fault_text(&fault.instance_path().to_string(), &fault.to_string()))
                .collect::<Vec<_>>()
        });
        let Some(faults) = faults else {
            let why = "holding the answer against the JSON schema takes too many steps";
            return Err(RunFailure::new(FailureKind::Request, why));
        };
        if faults.is_empty() {
            return Ok(());
        }
        let why = format!("the answer does not fit the JSON schema: {}", faults.join("; "));
        Err(RunFailure::new(FailureKind::Answer, why))
    }
}

fn fault_text(path: &str, what: &str) -> String {
    let path = if path.is_empty() { "the top" } else { path };
    let short: String = what.chars().take(MAX_FAULT_CHARS).collect();
    let dots = if short.len() < what.len() { "..." } else { "" };
    format!("at {path}: {short}{dots}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, answer: &Value) -> Result<(), RunFailure> {
        Schema::new(schema)?.check(answer)
    }

    #[test]
    fn a_fault_names_its_place() {
        let schema = json!({
            "type": "object",
            "properties": {"people": {"type": "array", "items": {"type": "object", "required": ["age"]}}},
        });
        assert_eq!(check(&schema, &json!({"people": [{"age": 1}]})), Ok(()));
        let failure = check(&schema, &json!({"people": [{"age": 1}, {}]})).unwrap_err();
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (
                FailureKind::Answer,
                r#"the answer does not fit the JSON schema: at /people/1: "age" is a required property"#
            )
        );
    }

    #[test]
    fn many_and_long_faults_are_cut() {
        let answer: Vec<_> = (0..100).map(|_| "x".repeat(10_000)).collect();
        let failure = check(&json!({"items": {"type": "integer"}}), &json!(answer)).unwrap_err();
        assert!(failure.message.len() < 1_200, "{}", failure.message.len());
        assert!(failure.message.contains("at /0: ") && failure.message.contains("at /2: "));
    }

    #[test]
    fn a_schema_must_be_one() {
        let patterns: serde_json::Map<_, _> = (0..5_000).map(|at| (format!("^a{at}$"), json!({}))).collect();
        for (schema, part) in [
            (json!({"type": "nonsense"}), "not valid: at /type: "),
            (json!({"$ref": "https://example.com/schema.json"}), "not valid"),
            (json!({"$ref": "file:///etc/passwd"}), "not valid"),
            (
                json!({"patternProperties": patterns}),
                "200 patterns at most; this one has 5000",
            ),
            (
                json!({"description": "x".repeat(MAX_SCHEMA_BYTES)}),
                "131072 bytes at most",
            ),
        ] {
            let failure = Schema::new(&schema).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Request);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn a_pattern_that_goes_back_for_ever_ends() {
        let schema = json!({"type": "string", "pattern": "^(?=(a+)+$)(a+)+b$"});
        assert!(check(&schema, &json!("a".repeat(60))).is_err());
    }

    #[test]
    fn references_that_double_and_double_end() {
        for draft in [
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2020-12/schema",
        ] {
            let twice = |next: usize| json!({"allOf": vec![json!({"$ref": format!("#/odd/a{next}")}); 2]});
            let mut odd: serde_json::Map<_, _> = (0..40).map(|at| (format!("a{at}"), twice(at + 1))).collect();
            odd.insert("a40".to_owned(), json!({}));
            let schema = json!({"$schema": draft, "odd": odd, "$ref": "#/odd/a0"});
            let failure = check(&schema, &json!({"a": 1})).unwrap_err();
            assert!(failure.message.contains("too many steps"), "{}", failure.message);
            let failure = Schema::new(&schema).unwrap().check(&json!(1)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Request);
        }
    }

    #[test]
    fn what_is_hidden_in_a_value_is_not_done() {
        let twice = |next: usize| json!({"allOf": vec![json!({"$ref": format!("#/const/a{next}")}); 2]});
        let mut odd: serde_json::Map<_, _> = (0..40).map(|at| (format!("a{at}"), twice(at + 1))).collect();
        odd.insert("a40".to_owned(), json!({}));
        let schema = json!({"const": odd, "$ref": "#/const/a0"});
        let failure = Schema::new(&schema).unwrap_err();
        assert!(
            failure.message.contains("is a reference to a value"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_pattern_that_is_too_big_is_refused() {
        let failure = Schema::new(&json!({"pattern": "((a{1,200}){1,200}){1,200}"})).unwrap_err();
        assert!(failure.message.contains("not valid"), "{}", failure.message);
    }

    #[test]
    fn values_and_lists_of_names_in_a_schema_stay_as_they_are() {
        let schema = json!({
            "properties": {"enum": {"enum": [{"x": 1}]}, "const": {"const": {"y": 2}}},
            "dependentRequired": {"enum": ["const"]}, "dependencies": {"a": ["b"]},
        });
        assert_eq!(check(&schema, &json!({"enum": {"x": 1}, "const": {"y": 2}})), Ok(()));
        assert!(check(&schema, &json!({"enum": {"x": 1}})).is_err());
    }

    #[test]
    fn a_property_called_properties_is_a_property() {
        let schema = json!({"type": "object", "properties": {"properties": {"type": "integer"}}});
        assert_eq!(check(&schema, &json!({"properties": 1})), Ok(()));
        assert!(check(&schema, &json!({"properties": "1"})).is_err());
    }
}
