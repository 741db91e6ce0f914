//! What a subagent's configuration asks of its agent.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::text::trimmed;
use crate::job::handler::agents::Root;
use crate::job::handler::time_limit::TimeLimit;
use crate::provider::ProviderId;
use crate::provider::request::{Access, DEFAULT_MODEL, Effort, Extras, OutputForm, RunRequest, Session, ToolLists};

/// A turn gets this much time when nothing else is said, and no more or less than that.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1_800);
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const MOST_TIMEOUT: Duration = Duration::from_secs(4 * 3_600);
/// A backend's standing advice to restricted agents; wrong for one that may do everything.
const RESTRICTED_ADVICE: &str = "You cannot write or interact with files in this environment.";

/// The `config` column of a subagent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'a>(pub(super) &'a Map<String, Value>);

/// What the turn is, apart from its configuration.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) provider: ProviderId,
    pub(super) prompt: &'a str,
    /// Session of an earlier turn.
    pub(super) resume: Option<&'a str>,
    pub(super) full: bool,
    pub(super) root: Root,
}

impl Config<'_> {
    /// Whether the agent is to have everything; `full_control` or `fullControl`.
    pub(super) fn wants_full_control(self) -> bool {
        let wanted = self.0.get("full_control").or_else(|| self.0.get("fullControl"));
        match wanted {
            Some(Value::Bool(wanted)) => *wanted,
            Some(Value::String(word)) => {
                matches!(word.trim().to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
            }
            Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }

    /// Time for the whole turn, kept within bounds.
    pub(super) fn limit(self) -> TimeLimit {
        let asked = self.0.get("timeout_ms").and_then(|value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        });
        TimeLimit::of(asked, DEFAULT_TIMEOUT, LEAST_TIMEOUT..=MOST_TIMEOUT)
    }

    /// Directory in which the agent is to work.
    pub(super) fn cwd(self) -> Option<PathBuf> {
        self.text("cwd").map(PathBuf::from)
    }

    /// Session named by the configuration itself, to go on with.
    pub(super) fn resume(self) -> Option<String> {
        self.text("resume_session_id")
    }

    /// Form of the output, in the words of the wire.
    pub(super) fn output_format(self) -> &'static str {
        match self.text("output_format").unwrap_or_default().to_lowercase().as_str() {
            "text" => "text",
            "stream-json" | "stream_json" | "stream" => "stream-json",
            _ => "json",
        }
    }

    /// The request; its scratch directory is filled in later.
    pub(super) fn request(self, ask: &Ask<'_>) -> RunRequest {
        let append = self.text("append_system_prompt");
        let append = append.filter(|text| !(ask.full && text.contains(RESTRICTED_ADVICE)));
        RunRequest {
            prompt: ask.prompt.to_owned(),
            model: self.text("model").filter(|model| model != DEFAULT_MODEL),
            output: self.output(),
            system_prompt: self.text("system_prompt"),
            append_system_prompt: append,
            effort: self.effort(ask.provider),
            access: if ask.full { Access::Full } else { Access::Restricted },
            session: self.session(ask.resume),
            tools: ToolLists {
                allowed: self.list("allowed_tools"),
                disallowed: self.list("disallowed_tools"),
            },
            extras: Extras {
                permission_mode: self.text("permission_mode"),
                max_budget_usd: self.0.get("max_budget_usd").and_then(number),
                betas: self.list("betas"),
                extensions: self.list("extensions"),
                is_root: ask.root.is_root,
                allow_root: ask.root.allowed,
                withheld: Vec::new(),
            },
            scratch: PathBuf::new(),
        }
    }

    /// Only a schema asks for JSON: whatever else an agent says is text, and stays it.
    fn output(self) -> OutputForm {
        let schema = match self.0.get("json_schema") {
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            Some(schema @ Value::Object(_)) => Some(schema.clone()),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => None,
        };
        match schema {
            Some(schema) => OutputForm::Json { schema: Some(schema) },
            None => OutputForm::Text,
        }
    }

    /// The wire has a default for Codex alone.
    fn effort(self, provider: ProviderId) -> Option<Effort> {
        let named = self.text("reasoning_effort");
        let named = named.as_deref().and_then(Effort::from_wire);
        match provider {
            ProviderId::Codex => named.or(Some(Effort::High)),
            ProviderId::ClaudeCode | ProviderId::Gemini => named,
        }
    }

    fn session(self, resume: Option<&str>) -> Session {
        if let Some(resume) = resume {
            return Session::Resume(resume.to_owned());
        }
        if self.0.get("no_session_persistence") == Some(&Value::Bool(true)) {
            return Session::Ephemeral;
        }
        let named = self.text("session_id").filter(|id| Uuid::try_parse(id).is_ok());
        Session::New(named.unwrap_or_else(|| Uuid::new_v4().to_string()))
    }

    fn text(self, key: &str) -> Option<String> {
        trimmed(self.0.get(key)).map(str::to_owned)
    }

    /// An array, or words between commas.
    fn list(self, key: &str) -> Vec<String> {
        let words: Vec<String> = match self.0.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
        };
        let trimmed = words.iter().map(|word| word.trim().to_owned());
        trimmed.filter(|word| !word.is_empty()).collect()
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number: &f64| number.is_finite() && *number > 0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(config: &Value, full: bool) -> RunRequest {
        let ask = Ask {
            provider: ProviderId::Codex,
            prompt: "p",
            resume: None,
            full,
            root: Root::default(),
        };
        Config(config.as_object().unwrap()).request(&ask)
    }

    #[test]
    fn words_and_lists_come_in_every_form_the_backend_writes() {
        for (config, full) in [
            (json!({"full_control": " Yes "}), true),
            (json!({"fullControl": true}), true),
            (json!({"full_control": "off"}), false),
            (json!({}), false),
        ] {
            assert_eq!(
                Config(config.as_object().unwrap()).wants_full_control(),
                full,
                "{config}"
            );
        }
        let config = json!({"allowed_tools": "web_search, Bash,", "betas": ["a", 1], "model": "__default__"});
        let found = request(&config, false);
        assert_eq!(found.tools.allowed, ["web_search", "Bash"]);
        assert_eq!(
            (found.extras.betas, found.model),
            (vec!["a".to_owned(), "1".to_owned()], None)
        );
    }

    #[test]
    fn codex_thinks_hard_unless_told_otherwise() {
        for (config, effort) in [
            (json!({}), Effort::High),
            (json!({"reasoning_effort": "odd"}), Effort::High),
            (json!({"reasoning_effort": " low "}), Effort::Low),
        ] {
            assert_eq!(request(&config, false).effort, Some(effort), "{config}");
        }
        assert_eq!(Config(&Map::new()).effort(ProviderId::ClaudeCode), None);
    }

    #[test]
    fn the_form_of_the_output_has_three_names() {
        for (word, form) in [
            (json!(" Text"), "text"),
            (json!("stream"), "stream-json"),
            (json!("stream_json"), "stream-json"),
            (json!("other"), "json"),
            (json!(null), "json"),
        ] {
            let config = json!({"output_format": word});
            assert_eq!(Config(config.as_object().unwrap()).output_format(), form, "{word}");
        }
    }

    #[test]
    fn what_restricts_is_no_use_to_an_agent_that_may_do_everything() {
        let config = json!({"append_system_prompt": format!("{RESTRICTED_ADVICE} x")});
        assert!(request(&config, false).append_system_prompt.is_some());
        assert_eq!(request(&config, true).append_system_prompt, None);
    }

    #[test]
    fn a_timeout_stays_within_bounds_and_says_so() {
        for (config, seconds, clamped) in [
            (json!({}), 1_800, false),
            (json!({"timeout_ms": 0}), 1_800, false),
            (json!({"timeout_ms": 5}), 1, true),
            (json!({"timeout_ms": "90000"}), 90, false),
            (json!({"timeout_ms": 1e300}), 14_400, true),
            (json!({"timeout_ms": 99_999_999_999_u64}), 14_400, true),
        ] {
            let limit = Config(config.as_object().unwrap()).limit();
            assert_eq!((limit.value.as_secs(), limit.clamped), (seconds, clamped), "{config}");
        }
    }

    #[test]
    fn only_a_schema_asks_for_json() {
        assert_eq!(
            request(&json!({"output_format": "json"}), false).output,
            OutputForm::Text
        );
        for schema in [json!({"type": "object"}), json!("{\"type\":\"object\"}")] {
            let found = request(&json!({"json_schema": schema}), false).output;
            assert_eq!(
                found,
                OutputForm::Json {
                    schema: Some(json!({"type": "object"}))
                }
            );
        }
    }
}
