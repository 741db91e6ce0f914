//! `gateway control-plane`: serving one, and administering it straight on its database.

pub(crate) mod gateway;
pub(crate) mod pairing_code;
pub(crate) mod resource;
pub(crate) mod serve;
pub(crate) mod token;

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::plane::{admin, database};
use crate::control_plane::admin::Admin;
use crate::control_plane::store::DatabaseUrl;

/// Options of `control-plane`.
#[derive(Debug, Args)]
#[command(
    after_help = "The administering commands open the database directly; a running server follows within a second. Without --database \
they mean the control plane that `gateway up` runs on this machine. The variable GATEWAY_DATABASE_URL names one, too.

Examples:
  gateway control-plane serve --listen 0.0.0.0:54400 --database sqlite:/srv/gateway/plane.sqlite
  gateway control-plane pairing-code
  gateway control-plane token create --name laptop
  gateway control-plane gateway full-control ID on
  gateway control-plane resource full-control ID on"
)]
pub(crate) struct ControlPlaneArgs {
    #[command(subcommand)]
    command: PlaneCommand,
}

#[derive(Debug, Subcommand)]
enum PlaneCommand {
    /// Serve a control plane until it is interrupted
    Serve(serve::ServeArgs),
    /// Make a pairing code for one gateway
    PairingCode(pairing_code::PairingCodeArgs),
    /// Operator tokens: for `gateway login`
    Token(token::TokenArgs),
    /// Gateways, and the team layer of machine control
    Gateway(gateway::GatewayArgs),
    /// Remote shells, and the resource layer of machine control
    Resource(resource::ResourceArgs),
}

/// Which database.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DatabaseArg {
    /// `sqlite:PATH` or `postgres://...` [default: the one of `gateway up`]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database: Option<String>,
}

impl DatabaseArg {
    fn chosen(&self, cx: &Context) -> Result<DatabaseUrl, CliError> {
        database::chosen(self.database.as_deref(), cx)
    }

    fn is_embedded(&self, cx: &Context) -> bool {
        self.chosen(cx)
            .is_ok_and(|database| database::is_embedded(&database, cx))
    }

    async fn open(&self, cx: &Context) -> Result<Admin, CliError> {
        database::must_exist(self.database.as_deref(), cx)?;
        admin::open(&self.chosen(cx)?).await
    }
}

impl ControlPlaneArgs {
    /// Whether a document is wanted.
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            PlaneCommand::Serve(_) => false,
            PlaneCommand::PairingCode(args) => args.json.json,
            PlaneCommand::Token(args) => args.json(),
            PlaneCommand::Gateway(args) => args.json(),
            PlaneCommand::Resource(args) => args.json(),
        }
    }

    /// Whether this serves: that needs more than one thread.
    pub(crate) const fn is_serve(&self) -> bool {
        matches!(self.command, PlaneCommand::Serve(_))
    }
}

/// Rows for people or programs.
pub(crate) fn values<T: serde::Serialize>(rows: &[T]) -> Result<Vec<serde_json::Value>, CliError> {
    let unwritable = |error: serde_json::Error| CliError::failed(error.to_string());
    rows.iter()
        .map(|row| serde_json::to_value(row).map_err(unwritable))
        .collect()
}

pub(crate) async fn run(args: &ControlPlaneArgs, cx: &Context) -> CliResult {
    match &args.command {
        PlaneCommand::Serve(args) => serve::run(args, cx).await,
        PlaneCommand::PairingCode(args) => pairing_code::run(args, cx).await,
        PlaneCommand::Token(args) => token::run(args, cx).await,
        PlaneCommand::Gateway(args) => gateway::run(args, cx).await,
        PlaneCommand::Resource(args) => resource::run(args, cx).await,
    }
}

/// `on` and its synonyms.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    crate::cli::argv::boolean_word(text).ok_or_else(|| format!("`{text}` is neither on nor off"))
}
