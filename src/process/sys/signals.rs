//! Children start with no signal blocked and none ignored.
//!
//! Handlers are gone after exec and std restores SIGPIPE. What would pass through: a mask of the spawning thread,
//! and signals our own parent had us ignore (`nohup`, a job of a non-interactive shell).

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Of all systems that this runs on.
const LAST_SIGNAL: libc::c_int = 64;

/// The signal mask of this thread, changed until this is dropped; children take over that of the thread that makes them.
#[must_use]
pub(in crate::process) struct Mask(Option<SigSet>);

impl Mask {
    /// No signal is blocked.
    pub(in crate::process) fn unblocked() -> Self {
        Self::of(SigSet::empty())
    }

    /// Every signal is blocked.
    pub(super) fn blocked() -> Self {
        Self::of(SigSet::all())
    }

    fn of(set: SigSet) -> Self {
        Self(set.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok())
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

/// Has the command reset inherited ignored signals, if there are any: only then, because a hook between fork and
/// exec costs the cheap way of spawning.
pub(in crate::process) fn reset_dispositions(command: &mut Command) {
    let ignored: Vec<Signal> = Signal::iterator()
        .filter(|signal| *signal != Signal::SIGPIPE && is_ignored(*signal))
        .collect();
    if !ignored.is_empty() {
        reset_in_child(command, ignored);
    }
}

#[expect(
    unsafe_code,
    reason = "asking for a disposition without changing it has no safe wrapper"
)]
fn is_ignored(signal: Signal) -> bool {
    let mut current = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `current` is valid for writing one sigaction.
    let result = unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), current.as_mut_ptr()) };
    // SAFETY: every field of sigaction may be zero, and the call may have filled it.
    let current = unsafe { current.assume_init() };
    result == 0 && current.sa_sigaction == libc::SIG_IGN
}

#[expect(unsafe_code, reason = "dispositions can only be reset between fork and exec")]
fn reset_in_child(command: &mut Command, ignored: Vec<Signal>) {
    let reset = move || {
        for signal in &ignored {
            // SAFETY: signal(2) is async-signal-safe and SIG_DFL is always valid.
            unsafe { libc::signal(*signal as libc::c_int, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(reset) };
}
