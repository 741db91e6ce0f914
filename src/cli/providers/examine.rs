//! Agent CLIs of this host, examined and shown: used by `pair`, `doctor` and `providers list`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::duration::brief;
use crate::cli::local;
use crate::cli::output::Details;
use crate::config::settings::Settings;
use crate::domain::clock;
use crate::process::env::ChildEnv;
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::discovery::Places;
use crate::provider::health;
use crate::provider::probe::Prober;
use crate::provider::remembered::ProbeCache;
use crate::state::fs::OwnerDir;
use crate::state::provider_settings::ProviderSettingsFile;
use crate::wire::heartbeat::ProviderHealth;

/// Characters of an error in a result line.
const ERROR_CHARS: usize = 120;

/// What was found, in the order of the wire.
#[derive(Debug)]
pub(crate) struct Examined(Vec<Look>);

/// A look at one provider.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) provider: ProviderId,
    pub(crate) finding: Finding,
    pub(crate) health: ProviderHealth,
    took: Duration,
}

/// Examines every provider and prints a line for each.
pub(crate) async fn examine_and_print(cx: &Context) -> Examined {
    cx.out.info("Validating providers...", &Details::new());
    let examined = examine(cx).await;
    for look in &examined.0 {
        cx.out.line(&format!("  {}", look.result_line()));
    }
    examined
}

/// Examines every provider, all at once; slow ones do not hold up the others.
pub(crate) async fn examine(cx: &Context) -> Examined {
    let prober = prober(cx);
    let cache = ProbeCache::default();
    let known = known_health(cx).await;
    let look = |provider: ProviderId| {
        let (prober, cache, known) = (&prober, &cache, known.get(provider.wire()));
        async move {
            let began = tokio::time::Instant::now();
            let (finding, _) = prober.examine(provider, cache, clock::now()).await;
            let health = health::light(known, &finding, clock::now());
            let took = began.elapsed();
            Look {
                provider,
                finding,
                health,
                took,
            }
        }
    };
    Examined(futures_util::future::join_all(ProviderId::ALL.map(look)).await)
}

/// What a running gateway knows of the providers, by the runs it has seen.
async fn known_health(cx: &Context) -> BTreeMap<String, ProviderHealth> {
    match local::status(&cx.paths.socket()).await {
        Ok(Some(status)) => status.providers,
        // It is not asked for here how the gateway is.
        Ok(None) | Err(_) => BTreeMap::new(),
    }
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Look> {
        self.0.iter()
    }

    /// Whether any agent CLI can be used.
    pub(crate) fn any_usable(&self) -> bool {
        self.0.iter().any(|look| look.finding.version.is_ok())
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
        let line = |look: &Look| {
            let error = look.finding.version.as_ref().err();
            let error = error.map(|error| format!(" ({})", collapsed(error, 200)));
            let (name, word) = (look.provider.wire(), look.word());
            format!("  - {name}: {word}{}", error.unwrap_or_default())
        };
        self.0.iter().map(line).collect()
    }

    /// For `--json`.
    pub(crate) fn document(&self) -> Value {
        let entry = |look: &Look| {
            let finding = &look.finding;
            let value = json!({
                "available": finding.version.is_ok(),
                "command": finding.command,
                "version": finding.version.as_ref().ok(),
                "error": finding.version.as_ref().err(),
                "health": look.health,
                "duration_ms": crate::cli::duration::millis(look.took),
            });
            (look.provider.wire().to_owned(), value)
        };
        Value::Object(self.0.iter().map(entry).collect())
    }
}

impl Look {
    /// Why the last run failed, unless one went well since, or the program is not even there.
    pub(crate) fn trouble(&self) -> Option<&str> {
        let there = self.finding.version.is_ok();
        self.health.error.as_deref().filter(|_| there)
    }

    const fn word(&self) -> &'static str {
        if self.finding.version.is_ok() {
            "available"
        } else {
            "unavailable"
        }
    }

    fn result_line(&self) -> String {
        let (Ok(said) | Err(said)) = &self.finding.version;
        let mut parts = vec![brief(self.took), collapsed(said, ERROR_CHARS)];
        parts.retain(|part| !part.is_empty());
        format!("{}: {} ({})", self.provider.label(), self.word(), parts.join(" • "))
    }
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
