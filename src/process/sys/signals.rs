//! Children start with no signal blocked and none ignored: also not those that our own parent had us ignore (`nohup`, a job
//! of a non-interactive shell).

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};

/// Of all systems that this runs on.
const LAST_SIGNAL: libc::c_int = 64;

/// The signal mask of this thread, changed until this is dropped; children take over that of the thread that makes them.
#[must_use]
pub(in crate::process) struct Mask(Option<SigSet>);

impl Mask {
    /// Every signal is blocked.
    pub(super) fn blocked() -> Self {
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok())
    }

    /// Blocks no signal from here on, for good.
    pub(in crate::process) fn none() -> Result<(), Errno> {
        SigSet::empty().thread_set_mask()
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        if let Some(mask) = self.0
            && let Err(error) = mask.thread_set_mask()
        {
            tracing::warn!(%error, "could not restore the signal mask");
        }
    }
}

/// In a child: no signal is ignored or handled any more.
#[expect(unsafe_code, reason = "the safe wrapper knows no real-time signals")]
pub(super) fn all_default() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: signal(2) is async-signal-safe and SIG_DFL is always valid. What cannot be changed is refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
