//! What leaves this host, without the secrets in it: those of this program, and keys of well-known shapes.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::domain::job::{JobOutcome, Timeline};
use crate::domain::needles::{Needles, Stream};
use crate::domain::run::{RunClose, RunFinal};
use crate::domain::shapes;

/// Takes secrets out of what leaves; clones know the same ones.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    needles: Needles,
}

impl Outgoing {
    /// Without these, and without well-known keys.
    #[must_use]
    pub const fn new(needles: Needles) -> Self {
        Self { needles }
    }

    /// The secrets that are looked for.
    #[must_use]
    pub const fn needles(&self) -> &Needles {
        &self.needles
    }

    /// A text, borrowed where there is nothing to be taken out.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.needles.text(text) {
            Cow::Borrowed(text) => shapes::masked(text),
            Cow::Owned(text) => Cow::Owned(shapes::masked(&text).into_owned()),
        }
    }

    /// A document, names of members included.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.own_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => self.members(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn own_text(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.text(text) {
            *text = clean;
        }
    }

    fn members(&self, members: &mut Map<String, Value>) {
        members.values_mut().for_each(|value| self.value(value));
        if members.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
            let pairs = std::mem::take(members).into_iter();
            *members = pairs
                .map(|(key, value)| (self.text(&key).into_owned(), value))
                .collect();
        }
    }

    /// Captured bytes. Keys are text, so they are looked for in what is text.
    pub fn bytes(&self, bytes: &mut Vec<u8>) {
        if let Some(clean) = self.needles.bytes(bytes) {
            *bytes = clean;
        }
        let masked = |text: &str| matches!(shapes::masked(text), Cow::Owned(_));
        if bytes.utf8_chunks().any(|chunk| masked(chunk.valid())) {
            let mut clean = Vec::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                clean.extend_from_slice(shapes::masked(chunk.valid()).as_bytes());
                clean.extend_from_slice(chunk.invalid());
            }
            *bytes = clean;
        }
    }

    /// How a job ended, with the end of its run.
    pub fn outcome(&self, mut outcome: JobOutcome) -> JobOutcome {
        match &mut outcome {
            JobOutcome::Completed { .. } => {}
            JobOutcome::Failed { error, .. } | JobOutcome::Cancelled { error, .. } => self.own_text(error),
        }
        let result = outcome.result_mut();
        self.members(&mut result.fields);
        result.raw.iter_mut().for_each(|field| self.bytes(&mut field.bytes));
        match result.run.as_deref_mut() {
            Some(RunClose::Ended(end)) => self.run_final(end),
            Some(RunClose::Failed { error }) => self.own_text(error),
            None => {}
        }
        outcome
    }

    fn run_final(&self, end: &mut RunFinal) {
        let outputs = [&mut end.output, &mut end.failure_output];
        outputs.into_iter().flatten().for_each(|output| self.value(output));
        end.final_error.iter_mut().for_each(|error| self.own_text(error));
        self.own_text(&mut end.stderr);
        self.members(&mut end.metadata_patch);
        end.events.iter_mut().for_each(|(_, payload)| self.value(payload));
    }

    /// The steps of a job, with what its handler noted.
    pub fn timeline(&self, timeline: &mut Timeline) {
        self.members(&mut timeline.details);
    }
}

/// A text that leaves in pieces.
#[derive(Debug, Clone)]
pub struct Pieces {
    needles: Stream,
    keys: shapes::Stream,
}

impl Pieces {
    /// A text without what `outgoing` takes out.
    #[must_use]
    pub fn new(outgoing: &Outgoing) -> Self {
        Self {
            needles: Stream::new(outgoing.needles.clone()),
            keys: shapes::Stream::default(),
        }
    }

    /// What may leave now that this piece came.
    pub fn push(&mut self, piece: &str) -> String {
        let ready = self.needles.push(piece.as_bytes());
        self.keys.push(&String::from_utf8_lossy(&ready))
    }

    /// What is left when nothing more comes.
    pub fn finish(&mut self) -> String {
        let rest = self.needles.finish();
        self.keys.push(&String::from_utf8_lossy(&rest)) + &self.keys.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::job::{JobResult, RawField};
    use crate::domain::secret::Secret;

    const SECRET: &str = "s3cr3t-t0k3n-0f-mine";

    fn outgoing() -> Outgoing {
        let outgoing = Outgoing::default();
        outgoing.needles().hold(&Secret::new(SECRET));
        outgoing
    }

    fn key() -> String {
        ["sk-ant-", "api03-abcdefghij"].concat()
    }

    #[test]
    fn every_part_of_an_outcome_is_cleaned() {
        let (said, raw) = (format!("a {SECRET} {} b", key()), format!("x {SECRET} y"));
        let end = json!({
            "close": "failed", "error": said
        });
        let fields = json!({"deep": [{SECRET: said}], "n": 1});
        let result = JobResult {
            fields: fields.as_object().unwrap().clone(),
            raw: vec![RawField {
                key: "stdout".to_owned(),
                bytes: [b"\xff\xfe ", raw.as_bytes(), b" \xff", key().as_bytes(), b"\xff"].concat(),
            }],
            run: Some(Box::new(serde_json::from_value(end).unwrap())),
        };
        let clean = outgoing().outcome(JobOutcome::Failed { result, error: said });
        let shown = "a [REDACTED] [REDACTED] b";
        assert_eq!(clean.error(), Some(shown));
        let result = clean.result();
        assert_eq!(
            Value::Object(result.fields.clone()),
            json!({"deep": [{"[REDACTED]": shown}], "n": 1})
        );
        let bytes = [b"\xff\xfe x [REDACTED] y \xff[REDACTED]\xff".as_slice()].concat();
        assert_eq!(result.raw.first().unwrap().bytes, bytes);
        let failed = RunClose::Failed {
            error: shown.to_owned(),
        };
        assert_eq!(result.run.as_deref(), Some(&failed));
    }

    #[test]
    fn the_end_of_a_run_is_cleaned() {
        let said = format!("a {SECRET}");
        let end = json!({
            "close": "ended", "subagent_id": "s", "run_id": "r", "final_status": "completed",
            "output": {"content": said}, "failure_output": null, "final_error": said,
            "completed_at": "2026-11-21T07:06:07Z", "stderr": said, "metadata_patch": {"note": said},
            "events": [["run_completed", {"content": said}]],
        });
        let run: RunClose = serde_json::from_value(end).unwrap();
        let clean = outgoing().outcome(JobOutcome::failed("x", []).closing(run));
        let told = serde_json::to_string(clean.result().run.as_deref().unwrap()).unwrap();
        assert_eq!(
            (told.contains(SECRET), told.matches("[REDACTED]").count()),
            (false, 5),
            "{told}"
        );
    }

    #[test]
    fn pieces_hold_a_secret_or_a_key_together() {
        let token = ["gh", "p_", &"a".repeat(36)].concat();
        for said in [SECRET.to_owned(), key(), token].map(|said| format!("a {said} b")) {
            for at in 1..said.len() {
                let mut pieces = Pieces::new(&outgoing());
                let (first, last) = said.split_at(at);
                let all = [pieces.push(first), pieces.push(last), pieces.finish()].concat();
                assert!(all.starts_with("a ") && all.ends_with("[REDACTED] b"), "{at}: {all}");
            }
        }
        let mut pieces = Pieces::new(&outgoing());
        assert_eq!([pieces.push("Hello sk-"), pieces.push("ies")].concat(), "Hello ");
        assert_eq!(pieces.finish(), "sk-ies");
    }
}
