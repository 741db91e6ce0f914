//! What a provider can do, read out of what its CLI said about itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::ProviderId;
use crate::provider::flags;
use crate::wire::heartbeat::{HealthStatus, ProviderCapability, ProviderHealth, ProviderSupports};

/// What a CLI told beyond its version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features {
    /// Flags by the wire's names.
    pub flags: BTreeMap<String, bool>,
    /// Names of installed extensions; none when they could not be listed, or the provider has none.
    pub extensions: Option<Vec<String>>,
    /// What else its help names: `--options`, subcommands, and quoted choices with their quotes. Stays on this host.
    pub words: BTreeSet<String>,
}

impl Features {
    /// Reads the help text (none: the help command failed) and the extension list, if there was one.
    #[must_use]
    pub fn read(provider: ProviderId, help: Option<&str>, extension_list: Option<&str>) -> Self {
        Self {
            flags: flags::supported(provider, help),
            extensions: extension_list.map(extension_names),
            words: help.map(flags::words).unwrap_or_default(),
        }
    }

    /// Whether it has a flag, by the wire's name. What nobody could find out counts as no.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.flags.get(flag).copied().unwrap_or(false)
    }

    /// Why a run cannot start that needs what this CLI is not known to have; `lacking` says what, of one that told.
    #[must_use]
    pub fn lack(&self, label: &str, lacking: String) -> RunFailure {
        if self.words.is_empty() {
            let why = format!(
                "{label} did not say what it can do, so this run cannot be kept within its bounds: its --help failed or \
                 took too long, as it does on a busy host; try again in a minute, `gateway providers` says what it knows"
            );
            return RunFailure::new(FailureKind::Crash, why);
        }
        RunFailure::new(FailureKind::Request, lacking)
    }

    /// Why this CLI cannot be let do everything, if it cannot.
    #[must_use]
    pub fn lacks_elevation(&self, provider: ProviderId) -> Option<&'static str> {
        let (flags, why) = match provider {
            ProviderId::ClaudeCode => (
                ["permissionModeFlag", "dangerouslySkipPermissionsFlag"],
                "Claude CLI does not expose elevated permission flags on this host (missing --permission-mode \
                 bypassPermissions and --dangerously-skip-permissions).",
            ),
            ProviderId::Codex => (
                ["dangerouslyBypassApprovalsAndSandboxFlag", "sandboxFlag"],
                "Codex CLI does not expose elevated permission flags on this host (missing \
                 --dangerously-bypass-approvals-and-sandbox and --sandbox danger-full-access).",
            ),
            ProviderId::Gemini => (
                ["approvalModeFlag", "yoloFlag"],
                "Gemini CLI does not expose elevated approval flags on this host (missing --approval-mode yolo and \
                 --yolo).",
            ),
        };
        (!flags.iter().any(|flag| self.has(flag))).then_some(why)
    }

    /// Whether its help names an `--option`, a subcommand, or a choice with its quotes.
    #[must_use]
    pub fn offers(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    /// The three things a backend plans with.
    #[must_use]
    pub fn supports(&self, provider: ProviderId) -> ProviderSupports {
        match provider {
            ProviderId::ClaudeCode => ProviderSupports {
                output_schema: self.has("jsonSchemaFlag"),
                stream_json: self.has("outputFormatFlag") && self.has("streamJsonFlag"),
                tool_disable: self.has("toolsFlag") || self.has("allowedToolsFlag"),
            },
            ProviderId::Codex => ProviderSupports {
                output_schema: self.has("outputSchemaFlag") && self.has("outputLastMessageFlag"),
                stream_json: self.has("jsonFlag"),
                tool_disable: self.has("configFlag"),
            },
            ProviderId::Gemini => ProviderSupports {
                output_schema: false,
                stream_json: self.has("outputFormatFlag"),
                tool_disable: self.extensions.as_ref().is_some_and(Vec::is_empty),
            },
        }
    }
}

/// Extension lines without the heading and without the sentence that says there are none.
fn extension_names(list: &str) -> Vec<String> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter(|line| {
            let line = line.to_lowercase();
            line != "installed extensions:" && !line.starts_with("no extensions installed")
        })
        .map(str::to_owned)
        .collect()
}

