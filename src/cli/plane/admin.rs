//! The control plane's own administration, straight on its database. One place knows its words.

use serde_json::Value;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::domain::ids::TeamId;
use crate::domain::secret::Secret;

/// An opened database.
#[derive(Debug)]
pub(crate) struct PlaneAdmin {}

/// A token, shown once.
#[derive(Debug)]
pub(crate) struct NewToken {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) team_id: TeamId,
}

/// A pairing code, shown once.
#[derive(Debug)]
pub(crate) struct NewCode {
    pub(crate) code: String,
    pub(crate) expires_at: String,
}

/// A remote shell to be.
#[derive(Debug)]
pub(crate) struct NewShell<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) name: &'a str,
    pub(crate) access: &'a str,
    pub(crate) full_control: bool,
}

impl PlaneAdmin {
    pub(crate) async fn open_embedded(cx: &Context) -> Result<Self, CliError> {
        Self::open(&super::database::embedded(cx)?).await
    }
    pub(crate) async fn open(_database: &str) -> Result<Self, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn anon_key(&self) -> Result<Secret, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn create_token(&self, _name: &str) -> Result<NewToken, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn tokens(&self) -> Result<Vec<Value>, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn revoke_token(&self, _id: &str) -> Result<bool, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn create_pairing_code(&self) -> Result<NewCode, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn gateways(&self) -> Result<Vec<Value>, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn set_gateway_full_control(&self, _gateway: &str, _on: bool) -> Result<bool, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn allow_shells_of(&self, _gateway: &str) -> Result<(), CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn create_shell(&self, _shell: &NewShell<'_>) -> Result<Value, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn resources(&self) -> Result<Vec<Value>, CliError> {
        Err(CliError::failed("not there"))
    }
    pub(crate) async fn revoke_resource(&self, _id: &str) -> Result<bool, CliError> {
        Err(CliError::failed("not there"))
    }
}
