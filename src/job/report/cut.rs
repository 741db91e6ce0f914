//! Shorter forms of a result that the control plane would not take.

use serde_json::{Map, Value, json};

use crate::domain::escape::without_partial_character;
use crate::domain::job::{JobOutcome, JobResult, JobStatus, Timeline};
use crate::domain::run::{RunClose, RunFinal, error_envelope};

/// How much of a result is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All of it.
    Whole,
    /// Outputs cut to 256 kB.
    Short,
    /// Outputs cut to 16 kB.
    Shorter,
    /// Only that it was refused, as a failure.
    Reason,
}

impl Cut {
    /// The next shorter form.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Whole => Some(Self::Short),
            Self::Short => Some(Self::Shorter),
            Self::Shorter => Some(Self::Reason),
            Self::Reason => None,
        }
    }

    const fn limit(self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Short => 256 * 1024,
            Self::Shorter => 16 * 1024,
            Self::Reason => 0,
        }
    }

    /// The outcome in this form.
    pub fn apply(self, mut outcome: JobOutcome) -> JobOutcome {
        let close = outcome.take_run();
        let outcome = self.apply_to_result(outcome);
        match close {
            Some(RunClose::Ended(end)) => outcome.closing(RunClose::Ended(Box::new(self.shorten_run(*end)))),
            Some(failed @ RunClose::Failed { .. }) => outcome.closing(failed),
            None => outcome,
        }
    }

    /// A run whose answer is refused whole ends with a piece of it, at last with none.
    fn shorten_run(self, mut end: RunFinal) -> RunFinal {
        if self == Self::Whole {
            return end;
        }
        end.stderr = self.shorten_text(end.stderr);
        end.final_error = end.final_error.map(|error| self.shorten_text(error));
        let refused = "The control plane refused the answer of this run";
        end.output = end.output.and_then(|output| self.shorten_envelope(output));
        end.failure_output = end.failure_output.and_then(|output| self.shorten_envelope(output));
        if end.output.is_none() && end.failure_output.is_none() {
            end.final_status = JobStatus::Failed;
            end.failure_output = Some(error_envelope(refused));
            end.final_error = Some(refused.to_owned());
            end.metadata_patch = Map::new();
            end.events = vec![("run_failed".to_owned(), json!({"reason": refused}))];
        }
        end
    }

    fn shorten_envelope(self, mut envelope: Value) -> Option<Value> {
        if self == Self::Reason {
            return None;
        }
        let members = envelope.as_object_mut()?;
        let content = members.get("content")?;
        let whole = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        if whole.len() > self.limit() {
            members.insert("content".to_owned(), Value::from(self.shorten_text(whole)));
            members.insert("content_type".to_owned(), Value::from("text"));
            members.insert("exact_content_state".to_owned(), Value::from("preview_only"));
        }
        Some(envelope)
    }

    fn apply_to_result(self, outcome: JobOutcome) -> JobOutcome {
        match self {
            Self::Whole => outcome,
            Self::Short | Self::Shorter => self.shorten(outcome),
            Self::Reason => JobOutcome::failed(
                "The control plane refused the result of this job",
                [
                    ("result_shortened", Value::Bool(true)),
                    ("original_status", Value::from(outcome.status().as_str())),
                ],
            ),
        }
    }

    /// The timeline in this form: a refused result goes without its notes.
    pub fn trim(self, timeline: &mut Timeline) {
        if self != Self::Whole {
            timeline.details.clear();
        }
    }

    fn shorten(self, outcome: JobOutcome) -> JobOutcome {
        match outcome {
            JobOutcome::Completed { result } => JobOutcome::Completed {
                result: self.shorten_result(result),
            },
            JobOutcome::Failed { result, error } => JobOutcome::Failed {
                result: self.shorten_result(result),
                error: self.shorten_text(error),
            },
            JobOutcome::Cancelled { result, error } => JobOutcome::Cancelled {
                result: self.shorten_result(result),
                error: self.shorten_text(error),
            },
        }
    }

    fn shorten_result(self, mut result: JobResult) -> JobResult {
        let mut flags = Map::new();
        for field in &mut result.raw {
            if field.bytes.len() > self.limit() {
                field.bytes.truncate(self.limit());
                field.bytes.truncate(without_partial_character(&field.bytes));
                field.bytes.shrink_to_fit();
                flags.insert(format!("{}_truncated", field.key), Value::Bool(true));
                flags.insert("output_truncated".to_owned(), Value::Bool(true));
            }
        }
        for (name, value) in &mut result.fields {
            if self.shorten_value(value) {
                flags.insert(format!("{name}_truncated"), Value::Bool(true));
                flags.insert("output_truncated".to_owned(), Value::Bool(true));
            }
        }
        result.fields.extend(flags);
        result.fields.insert("result_shortened".to_owned(), Value::Bool(true));
        result
    }

    /// Cuts the long texts of a value; what is long without them is shown as far as it fits. Whether anything is lost.
    fn shorten_value(self, value: &mut Value) -> bool {
        if value.is_string() || length(value) <= self.limit() {
            return self.shorten_texts(value);
        }
        let cut = self.shorten_texts(value);
        let whole = length(value);
        if whole <= self.limit().saturating_mul(2) {
            return cut;
        }
        let preview = self.shorten_text(value.to_string());
        *value = json!({"truncated": true, "original_bytes": whole, "preview": preview});
        true
    }

    fn shorten_texts(self, value: &mut Value) -> bool {
        match value {
            Value::String(text) if text.len() > self.limit() => {
                *text = self.shorten_text(std::mem::take(text));
                true
            }
            Value::Array(list) => self.shorten_each(list.iter_mut()),
            Value::Object(members) => self.shorten_each(members.values_mut()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    fn shorten_each<'a>(self, values: impl Iterator<Item = &'a mut Value>) -> bool {
        let mut cut = false;
        for value in values {
            cut |= self.shorten_texts(value);
        }
        cut
    }

    fn shorten_text(self, mut text: String) -> String {
        if text.len() > self.limit() {
            text.truncate(text.floor_char_boundary(self.limit()));
        }
        text
    }
}

fn length(value: &Value) -> usize {
    value.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::RawField;

    fn big() -> JobOutcome {
        let mut result = JobResult::default();
        result
            .fields
            .insert("command".to_owned(), Value::from("é".repeat(200_000)));
        result.fields.insert("exit_code".to_owned(), Value::from(0));
        result.raw.push(RawField {
            key: "stdout".to_owned(),
            bytes: "é".repeat(1_000_000).into_bytes(),
        });
        result.raw.push(RawField {
            key: "stderr".to_owned(),
            bytes: b"short".to_vec(),
        });
        JobOutcome::Completed { result }
    }

    #[test]
    fn outputs_are_cut_at_a_character_and_flagged() {
        for (cut, limit) in [(Cut::Short, 256 * 1024), (Cut::Shorter, 16 * 1024)] {
            let outcome = cut.apply(big());
            let result = outcome.result();
            let stdout = &result.raw[0].bytes;
            assert!(stdout.len() <= limit && stdout.len() > limit - 4 && std::str::from_utf8(stdout).is_ok());
            assert_eq!(result.raw[1].bytes, b"short");
            assert!(result.fields["command"].as_str().unwrap().len() <= limit);
            for flag in ["stdout_truncated", "output_truncated", "result_shortened"] {
                assert_eq!(result.fields[flag], Value::Bool(true), "{flag}");
            }
            assert!(!result.fields.contains_key("stderr_truncated"));
        }
    }

    #[test]
    fn the_biggest_texts_inside_an_answer_are_cut() {
        let answer = json!({"text": "é".repeat(1_000_000), "model": "m"});
        let many: Vec<Value> = (0..200_000).map(Value::from).collect();
        let fields = json!({"output": answer, "raw": {"list": many}, "usage": {"input": 3}, "exit_code": 0});
        let fields = fields.as_object().unwrap().clone();
        for (cut, limit) in [(Cut::Short, 256 * 1024), (Cut::Shorter, 16 * 1024)] {
            let outcome = cut.apply(JobOutcome::Completed {
                result: fields.clone().into(),
            });
            assert_eq!(outcome.status(), JobStatus::Completed);
            let found = &outcome.result().fields;
            let text = found["output"]["text"].as_str().unwrap();
            assert!(text.len() <= limit && text.len() > limit - 4, "{}", text.len());
            assert_eq!(
                (&found["output"]["model"], &found["usage"]["input"]),
                (&json!("m"), &json!(3))
            );
            assert_eq!(found["raw"]["truncated"], true);
            assert!(length(&found["raw"]) < limit + 100);
            for flag in ["output_truncated", "raw_truncated", "result_shortened"] {
                assert_eq!(found[flag], true, "{flag}");
            }
            assert!(!found.contains_key("usage_truncated"));
        }
    }

    #[test]
    fn the_last_form_is_a_failure_that_says_so() {
        let outcome = Cut::Reason.apply(big());
        assert_eq!(
            outcome.error(),
            Some("The control plane refused the result of this job")
        );
        assert_eq!(outcome.result().fields["original_status"], "completed");
        assert_eq!(Cut::Whole.apply(big()), big());
    }
}
