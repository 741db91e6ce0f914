//! Agent CLIs of this host, examined and shown: used by `pair`, `doctor` and `providers list`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::duration::brief;
use crate::cli::output::Details;
use crate::config::settings::Settings;
use crate::domain::clock;
use crate::process::env::ChildEnv;
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::discovery::Places;
use crate::provider::probe::Prober;
use crate::provider::remembered::ProbeCache;
use crate::state::fs::OwnerDir;
use crate::state::provider_settings::ProviderSettingsFile;

/// Characters of an error in a result line.
const ERROR_CHARS: usize = 120;

/// What was found, in the order of the wire.
#[derive(Debug)]
pub(crate) struct Examined(Vec<(ProviderId, Finding, std::time::Duration)>);

/// Examines every provider and prints a line for each.
pub(crate) async fn examine_and_print(cx: &Context) -> Examined {
    cx.out.info("Validating providers...", &Details::new());
    let examined = examine(cx).await;
    for (provider, finding, duration) in &examined.0 {
        cx.out
            .line(&format!("  {}", result_line(*provider, finding, *duration)));
    }
    examined
}

/// Examines every provider, all at once; slow ones do not hold up the others.
pub(crate) async fn examine(cx: &Context) -> Examined {
    let prober = prober(cx);
    let cache = ProbeCache::default();
    let look = |provider| {
        let (prober, cache) = (&prober, &cache);
        async move {
            let began = tokio::time::Instant::now();
            let (finding, _) = prober.examine(provider, cache, clock::now()).await;
            (provider, finding, began.elapsed())
        }
    };
    Examined(futures_util::future::join_all(ProviderId::ALL.map(look)).await)
}

fn prober(cx: &Context) -> Prober {
    let places = Places::from_environment(cx.env.home().as_deref(), |name| cx.env.get(name).map(str::to_owned));
    let variables = cx.env.vars().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env = ChildEnv::for_user(variables, cx.env.names_from_file(), &std::env::temp_dir());
    let prober = Prober::new(places, named(&cx.settings(None)), env);
    // Nothing is made for a look: without a state directory nothing is set either.
    match OwnerDir::open(&cx.paths.dir) {
        Ok(Some(dir)) => prober.with_settings(ProviderSettingsFile::new(&Arc::new(dir))),
        Ok(None) | Err(_) => prober,
    }
}

fn named(settings: &Settings) -> BTreeMap<ProviderId, String> {
    let commands = &settings.providers;
    [
        (ProviderId::ClaudeCode, &commands.claude),
        (ProviderId::Codex, &commands.codex),
        (ProviderId::Gemini, &commands.gemini),
    ]
    .into_iter()
    .filter_map(|(provider, command)| Some((provider, command.clone()?)))
    .collect()
}

impl Examined {
    /// Each provider and what was found.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProviderId, &Finding)> {
        self.0.iter().map(|(provider, finding, _)| (*provider, finding))
    }

    /// Whether any agent CLI can be used.
    pub(crate) fn any_usable(&self) -> bool {
        self.0.iter().any(|(_, finding, _)| finding.version.is_ok())
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

    /// `  - claude_code: unavailable (...)` for each.
    pub(crate) fn status_lines(&self) -> Vec<String> {
        let line = |(provider, finding, _): &(ProviderId, Finding, std::time::Duration)| {
            let error = finding
                .version
                .as_ref()
                .err()
                .map(|error| format!(" ({})", collapsed(error, 200)));
            format!(
                "  - {}: {}{}",
                provider.wire(),
                word(finding),
                error.unwrap_or_default()
            )
        };
        self.0.iter().map(line).collect()
    }

    /// For `--json`.
    pub(crate) fn document(&self) -> Value {
        let entry = |(provider, finding, duration): &(ProviderId, Finding, std::time::Duration)| {
            let value = json!({
                "available": finding.version.is_ok(),
                "command": finding.command,
                "version": finding.version.as_ref().ok(),
                "error": finding.version.as_ref().err(),
                "duration_ms": crate::cli::duration::millis(*duration),
            });
            (provider.wire().to_owned(), value)
        };
        Value::Object(self.0.iter().map(entry).collect())
    }
}

fn word(finding: &Finding) -> &'static str {
    if finding.version.is_ok() {
        "available"
    } else {
        "unavailable"
    }
}

fn result_line(provider: ProviderId, finding: &Finding, duration: std::time::Duration) -> String {
    let mut parts = vec![brief(duration)];
    match &finding.version {
        Ok(version) => parts.push(collapsed(version, ERROR_CHARS)),
        Err(error) => parts.push(collapsed(error, ERROR_CHARS)),
    }
    parts.retain(|part| !part.is_empty());
    format!("{}: {} ({})", provider.label(), word(finding), parts.join(" • "))
}

/// White space collapsed, cut to `limit` characters.
fn collapsed(text: &str, limit: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= limit {
        return text;
    }
    let start: String = text.chars().take(limit).collect();
    format!("{start}...")
}
