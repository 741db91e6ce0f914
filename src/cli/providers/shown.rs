//! What an examination of the agent CLIs found, for people and for programs.

use serde_json::{Value, json};

use super::examine::{Examination, Examined};
use crate::cli::context::Context;
use crate::cli::duration::{brief, millis};
use crate::cli::output::Details;
use crate::domain::text::cut;
use crate::provider::ProviderId;
use crate::provider::capability::{Finding, is_ready};
use crate::provider::cause::Cause;
use crate::wire::heartbeat::ProviderHealth;

/// Characters of an error in a result line, and in a status line.
const RESULT_CHARS: usize = 120;
const STATUS_CHARS: usize = 200;

impl Examined {
    /// Each provider and what was found.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProviderId, &Finding, &ProviderHealth)> {
        self.0
            .iter()
            .map(|found| (found.provider, &found.finding, &found.health))
    }

    /// Whether any agent CLI can be used.
    fn any_usable(&self) -> bool {
        self.0.iter().any(Examination::is_usable)
    }

    /// Shell jobs need none, so this is a warning.
    pub(crate) fn warn_if_none_usable(&self, whose: &str, cx: &Context) {
        if !self.any_usable() {
            cx.out.warn(
                &format!("No {whose} passed validation. Install/authenticate a provider before starting the gateway."),
                &Details::new().add("Note", "shell commands and diagnostics work without one"),
            );
        }
    }

    /// `  - claude_code: unavailable (...)` for each, and below it what to do.
    pub(crate) fn status_lines(&self) -> Vec<String> {
        self.0.iter().flat_map(Examination::status_lines).collect()
    }

    /// For `--json`.
    pub(crate) fn document(&self) -> Value {
        let entry = |found: &Examination| (found.provider.wire().to_owned(), found.document());
        Value::Object(self.0.iter().map(entry).collect())
    }
}

impl Examination {
    fn is_usable(&self) -> bool {
        is_ready(&self.finding.capability(self.provider, Some(self.health.clone())))
    }

    /// `Claude: healthy (1.2s • 2.1.0)`.
    pub(super) fn result_line(&self) -> String {
        let mut parts = vec![brief(self.duration)];
        parts.extend(
            self.finding
                .version
                .as_ref()
                .ok()
                .map(|text| collapsed(text, RESULT_CHARS)),
        );
        parts.extend(error(&self.health).map(|text| collapsed(text, RESULT_CHARS)));
        parts.retain(|part| !part.is_empty());
        let (label, status) = (self.provider.label(), self.health.status.wire());
        format!("{label}: {status} ({})", parts.join(" • "))
    }

    fn status_lines(&self) -> Vec<String> {
        let error = error(&self.health).map(|text| format!(" ({})", collapsed(text, STATUS_CHARS)));
        let (name, status) = (self.provider.wire(), self.health.status.wire());
        let status = format!("  - {name}: {status}{}", error.unwrap_or_default());
        let next = fix(self.provider, &self.health).map(|fix| format!("      Next: {fix}"));
        std::iter::once(status).chain(next).collect()
    }

    fn document(&self) -> Value {
        json!({
            "available": self.finding.version.is_ok(),
            "command": self.finding.command,
            "version": self.finding.version.as_ref().ok(),
            "error": error(&self.health),
            "health": self.health,
            "cause": cause(&self.health),
            "fix": fix(self.provider, &self.health),
            "duration_ms": millis(self.duration),
        })
    }
}

fn error(health: &ProviderHealth) -> Option<&str> {
    health.error.as_deref()
}

/// The machine-readable cause of a bad health.
pub(super) fn cause(health: &ProviderHealth) -> Option<&'static str> {
    Cause::of_health(health).map(Cause::code)
}

/// What to do about a bad health.
pub(super) fn fix(provider: ProviderId, health: &ProviderHealth) -> Option<String> {
    Cause::of_health(health).and_then(|cause| cause.fix(provider))
}

/// White space collapsed, cut to `limit` characters.
fn collapsed(text: &str, limit: usize) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), limit)
}
