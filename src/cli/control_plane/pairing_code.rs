//! `gateway control-plane pairing-code`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::control_plane::DatabaseArg;
use crate::cli::duration;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::plane::boot;
use crate::cli::times::second;
use crate::domain::clock::wire_time;

/// Options of `pairing-code`.
#[derive(Debug, Args)]
#[command(after_help = "The code works once and for a short time. It is shown here and nowhere else.")]
pub(crate) struct PairingCodeArgs {
    /// How long it is good
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    valid_for: Option<Duration>,

    #[command(flatten)]
    database: DatabaseArg,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &PairingCodeArgs, cx: &Context) -> CliResult {
    let admin = args.database.open(cx).await?;
    let team = admin.ensure_default_team().await?;
    let code = admin.create_pairing_code(&team, args.valid_for).await?;
    let key = admin.anon_key().await?;
    let url = if args.database.is_embedded(cx) {
        boot::remembered_url(cx)
    } else {
        None
    };
    let url = url.as_deref();
    if args.json.json {
        cx.out.document(&json!({
            "code": code.code.expose(), "expires_at": wire_time(code.expires_at), "url": url, "anon_key": key.expose(),
        }))?;
        return Ok(Exit::OK);
    }
    let pair = format!(
        "gateway pair {} --supabase-url {} --anon-key {}",
        code.code.expose(),
        url.unwrap_or("URL"),
        key.expose()
    );
    let details = Details::new()
        .add("Code", code.code.expose())
        .add("Valid until", second(code.expires_at))
        .add("On the host", pair);
    cx.out.ok("Pairing code", &details);
    Ok(Exit::OK)
}
