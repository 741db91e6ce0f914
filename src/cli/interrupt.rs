//! The end of a server in the foreground.

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::error::CliError;

/// Waits for Ctrl-C or SIGTERM; from the call on, these no longer end the process by themselves.
///
/// # Errors
/// When the system gives no signals.
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, CliError> {
    let unusable = |error: std::io::Error| CliError::failed("Signals cannot be received.").detail(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unusable)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
    // A closed terminal must not end it.
    let mut hangup = signal(SignalKind::hangup()).map_err(unusable)?;
    Ok(async move {
        loop {
            tokio::select! {
                _got = interrupt.recv() => return,
                _got = terminate.recv() => return,
                _got = hangup.recv() => {}
            }
        }
    })
}
