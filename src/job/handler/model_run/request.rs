//! The payload of a `model_run` job.

use serde_json::Value;

use crate::domain::job::{Job, JobOutcome};
use crate::domain::limits::{MODEL_RUN_DEFAULT_TIMEOUT, MODEL_RUN_MAX_TIMEOUT, MODEL_RUN_MIN_TIMEOUT};
use crate::job::handler::time_limit::TimeLimit;
use crate::provider::ProviderId;
use crate::provider::capability::{is_healthy, is_ready, json_mode};
use crate::provider::document::Picture;
use crate::provider::request::{DEFAULT_MODEL, Effort, OutputForm};
use crate::wire::heartbeat::ProviderCapability;

/// The payload, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) prompt: String,
    /// None is the CLI's own default.
    pub(super) model: Option<String>,
    /// As named by the payload.
    pub(super) provider: Option<ProviderId>,
    pub(super) output: OutputForm,
    pub(super) append_system_prompt: Option<String>,
    pub(super) effort: Option<Effort>,
    pub(super) limit: TimeLimit,
}

impl Request {
    pub(super) fn read(job: &Job) -> Result<Self, JobOutcome> {
        let text = |key: &str| {
            let text = job.payload.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        let (Some(prompt), Some(model)) = (text("prompt"), text("model")) else {
            return Err(missing("prompt or model"));
        };
        let output = if text("output_format") == Some("text") {
            OutputForm::Text
        } else {
            let schema = job.payload.get("json_schema");
            let schema = schema.filter(|schema| schema.is_object() || schema.is_array());
            let Some(schema) = schema else {
                return Err(missing("json_schema"));
            };
            OutputForm::Json {
                schema: Some(schema.clone()),
            }
        };
        let provider = text("provider");
        Ok(Self {
            prompt: prompt.to_owned(),
            model: (model != DEFAULT_MODEL).then(|| model.to_owned()),
            provider: ProviderId::ALL.into_iter().find(|known| provider == Some(known.wire())),
            output,
            append_system_prompt: text("append_system_prompt").map(str::to_owned),
            effort: text("reasoning_effort").and_then(Effort::from_wire),
            limit: limit(job.payload.get("timeout_ms")),
        })
    }

    /// Whether the picture has no say in who is to answer.
    pub(super) const fn is_decided(&self) -> bool {
        self.provider.is_some() || self.model.is_some() || matches!(self.output, OutputForm::Text)
    }

    /// Who is to answer: the one named, else the one the model's name belongs to. A JSON run that names neither goes
    /// to whom can be held to a schema.
    pub(super) fn provider(&self, picture: &Picture) -> ProviderId {
        match (self.provider, &self.model, &self.output) {
            (Some(named), _, _) => named,
            (None, Some(model), _) => of_model(model),
            (None, None, OutputForm::Text) => ProviderId::ClaudeCode,
            (None, None, OutputForm::Json { .. }) => for_json(picture),
        }
    }
}

fn missing(what: &str) -> JobOutcome {
    let error = format!("Missing {what}");
    let message = format!("{error} for gateway model run");
    JobOutcome::failed(error, []).saying(message)
}

fn of_model(model: &str) -> ProviderId {
    let model = model.to_lowercase();
    let begins = |words: [&str; 2]| words.into_iter().any(|word| model.starts_with(word));
    if begins(["openai/", "gpt-"]) || model.contains("codex") {
        ProviderId::Codex
    } else if begins(["google/", "gemini"]) {
        ProviderId::Gemini
    } else {
        ProviderId::ClaudeCode
    }
}

/// A healthy one before an untried one, a schema of the CLI's own before mere streaming; the order of the wire last.
fn for_json(picture: &Picture) -> ProviderId {
    let rank = |block: &ProviderCapability| (is_ready(block), json_mode(block), is_healthy(block));
    let mut best = (ProviderId::ClaudeCode, (false, 0, false));
    for provider in ProviderId::ALL {
        let rank = rank(&picture.block(provider));
        if rank > best.1 {
            best = (provider, rank);
        }
    }
    best.0
}

/// A number above zero, clamped; anything else is the default.
fn limit(value: Option<&Value>) -> TimeLimit {
    let asked = value.and_then(Value::as_f64);
    let bounds = MODEL_RUN_MIN_TIMEOUT..=MODEL_RUN_MAX_TIMEOUT;
    TimeLimit::of(asked, MODEL_RUN_DEFAULT_TIMEOUT, bounds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::ids::JobId;
    use crate::provider::capability::{Features, Finding};
    use crate::provider::health::{Verdict, Witness};

    fn job(payload: &Value) -> Job {
        let row = json!({
            "id": "j", "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "model_run",
            "payload": payload, "created_at": "c", "updated_at": "u"
        });
        crate::wire::job_row::decode(&row).unwrap()
    }

    fn witness() -> Witness {
        Witness {
            context: "model_run",
            job_id: JobId::new("j").unwrap(),
            run_id: None,
        }
    }

    fn read(payload: &Value) -> Request {
        Request::read(&job(payload)).unwrap()
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |payload: Value| {
            let outcome = Request::read(&job(&payload)).unwrap_err();
            let message = outcome.result().fields["message"].as_str().unwrap().to_owned();
            (message, outcome.error().unwrap().to_owned())
        };
        let words = |message: &str, error: &str| (message.to_owned(), error.to_owned());
        let no_prompt = words(
            "Missing prompt or model for gateway model run",
            "Missing prompt or model",
        );
        for payload in [
            json!({}),
            json!({"prompt": "p"}),
            json!({"prompt": "", "model": "m"}),
            json!({"prompt": 1, "model": "m"}),
        ] {
            assert_eq!(refused(payload), no_prompt);
        }
        let no_schema = words("Missing json_schema for gateway model run", "Missing json_schema");
        for schema in [json!(null), json!("{}")] {
            assert_eq!(
                refused(json!({"prompt": "p", "model": "m", "json_schema": schema})),
                no_schema
            );
        }
    }

    #[test]
    fn a_payload_is_read_as_it_is() {
        let request = read(&json!({
            "prompt": " --p\n", "model": "__default__", "provider": "codex", "output_format": "text",
            "append_system_prompt": "s", "reasoning_effort": "high", "timeout_ms": 5000
        }));
        let expected = Request {
            prompt: " --p\n".to_owned(),
            model: None,
            provider: Some(ProviderId::Codex),
            output: OutputForm::Text,
            append_system_prompt: Some("s".to_owned()),
            effort: Some(Effort::High),
            limit: TimeLimit {
                value: Duration::from_secs(5),
                clamped: false,
            },
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn the_model_tells_the_provider_unless_it_is_named() {
        for (model, provider) in [
            ("gpt-5", ProviderId::Codex),
            ("OpenAI/x", ProviderId::Codex),
            ("my-Codex", ProviderId::Codex),
            ("gemini-2", ProviderId::Gemini),
            ("google/x", ProviderId::Gemini),
            ("sonnet", ProviderId::ClaudeCode),
        ] {
            let request = read(&json!({"prompt": "p", "model": model, "output_format": "text", "provider": "other"}));
            assert_eq!(request.provider(&Picture::default()), provider, "{model}");
        }
    }

    #[test]
    fn a_json_run_without_a_name_goes_to_a_schema_mode_that_works() {
        let request = read(&json!({"prompt": "p", "model": "__default__", "json_schema": {}}));
        let mut picture = Picture::default();
        assert_eq!(request.provider(&picture), ProviderId::ClaudeCode, "nobody is known");
        let mut see = |provider, help| {
            let finding = Finding {
                command: String::new(),
                version: Ok("1".to_owned()),
                features: Features::read(provider, Some(help), None),
            };
            picture.see(provider, finding, Timestamp::now());
            request.provider(&picture)
        };
        assert_eq!(
            see(ProviderId::Gemini, "--output-format"),
            ProviderId::Gemini,
            "streaming is better than nothing"
        );
        assert_eq!(
            see(ProviderId::Codex, "--output-schema --output-last-message"),
            ProviderId::Codex
        );
        assert_eq!(see(ProviderId::ClaudeCode, "--json-schema"), ProviderId::ClaudeCode);
        picture.judge(ProviderId::Codex, &Verdict::Works, witness(), Timestamp::now());
        assert_eq!(
            request.provider(&picture),
            ProviderId::Codex,
            "health decides between equals"
        );
        let fails = Verdict::Fails("quota".to_owned());
        picture.judge(ProviderId::Codex, &fails, witness(), Timestamp::now());
        assert_eq!(request.provider(&picture), ProviderId::ClaudeCode);
    }

    #[test]
    fn time_limits_are_clamped_and_say_so() {
        for (value, millis, clamped) in [
            (json!(null), 110_000, false),
            (json!("5"), 110_000, false),
            (json!(0), 110_000, false),
            (json!(-5), 110_000, false),
            (json!(0.5), 1_000, true),
            (json!(1_000), 1_000, false),
            (json!(1_800_000), 1_800_000, false),
            (json!(3_000_000_000_u64), 1_800_000, true),
            (json!(1e300), 1_800_000, true),
        ] {
            let limit = limit(Some(&value));
            assert_eq!((limit.value.as_millis(), limit.clamped), (millis, clamped), "{value}");
        }
    }
}
