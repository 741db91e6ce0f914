//! The control plane's own administration, straight on its database, in the words of the command line.

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::plane::database;
use crate::control_plane::admin::{Admin, AdminError};
use crate::control_plane::store::DatabaseUrl;

/// Opens the database of the embedded control plane.
pub(crate) async fn open_embedded(cx: &Context) -> Result<Admin, CliError> {
    open(&database::embedded(cx)?).await
}

/// Opens a database, making its tables where they are missing.
pub(crate) async fn open(database: &DatabaseUrl) -> Result<Admin, CliError> {
    Ok(Admin::open(database).await?)
}

/// Allows machine control on every remote shell of a gateway, and makes one where there is none.
pub(crate) async fn allow_shells_of(admin: &Admin, gateway: &str) -> Result<(), CliError> {
    let of_gateway =
        |metadata: &serde_json::Value| metadata.get("gateway_id").and_then(|id| id.as_str()) == Some(gateway);
    let resources = admin.resources().await?;
    let mut shells = resources
        .iter()
        .filter(|shell| shell.resource_type == "remote_shell" && shell.metadata.as_ref().is_some_and(of_gateway))
        .peekable();
    if shells.peek().is_none() {
        admin.create_resource(gateway, "full", true).await?;
    }
    for shell in shells {
        admin.set_machine_control(&shell.id, true).await?;
    }
    Ok(())
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Missing { .. } => Self::failed(capitalised(&error.to_string()))
                .hint("the `list` commands of `gateway control-plane` show what there is"),
            AdminError::Open(error) => error.into(),
            AdminError::Random(_) | AdminError::Store(_) | AdminError::Keys(_) | AdminError::Row(_) => {
                Self::failed("The database could not be used.").detail(error.to_string())
            }
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}
