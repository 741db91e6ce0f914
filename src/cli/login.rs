//! `gateway login`: an operator credential, apart from the gateway's own session.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::operator::Operator;
use crate::cli::output::Details;
use crate::cli::prompt;
use crate::cli::secret_file;
use crate::domain::secret::Secret;
use crate::state::operator;

/// Options of `login`.
#[derive(Debug, Args)]
#[command(
    after_help = "`gateway control-plane token create` makes a token. It is read from --token-file, else from GATEWAY_TOKEN, else from a \
pipe; at a terminal it is asked for. It is no option of its own: every user of the machine may read a command line. It \
is checked before it is saved, readable by you only.

Examples:
  gateway login --url http://10.0.0.5:54400 --anon-key KEY --token-file token
  pass show gateway | gateway login --url http://10.0.0.5:54400 --anon-key KEY"
)]
pub(crate) struct LoginArgs {
    /// Address of the control plane [default: the one this host is paired with]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Its public (anon) key [default: the one this host is paired with]
    #[arg(long, value_name = "KEY")]
    anon_key: Option<String>,

    /// File that holds the operator token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(crate) async fn run(args: &LoginArgs, cx: &Context) -> CliResult {
    let (url, key) = address(args, cx)?;
    let token = token(args, cx)?;
    if token.is_empty() {
        return Err(CliError::usage("No operator token was given.").hint(
            "--token-file FILE, GATEWAY_TOKEN, or the token on stdin; `gateway control-plane token create` makes one",
        ));
    }
    let (_, credential) = Operator::verified(&url, key, token).await?;
    operator::save(&cx.state_dir()?, &credential)?;
    let details = Details::new()
        .add("Control plane", &credential.url)
        .add("Team ID", &credential.team_id)
        .verbose("Saved", cx.out.path(&cx.paths.operator_file()));
    cx.out.ok("Logged in as operator", &details);
    Ok(Exit::OK)
}

fn address(args: &LoginArgs, cx: &Context) -> Result<(String, Secret), CliError> {
    let known = || cx.sessions().load().ok().flatten();
    let url = args.url.clone().or_else(|| known().map(|session| session.supabase_url));
    let url = url.ok_or_else(|| {
        CliError::usage("Which control plane? This host is paired with none.")
            .hint("gateway login --url URL --anon-key KEY")
    })?;
    let same =
        |session: &crate::state::session::Session| crate::config::backend::same_origin(&session.supabase_url, &url);
    let key = args.anon_key.clone().map(Secret::new);
    let key = key.or_else(|| known().filter(same).map(|session| session.anon_key));
    let key = key.ok_or_else(|| {
        CliError::usage("The control plane's public key is needed.")
            .hint("--anon-key KEY; `gateway control-plane serve` prints it")
    })?;
    Ok((url, key))
}

fn token(args: &LoginArgs, cx: &Context) -> Result<Secret, CliError> {
    if let Some(path) = &args.token_file {
        return secret_file::read(path, "token", cx);
    }
    if let Some(token) = cx.env.get("GATEWAY_TOKEN") {
        return Ok(Secret::new(token));
    }
    if std::io::stdin().is_terminal() {
        return prompt::secret("Operator token: ");
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(secret_file::LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed("The token could not be read.").detail(error.to_string()))?;
    Ok(Secret::new(text.trim()))
}
