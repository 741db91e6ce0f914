//! Signals to this program.

use crate::process::sys::signals::Mask;

/// Lets every signal through to this thread, and to those that it starts. Who started us may have blocked some: a daemon
/// would not hear that it is to stop, nor that a child has ended.
pub fn hear_all() {
    if let Err(error) = Mask::none() {
        tracing::warn!(%error, "Some signals may stay blocked");
    }
}