/// A provider as far as its CLI could be examined.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The command that was asked, a path or a bare name.
    pub command: String,
    /// The trimmed version text, or why there is none.
    pub version: Result<String, String>,
    /// What else it said; empty while it is unavailable.
    pub features: Features,
}

impl Finding {
    /// A provider that cannot be used.
    #[must_use]
    pub fn unavailable(command: impl Into<String>, error: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            version: Err(error.into()),
            features: Features::default(),
        }
    }

    /// The wire's block, with the health decided elsewhere.
    #[must_use]
    pub fn capability(&self, provider: ProviderId, health: Option<ProviderHealth>) -> ProviderCapability {
        let available = self.version.is_ok();
        ProviderCapability {
            available,
            version: self.version.as_ref().ok().filter(|text| !text.is_empty()).cloned(),
            error: self.version.as_ref().err().cloned(),
            supported_flags: self.features.flags.clone(),
            supports: if available {
                self.features.supports(provider)
            } else {
                ProviderSupports::default()
            },
            extensions: self.features.extensions.clone(),
            health,
        }
    }
}

/// Whether a model can be run: healthy, or available and not known to be broken.
#[must_use]
pub fn is_ready(capability: &ProviderCapability) -> bool {
    match capability.health.as_ref().map(|health| health.status) {
        Some(HealthStatus::Healthy) => true,
        Some(HealthStatus::Unknown) | None => capability.available,
        Some(HealthStatus::Unhealthy | HealthStatus::Unavailable) => false,
    }
}

/// Whether its model answered when it was asked last.
#[must_use]
pub fn is_healthy(capability: &ProviderCapability) -> bool {
    capability.health.as_ref().map(|health| health.status) == Some(HealthStatus::Healthy)
}

/// How well it can be held to an answer in JSON: by a schema, at least by streaming, or not at all.
#[must_use]
pub const fn json_mode(capability: &ProviderCapability) -> u8 {
    match (capability.supports.output_schema, capability.supports.stream_json) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supports(provider: ProviderId, help: &str, extensions: Option<&str>) -> [bool; 3] {
        let found = Features::read(provider, Some(help), extensions).supports(provider);
        [found.output_schema, found.stream_json, found.tool_disable]
    }

    #[test]
    fn supports_follow_the_flags() {
        let claude = "--json-schema --output-format (stream-json) --allowed-tools";
        assert_eq!(supports(ProviderId::ClaudeCode, claude, None), [true, true, true]);
        assert_eq!(supports(ProviderId::ClaudeCode, "--output-format", None), [false; 3]);
        let codex = "--output-schema --output-last-message -c, --config <key=value>";
        assert_eq!(supports(ProviderId::Codex, codex, None), [true, false, true]);
        assert_eq!(
            supports(ProviderId::Gemini, "--output-format", None),
            [false, true, false]
        );
    }

    #[test]
    fn a_sentence_about_no_extensions_is_no_extension() {
        let none = "No extensions installed.\n";
        assert_eq!(supports(ProviderId::Gemini, "", Some(none)), [false, false, true]);
        let some = Features::read(ProviderId::Gemini, None, Some("Installed extensions:\n- a\n\n- b\n"));
        assert_eq!(some.extensions, Some(vec!["- a".to_owned(), "- b".to_owned()]));
    }

    #[test]
    fn an_unavailable_provider_supports_nothing_and_says_why() {
        let health = ProviderHealth {
            status: HealthStatus::Unavailable,
            check_type: crate::wire::heartbeat::CheckType::Light,
            checked_at: String::new(),
            last_full_checked_at: None,
            last_full_status: None,
            error: None,
            model: None,
            duration_ms: None,
        };
        let block =
            Finding::unavailable("claude", "spawn claude ENOENT").capability(ProviderId::ClaudeCode, Some(health));
        assert_eq!((block.available, block.version.clone()), (false, None));
        assert_eq!(block.error.as_deref(), Some("spawn claude ENOENT"));
        assert!(!is_ready(&block));
    }
}
