//! Signals as wishes to stop. SIGHUP is taken and ignored: a closed terminal must not end jobs.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals we listen to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over; from here on none of them ends the process by itself.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next wish to stop, by the signal's name. May be dropped and called again.
    pub async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => return "SIGTERM",
                Some(()) = self.interrupt.recv() => return "SIGINT",
                Some(()) = self.hangup.recv() => tracing::info!("Ignoring SIGHUP"),
                else => return std::future::pending().await,
            }
        }
    }
}
