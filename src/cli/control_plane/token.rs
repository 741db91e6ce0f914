//! `gateway control-plane token`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::control_plane::{DatabaseArg, values};
use crate::cli::duration;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::plane::boot;

/// Options of `token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    database: DatabaseArg,

    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make an operator token; it is shown once
    Create {
        /// What it is for
        #[arg(long, value_name = "NAME", default_value = "operator")]
        name: String,
        /// How long it is good; for ever when left out
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        valid_for: Option<Duration>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// List tokens, without their secrets
    List {
        #[command(flatten)]
        json: JsonArg,
    },
    /// End a token
    Revoke {
        /// Its id, from `token list`
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl TokenArgs {
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            TokenCommand::Create { json, .. } | TokenCommand::List { json } => json.json,
            TokenCommand::Revoke { .. } => false,
        }
    }
}

pub(crate) async fn run(args: &TokenArgs, cx: &Context) -> CliResult {
    let admin = args.database.open(cx).await?;
    match &args.command {
        TokenCommand::Create { name, valid_for, json } => {
            let team = admin.ensure_default_team().await?;
            let token = admin.create_token(&team, name, *valid_for).await?;
            if json.json {
                cx.out.document(&json!({
                    "id": token.id, "token": token.token.expose(), "team_id": token.team_id.as_str(),
                }))?;
            } else {
                let url = if args.database.is_embedded(cx) {
                    boot::remembered_url(cx)
                } else {
                    None
                };
                let (url, key) = (url.as_deref().unwrap_or("URL"), admin.anon_key().await?);
                let login = format!(
                    "gateway login --url {url} --anon-key {} --token-file FILE",
                    key.expose()
                );
                let details = Details::new()
                    .add("Token", token.token.expose())
                    .add("ID", &token.id)
                    .add("Team ID", &token.team_id)
                    .add("Note", "shown once; keep it in a file of mode 600")
                    .add("On the operator's machine", login);
                cx.out.ok("Operator token created", &details);
            }
        }
        TokenCommand::List { json } => list(&values(&admin.list_tokens().await?)?, json.json, cx)?,
        TokenCommand::Revoke { id } => {
            admin.revoke_token(id).await?;
            cx.out.ok("Operator token revoked", &Details::new().add("ID", id));
        }
    }
    Ok(Exit::OK)
}

fn list(rows: &[Value], as_json: bool, cx: &Context) -> Result<(), CliError> {
    if as_json {
        return cx.out.document(&rows);
    }
    let columns = [
        ("TOKEN", "id"),
        ("CREATED", "created_at"),
        ("EXPIRES", "expires_at"),
        ("REVOKED", "revoked_at"),
        ("NAME", "name"),
    ];
    super::gateway::print_rows(rows, &columns, "No operator tokens.", cx);
    Ok(())
}
