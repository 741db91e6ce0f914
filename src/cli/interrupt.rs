//! Signals that end a command in the foreground.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::error::CliError;

/// Takes one signal over; from the call on, it no longer ends the process by itself.
///
/// # Errors
/// When the system gives no signals.
pub(crate) fn listen(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|error| CliError::failed("Signals cannot be received.").detail(error.to_string()))
}

/// Waits for Ctrl-C or SIGTERM; from the call on, these no longer end the process by themselves.
///
/// # Errors
/// When the system gives no signals.
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, CliError> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    // A closed terminal must not end it.
    let mut hangup = listen(SignalKind::hangup())?;
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
