//! How a run ended: the answer, what it took, and the exit code.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::Ask;
use super::view::View;
use crate::cli::duration::brief;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::operator::StartedRun;
use crate::cli::output::{Details, Output};
use crate::cli::refusal;

/// A run that is over, as its rows tell it.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) ask: &'a Ask,
    pub(super) started: &'a StartedRun,
    pub(super) job: &'a Value,
    pub(super) run: &'a Value,
}

impl End<'_> {
    /// Shows the end; the error of a run without an answer carries its exit code.
    pub(super) fn show(&self, view: Option<View<'_>>, out: &Output) -> CliResult {
        let judged = self.judge();
        let Some(mut view) = view else {
            out.document(&self.document())?;
            return Ok(judged.map_or_else(|error| error.exit, |()| Exit::OK));
        };
        match &judged {
            Ok(()) => {
                view.answer(self.content());
                let label = self.ask.provider.label();
                let took = self.duration().map(|took| format!(" in {}", brief(took)));
                let message = format!("{label} answered{}", took.unwrap_or_default());
                out.aside_ok(&message, &self.details());
            }
            Err(_) => {
                view.close_message();
                for line in self.figures() {
                    out.aside(&line);
                }
            }
        }
        judged.map(|()| Exit::OK)
    }

    fn status(&self) -> &str {
        // A job that never came to its run leaves the run's row behind.
        match text(self.run, "/status") {
            Some("running") | None => text(self.job, "/status").unwrap_or("failed"),
            Some(status) => status,
        }
    }

    fn error(&self) -> Option<&str> {
        text(self.run, "/error").or_else(|| text(self.job, "/error"))
    }

    fn timed_out(&self) -> bool {
        self.run.pointer("/metadata/timed_out") == Some(&Value::Bool(true))
    }

    fn content(&self) -> &Value {
        self.run.pointer("/output/content").unwrap_or(&Value::Null)
    }

    fn judge(&self) -> Result<(), CliError> {
        let refusal = refusal::of_row(self.job);
        let error = match (self.status(), refusal) {
            ("completed", _) => return Ok(()),
            ("cancelled", _) => CliError::failed("The run was cancelled."),
            (_, Some(refusal)) => {
                let message = format!("Refused by the {} layer of machine control.", refusal.layer.name());
                CliError::with(Exit::REFUSED, message).hint(refusal.next)
            }
            (_, None) if self.timed_out() => CliError::with(Exit::TIMED_OUT, "The run took too long and was stopped."),
            (_, None) => CliError::failed("The run failed."),
        };
        Err(match self.error() {
            Some(why) => error.detail(why),
            None => error,
        })
    }

    fn details(&self) -> Details {
        let session = text(self.run, "/metadata/session_id");
        let same = session.is_some() && session == self.ask.session.as_deref();
        Details::new()
            .maybe("Tokens", self.tokens())
            .maybe("Cost", self.cost())
            .maybe("Model", text(self.run, "/metadata/model"))
            .maybe("Session", (self.ask.resumed && same).then_some("the same as before"))
            .maybe_verbose("Session ID", session)
            .verbose("Subagent", &self.started.subagent_id)
            .verbose("Job", &self.started.job_id)
            .add("Next", "gateway run --resume PROMPT")
    }

    /// What a run without an answer took.
    fn figures(&self) -> Vec<String> {
        let tokens = self.tokens().map(|tokens| format!("Tokens: {tokens}"));
        let cost = self.cost().map(|cost| format!("Cost: {cost}"));
        tokens.into_iter().chain(cost).collect()
    }

    /// Nothing for a run that used nothing.
    fn tokens(&self) -> Option<String> {
        let usage = self.run.pointer("/metadata/usage")?;
        let count = |names: &[&str]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
        let input = count(&["input_tokens", "input"])?;
        let output = count(&["output_tokens", "output", "candidates"])?;
        if input == 0 && output == 0 {
            return None;
        }
        let cached = count(&["cache_read_input_tokens", "cached_input_tokens", "cached"]).filter(|cached| *cached > 0);
        let cached = cached.map(|cached| format!(" ({} cached)", grouped(cached)));
        let (input, output) = (grouped(input), grouped(output));
        Some(format!("{input} in{}, {output} out", cached.unwrap_or_default()))
    }

    fn cost(&self) -> Option<String> {
        let cost = self.run.pointer("/metadata/total_cost_usd")?.as_f64()?;
        (cost > 0.0 || self.tokens().is_some()).then(|| format!("${cost:.4}"))
    }

    fn duration(&self) -> Option<Duration> {
        let millis = self.run.pointer("/metadata/duration_ms")?.as_u64()?;
        Some(Duration::from_millis(millis))
    }

    fn document(&self) -> Value {
        let metadata = |name: &str| self.run.pointer(&format!("/metadata/{name}")).cloned();
        json!({
            "subagent_id": self.started.subagent_id,
            "run_id": self.started.run_id,
            "run_sequence": self.started.run_sequence,
            "job_id": self.started.job_id,
            "provider": self.ask.provider.wire(),
            "resumed": self.ask.resumed,
            "status": self.status(),
            "content": if self.status() == "completed" { self.content() } else { &Value::Null },
            "content_type": self.run.pointer("/output/content_type"),
            "error": self.error(),
            "session_id": metadata("session_id"),
            "model": metadata("model"),
            "usage": metadata("usage"),
            "cost_usd": metadata("total_cost_usd"),
            "duration_ms": metadata("duration_ms"),
            "timed_out": self.timed_out(),
            "retry_count": metadata("retry_count"),
        })
    }
}

fn text<'a>(row: &'a Value, pointer: &str) -> Option<&'a str> {
    row.pointer(pointer)?.as_str()
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_numbers_are_grouped() {
        let shown = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
