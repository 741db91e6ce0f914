//! `gateway control-plane serve`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::control_plane::DatabaseArg;
use crate::cli::error::{CliError, CliResult};

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,

    /// `gateway stop` ends it too
    #[arg(long, hide = true)]
    started_by_up: bool,

    #[command(flatten)]
    database: DatabaseArg,
}

pub(crate) async fn run(_args: &ServeArgs, _cx: &Context) -> CliResult {
    Err(CliError::failed("not there"))
}
