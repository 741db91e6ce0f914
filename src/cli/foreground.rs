//! The daemon itself, attached to whoever started it.

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::start::StartArgs;

pub(crate) async fn run(_args: &StartArgs, _cx: &Context) -> CliResult {
    Err(CliError::failed("not there"))
}
