//! `gateway fake-model`.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::json;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::interrupt::interrupted;
use crate::cli::output::Details;
use crate::fake_model::{self, DIRECTIVES, Observer, ServeError, ServeOptions};
use crate::state::fs::OwnerDir;

/// The address that stands in the recipes.
const EXAMPLE: &str = "http://127.0.0.1:PORT";
/// How each CLI is pointed at the model.
const RECIPES: &str = r#"The gateway of this machine (for codex and gemini in the same way):
  gateway providers set claude --base-url http://127.0.0.1:PORT
  gateway run --provider claude '[[say:hello]]'

Claude Code:
  export ANTHROPIC_BASE_URL=http://127.0.0.1:PORT ANTHROPIC_API_KEY=none
  export CLAUDE_CONFIG_DIR="$HOME/fake-claude" CLAUDE_CODE_MAX_RETRIES=2
  export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
  claude -p '[[say:hello]]' </dev/null

Codex (its home must be there, and not below /tmp):
  export CODEX_HOME="$HOME/fake-codex" CODEX_API_KEY=none; mkdir -p "$CODEX_HOME"
  codex exec --skip-git-repo-check -m gpt-5.5 -c openai_base_url='"http://127.0.0.1:PORT/v1"' \
    -c analytics.enabled=false --disable plugins -- '[[say:hello]]' </dev/null

Gemini:
  export GEMINI_CLI_HOME="$HOME/fake-gemini" GEMINI_API_KEY=none
  export GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:PORT
  mkdir -p "$GEMINI_CLI_HOME/.gemini"
  echo '{"security":{"auth":{"selectedType":"gemini-api-key"},"folderTrust":{"enabled":false}},
    "privacy":{"usageStatisticsEnabled":false},"general":{"maxAttempts":2}}' \
    >"$GEMINI_CLI_HOME/.gemini/settings.json"
  gemini -m gemini-2.5-flash --prompt='[[say:hello]]' </dev/null
"#;

/// Options of `fake-model`.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct FakeModelArgs {
    /// Address to listen on, loopback only; port 0 takes a free one
    #[arg(
        long,
        value_name = "HOST:PORT",
        conflicts_with = "port",
        default_value = "127.0.0.1:0"
    )]
    listen: SocketAddr,

    /// The same as --listen 127.0.0.1:N
    #[arg(long, value_name = "N")]
    port: Option<u16>,

    /// Append what is asked to this file, one JSON object a line, prompts exactly as they came
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

fn after_help() -> String {
    format!(
        "A model that costs nothing and needs no account: Anthropic Messages, OpenAI Responses and Gemini on one address, \
for this machine only, until it is interrupted. It checks no key. What it does stands in the prompt.\n\n\
{DIRECTIVES}\n\
Pointing the gateway or an agent CLI at it; it prints these with its own port:\n\n{RECIPES}\n\
Examples:\n  \
gateway fake-model\n  \
gateway fake-model --port 8765 --log asked.jsonl"
    )
}

pub(crate) async fn run(args: &FakeModelArgs, cx: &Context) -> CliResult {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = ServeOptions {
        listen: args.port.map_or(args.listen, local),
        observer: observer(args.log.as_deref())?,
    };
    let mut unsaid = None;
    let on_bound = |address| unsaid = announce(address, args, cx).err();
    fake_model::serve(options, on_bound, interrupted()?).await?;
    unsaid.map_or(Ok(Exit::OK), Err)
}

fn announce(address: SocketAddr, args: &FakeModelArgs, cx: &Context) -> Result<(), CliError> {
    let url = format!("http://{address}");
    if args.json.json {
        return cx
            .out
            .document(&json!({"url": url, "port": address.port(), "log": args.log}));
    }
    let details = Details::new()
        .add("Address", &url)
        .maybe("Log", args.log.as_deref().map(|log| cx.out.path(log)))
        .add(
            "Next",
            "in another terminal one of these; `gateway help fake-model` lists what a prompt can ask for",
        );
    cx.out.ok("The scripted model listens", &details);
    cx.out.line("");
    cx.out.line(RECIPES.replace(EXAMPLE, &url).trim_end());
    Ok(())
}

/// Writes what is seen to the log.
fn observer(log: Option<&Path>) -> Result<Observer, CliError> {
    let Some(path) = log else {
        return Ok(Observer::new(|_| {}));
    };
    let file = Mutex::new(open(path)?);
    Ok(Observer::new(move |seen| {
        let Ok(mut line) = serde_json::to_vec(seen) else {
            return;
        };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(%error, "the log could not be written");
        }
    }))
}

fn open(path: &Path) -> Result<File, CliError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| CliError::usage(format!("{} names no file.", path.display())))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    Ok(OwnerDir::open_shared(dir.unwrap_or(Path::new(".")))?.append(name)?)
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::NotLoopback(_) => Self::usage("The scripted model listens on loopback only.")
                .detail(error.to_string())
                .hint("--listen 127.0.0.1:PORT, or --listen [::1]:PORT"),
            ServeError::Listen { .. } => Self::failed("The scripted model cannot listen.")
                .detail(error.to_string())
                .hint("choose another port with --port, or none for a free one"),
        }
    }
}
