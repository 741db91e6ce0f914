//! Writing to a shell: in order, bounded in time, and never the daemon's end when nobody reads.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::process::interactive::{Input, Size};

/// Most bytes of one write.
pub(super) const MAX_WRITE: usize = 256 * 1024;
/// How long a shell may take to read what was written.
const WRITE_BOUND: Duration = Duration::from_secs(10);
/// What a terminal takes for the end of file.
const END_OF_FILE: &[u8] = b"\x04";

/// Why a write did not go through. `Display` is the reason in the job's text.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The system's answer, in the form `write EPIPE`.
    #[error("{}", of_system(.0))]
    System(io::Error),
    /// The shell does not read.
    #[error("timed out after {} s, {written} of {total} bytes were taken", WRITE_BOUND.as_secs())]
    TimedOut { written: usize, total: usize },
    /// Its input was closed on request, or it has just ended.
    #[error("its input is closed")]
    Closed,
    /// The job that writes has to end.
    #[error("the job was stopped")]
    Stopped,
}

fn of_system(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| format!("write {errno:?}"))
}

/// What a shell reads from.
#[derive(Debug)]
pub(super) struct Keyboard {
    input: Mutex<Option<Input>>,
    gone: CancellationToken,
}

impl Keyboard {
    /// Writing is given up when `gone` fires.
    pub(super) fn new(input: Input, gone: CancellationToken) -> Self {
        Self {
            input: Mutex::new(Some(input)),
            gone,
        }
    }

    /// Writes everything, unless `stop` fires first.
    pub(super) async fn write(&self, bytes: &[u8], stop: &CancellationToken) -> Result<(), WriteError> {
        let deadline = Instant::now() + WRITE_BOUND;
        let mut written = 0;
        let mut held: Option<MutexGuard<'_, Option<Input>>> = None;
        loop {
            let step = async {
                if held.is_none() {
                    held = Some(self.input.lock().await);
                }
                let input = held.as_mut().and_then(|held| held.as_mut()).ok_or(WriteError::Closed)?;
                match bytes.get(written..).filter(|rest| !rest.is_empty()) {
                    None => Ok(None),
                    Some(rest) => input.write(rest).await.map(Some).map_err(WriteError::System),
                }
            };
            let done = tokio::select! {
                done = step => done?,
                () = self.gone.cancelled() => return Err(WriteError::Closed),
                () = stop.cancelled() => return Err(WriteError::Stopped),
                () = sleep_until(deadline) => {
                    return Err(WriteError::TimedOut { written, total: bytes.len() });
                }
            };
            match done {
                None => return Ok(()),
                Some(0) => return Err(WriteError::System(Errno::EPIPE.into())),
                Some(length) => written += length,
            }
        }
    }

    /// Says that nothing more comes.
    pub(super) async fn end(&self, stop: &CancellationToken) -> Result<(), WriteError> {
        if matches!(*self.input.lock().await, Some(Input::Terminal(_))) {
            return self.write(END_OF_FILE, stop).await;
        }
        self.unplug().await;
        Ok(())
    }

    /// Changes the size of the terminal; false where there is none.
    pub(super) async fn resize(&self, size: Size) -> io::Result<bool> {
        match &*self.input.lock().await {
            Some(input) => input.resize(size),
            None => Ok(false),
        }
    }

    /// Lets go of the shell's input.
    pub(super) async fn unplug(&self) {
        drop(self.input.lock().await.take());
    }
}
