//! `gateway providers list`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::examine::{Depth, Examined, examine};
use super::shown::{cause, fix};
use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::status::yes_no;
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::cause::Cause;
use crate::provider::home::Homes;
use crate::state::provider_settings::{ProviderSettings, ProviderSettingsFile};
use crate::wire::heartbeat::{HealthStatus, ProviderHealth};

/// Options of `providers list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) json: JsonArg,
}

pub(super) async fn run(args: &ListArgs, cx: &Context) -> CliResult {
    let (owner, examined) = (Owner::open(cx)?, examine(Depth::Light, "list", cx).await);
    if args.json.json {
        let entries: Result<serde_json::Map<_, _>, CliError> = examined
            .iter()
            .map(|(provider, finding, health)| {
                Ok((provider.wire().to_owned(), owner.document(provider, finding, health)?))
            })
            .collect();
        cx.out.document(&entries?)?;
        return Ok(Exit::OK);
    }
    for (provider, finding, health) in examined.iter() {
        owner.print(provider, finding, health, cx)?;
    }
    Ok(Exit::OK)
}

/// Homes and root's leave, for `doctor`.
pub(crate) fn doctor_lines(examined: &Examined, cx: &Context) -> Result<Vec<(ProviderId, String, bool)>, CliError> {
    let owner = Owner::open(cx)?;
    let line = |provider: ProviderId| {
        let settings = owner.file.of(provider.wire())?;
        let home = match owner.home(provider, &settings) {
            Some(home) => cx.out.path(&home),
            None => "your own login".to_owned(),
        };
        Ok((provider, home, settings.allow_root))
    };
    examined.iter().map(|(provider, ..)| line(provider)).collect()
}

/// What the owner set.
struct Owner {
    file: ProviderSettingsFile,
    homes: Homes,
}

impl Owner {
    fn open(cx: &Context) -> Result<Self, CliError> {
        let dir = Arc::new(cx.state_dir()?);
        Ok(Self {
            file: ProviderSettingsFile::new(&dir),
            homes: Homes::new(&dir),
        })
    }

    fn home(&self, provider: ProviderId, settings: &ProviderSettings) -> Option<PathBuf> {
        settings.own_home().then(|| self.homes.path(provider))
    }

    fn print(
        &self,
        provider: ProviderId,
        finding: &Finding,
        health: &ProviderHealth,
        cx: &Context,
    ) -> Result<(), CliError> {
        let settings = self.file.of(provider.wire())?;
        let home = self.home(provider, &settings);
        let details = Details::new()
            .add("Command", &finding.command)
            .maybe("Version", finding.version.as_ref().ok())
            .add("Health", health_line(health))
            .maybe("Next", fix(provider, health))
            .maybe("Can", finding.version.is_ok().then(|| abilities(provider, finding)))
            .add(
                "Home",
                home.map_or_else(|| "your own login".to_owned(), |home| cx.out.path(&home)),
            )
            .maybe("Model API", settings.base_url.as_deref())
            .maybe("Key", settings.key.as_ref().map(|_secret| "set"))
            .maybe(
                "May act freely as root",
                is_root_matter(provider).then(|| yes_no(settings.allow_root)),
            );
        let state = match &finding.version {
            Ok(_) => "installed",
            Err(why) => Cause::of_probe(why).words(),
        };
        let name = provider.program();
        cx.out
            .heading(&format!("{} ({name}): {state}", provider.label()), &details);
        Ok(())
    }

    fn document(&self, provider: ProviderId, finding: &Finding, health: &ProviderHealth) -> Result<Value, CliError> {
        let settings = self.file.of(provider.wire())?;
        let block = finding.capability(provider, Some(health.clone()));
        Ok(json!({
            "installed": block.available,
            "command": finding.command,
            "version": block.version,
            "error": block.error,
            "health": block.health,
            "cause": cause(health),
            "fix": fix(provider, health),
            "supports": block.supports,
            "home": self.home(provider, &settings),
            "base_url": settings.base_url,
            "key_set": settings.key.is_some(),
            "allow_root": settings.allow_root,
        }))
    }
}

/// Only Claude Code refuses to act freely as root.
pub(super) fn is_root_matter(provider: ProviderId) -> bool {
    provider == ProviderId::ClaudeCode
}

fn health_line(health: &ProviderHealth) -> String {
    let word = match health.status {
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
        HealthStatus::Unknown => "not tried yet",
        HealthStatus::Unavailable => "unavailable",
    };
    match &health.error {
        Some(why) => format!("{word}: {}", why.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => word.to_owned(),
    }
}

fn abilities(provider: ProviderId, finding: &Finding) -> String {
    let supports = finding.features.supports(provider);
    let all = [
        (supports.output_schema, "answer with JSON of a schema"),
        (supports.stream_json, "show its work as it goes"),
        (supports.tool_disable, "work without tools"),
    ];
    let some: Vec<_> = all.iter().filter(|(can, _)| *can).map(|(_, what)| *what).collect();
    if some.is_empty() {
        "answer in text".to_owned()
    } else {
        some.join(", ")
    }
}
