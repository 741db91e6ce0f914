//! `gateway control-plane pairing-code`.

use clap::Args;
use serde_json::json;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::control_plane::DatabaseArg;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::plane::address;

/// Options of `pairing-code`.
#[derive(Debug, Args)]
#[command(after_help = "The code works once and for a short time. It is shown here and nowhere else.")]
pub(crate) struct PairingCodeArgs {
    #[command(flatten)]
    database: DatabaseArg,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &PairingCodeArgs, cx: &Context) -> CliResult {
    let admin = args.database.open(cx).await?;
    let code = admin.create_pairing_code().await?;
    let key = admin.anon_key().await?;
    let plane = args.database.database.is_none().then(|| address::running(cx)).flatten();
    let url = plane.as_ref().map(|plane| plane.url.as_str());
    if args.json.json {
        cx.out.document(&json!({
            "code": code.code, "expires_at": code.expires_at, "url": url, "anon_key": key.expose(),
        }))?;
        return Ok(Exit::OK);
    }
    let pair = format!(
        "gateway pair {} --supabase-url {} --anon-key {}",
        code.code,
        url.unwrap_or("URL"),
        key.expose()
    );
    let details = Details::new()
        .add("Code", &code.code)
        .add("Valid until", &code.expires_at)
        .add("On the host", pair);
    cx.out.ok("Pairing code", &details);
    Ok(Exit::OK)
}
