//! `gateway providers set` and `unset`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args};
use serde_json::json;

use super::list::is_root_matter;
use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::run::ProviderWord;
use crate::cli::secret_file;
use crate::cli::status::yes_no;
use crate::domain::secret::Secret;
use crate::provider::home::Homes;
use crate::state::document::DocumentError;
use crate::state::provider_settings::{ProviderSettings, ProviderSettingsFile};

/// Options of `providers set`.
#[derive(Debug, Args)]
#[command(
    after_help = "An address without a key gets the key `none`; your own keys are never sent to it. Codex and Gemini CLI find their \
settings in files that are written before each run, and all three keep their sessions in that home.

Examples:
  gateway providers set codex --command ~/bin/codex
  gateway providers set claude --base-url http://127.0.0.1:8080 --key-file key",
    override_usage = "gateway providers set [OPTIONS] <ID>",
    group = clap::ArgGroup::new("what").required(true).multiple(true)
)]
pub(super) struct SetArgs {
    /// The agent CLI
    #[arg(value_enum, value_name = "ID")]
    provider: ProviderWord,

    /// Its program: a path, or a name that is looked for
    #[arg(long, value_name = "PATH", group = "what")]
    command: Option<String>,

    /// Address of its model API; one without a path gets the version (`/v1`) where the CLI needs it
    #[arg(long, value_name = "URL", value_parser = address, group = "what")]
    base_url: Option<String>,

    /// File that holds the key of that API; it is kept readable by you only
    #[arg(long, value_name = "FILE", group = "what")]
    key_file: Option<PathBuf>,

    /// Let Claude Code act freely even though the gateway's account is root
    #[arg(long, group = "what", overrides_with = "no_allow_root")]
    allow_root: bool,

    /// Take that back
    #[arg(long, group = "what", action = ArgAction::SetTrue)]
    no_allow_root: bool,

    #[command(flatten)]
    pub(super) json: JsonArg,
}

/// Options of `providers unset`.
#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// The agent CLI
    #[arg(value_enum, value_name = "ID")]
    provider: ProviderWord,

    #[command(flatten)]
    pub(super) json: JsonArg,
}

fn address(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    let url: reqwest::Url = trimmed.parse().map_err(|error| format!("{error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("an address begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("an address holds no login and no query; a key goes into --key-file".to_owned());
    }
    Ok(trimmed.trim_end_matches('/').to_owned())
}

pub(super) fn run(args: &SetArgs, cx: &Context) -> CliResult {
    let provider = args.provider.id();
    let allow_root = args.allow_root && is_root_matter(provider);
    let key = match &args.key_file {
        Some(path) => Some(key(path, cx)?),
        None => None,
    };
    let dir = Arc::new(cx.state_dir()?);
    let change = |settings: &mut ProviderSettings| {
        settings.command = args.command.clone().or_else(|| settings.command.take());
        settings.base_url = args.base_url.clone().or_else(|| settings.base_url.take());
        settings.key = key.or_else(|| settings.key.take());
        settings.allow_root = (settings.allow_root || allow_root) && !args.no_allow_root;
    };
    let settings = ProviderSettingsFile::new(&dir).change(provider.wire(), change)?;
    if args.allow_root != allow_root {
        let note = format!("{} does not ask who it runs as", provider.label());
        let details = Details::new().add("Note", note);
        cx.out.warn("--allow-root changes nothing here.", &details);
    }
    let home = settings.own_home().then(|| Homes::new(&dir).path(provider));
    if args.json.json {
        cx.out.document(&json!({
            "provider": provider.wire(), "command": settings.command, "base_url": settings.base_url,
            "key_set": settings.key.is_some(), "home": home, "allow_root": settings.allow_root,
        }))?;
        return Ok(Exit::OK);
    }
    let home = home.map(|home| cx.out.path(&home));
    let details = Details::new()
        .maybe("Command", settings.command.as_deref())
        .maybe("Model API", settings.base_url.as_deref())
        .maybe("Key", settings.key.as_ref().map(|_secret| "set"))
        .add("Home", home.unwrap_or_else(|| "your own login".to_owned()))
        .maybe("May act freely as root", settings.allow_root.then(|| yes_no(true)));
    cx.out.ok(&format!("{} is set", provider.label()), &details);
    Ok(Exit::OK)
}

fn key(path: &std::path::Path, cx: &Context) -> Result<Secret, CliError> {
    let key = secret_file::read(path, "key", cx)?;
    if key.is_empty() || key.expose().chars().any(char::is_control) {
        return Err(CliError::usage("The key file holds no key.").detail(path.display().to_string()));
    }
    Ok(key)
}

pub(super) fn unset(args: &UnsetArgs, cx: &Context) -> CliResult {
    let provider = args.provider.id();
    let dir = Arc::new(cx.state_dir()?);
    let label = provider.label();
    let was_set = ProviderSettingsFile::new(&dir).forget(provider.wire())?;
    if args.json.json {
        cx.out
            .document(&json!({"provider": provider.wire(), "was_set": was_set}))?;
    } else if was_set {
        let details = Details::new().verbose("Sessions stay in", cx.out.path(&Homes::new(&dir).path(provider)));
        cx.out
            .ok(&format!("{label} is used with your own login again"), &details);
    } else {
        cx.out.info(&format!("Nothing was set for {label}"), &Details::new());
    }
    Ok(Exit::OK)
}

impl From<DocumentError> for CliError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::File(error) => Self::from(error),
            DocumentError::Busy(_) | DocumentError::Corrupt { .. } => Self::failed(error.to_string()),
        }
    }
}
