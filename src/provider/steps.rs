//! A bound on the work of holding an answer against a schema.
//!
//! A few references that double and double again are more work than there is time, and a validator cannot be told to
//! stop. So a keyword of our own stands in every part of a schema, counts, and ends the work from within.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonschema::{Keyword, ValidationError, ValidationOptions};
use serde_json::{Map, Value};

use crate::provider::schema_parts::{is_named, is_value};

/// Parts of a schema that may be held against parts of one answer: some seconds of work at the very most.
const MOST_STEPS: u64 = 2_000_000;
const KEYWORD: &str = "x-gateway-step";

/// How many steps are left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(Arc<AtomicU64>);

/// What is thrown when there are none.
struct Spent;

struct Step(Steps);

impl Steps {
    /// Options with the keyword that counts.
    pub(crate) fn counted<'a>(&self, options: ValidationOptions<'a>) -> ValidationOptions<'a> {
        let steps = self.clone();
        options.with_keyword(KEYWORD, move |_: &Map<String, Value>, _: &Value, _| {
            Ok(Box::new(Step(steps.clone())) as Box<dyn for<'i> Keyword<'i>>)
        })
    }

    /// Does the work; nothing when it takes too many steps.
    pub(crate) fn bounded<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        self.0.store(MOST_STEPS, Ordering::Relaxed);
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(spent) if spent.is::<Spent>() => None,
            Err(fault) => resume_unwind(fault),
        }
    }

    fn take(&self) {
        let left = self.0.fetch_sub(1, Ordering::Relaxed);
        if left == 0 {
            resume_unwind(Box::new(Spent));
        }
    }
}

impl Keyword<'_> for Step {
    fn validate(&self, _: &Value) -> Result<(), ValidationError<'static>> {
        self.0.take();
        Ok(())
    }

    fn is_valid(&self, _: &Value) -> bool {
        self.0.take();
        true
    }
}

/// The schema with the keyword in each of its parts.
pub(crate) fn marked(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let inside = members.iter().map(|(key, value)| (key.clone(), member(key, value)));
            let mut marked: Map<_, _> = inside.collect();
            marked.insert(KEYWORD.to_owned(), Value::Bool(true));
            Value::Object(marked)
        }
        Value::Array(items) => items.iter().map(marked).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

fn member(key: &str, value: &Value) -> Value {
    if is_value(key) {
        return value.clone();
    }
    let named = value.as_object().filter(|_| is_named(key));
    named.map_or_else(
        || marked(value),
        |named| {
            named
                .iter()
                .map(|(name, value)| (name.clone(), marked(value)))
                .collect()
        },
    )
}
