//! Starting on a machine that is short of descriptors, processes or memory: try again for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::process::failure::SpawnError;
use crate::process::hold::{Registrar, Unregistered};
use crate::process::spawn::{Child, NotSpawned, spawn_registered};
use crate::process::spec::Spec;

/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that was not started.
#[derive(Debug)]
pub enum Unstarted {
    /// Its owner did not want it any more.
    Stopped,
    /// It never will.
    Failed(SpawnError),
    /// It could not be written down.
    Unregistered(Unregistered),
}

/// Starts a process of a job; a shortage is given `patience` to pass.
///
/// # Errors
/// [`Unstarted`].
pub async fn spawn_patiently(
    spec: &Spec,
    patience: Duration,
    stop: &CancellationToken,
    registrar: &mut dyn Registrar,
) -> Result<Child, Unstarted> {
    let began = Instant::now();
    let mut waiting = false;
    loop {
        match spawn_registered(spec.clone(), registrar).await {
            Ok(child) => return Ok(child),
            Err(NotSpawned::Unregistered(why)) => return Err(Unstarted::Unregistered(why)),
            Err(NotSpawned::Failed(error)) if error.is_shortage() && began.elapsed() < patience => {
                if !waiting {
                    tracing::warn!(%error, "cannot start a command now, trying again");
                }
                waiting = true;
            }
            Err(NotSpawned::Failed(error)) => return Err(Unstarted::Failed(error)),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Unstarted::Stopped),
            () = sleep(PAUSE) => {}
        }
    }
}
