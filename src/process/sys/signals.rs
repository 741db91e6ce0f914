//! Children start with no signal blocked and none ignored.
//!
//! Handlers are gone after exec and std restores SIGPIPE. What would pass through: a mask of the spawning thread,
//! and signals our own parent had us ignore (`nohup`, a job of a non-interactive shell).

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Unblocks every signal on this thread until it is dropped; children take over the mask of the thread that spawns.
#[must_use]
pub(in crate::process) struct Unblocked(Option<SigSet>);

impl Unblocked {
    pub(in crate::process) fn now() -> Self {
        Self(SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok())
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        if let Some(mask) = self.0
            && let Err(error) = mask.thread_set_mask()
        {
            tracing::warn!(%error, "could not restore the signal mask");
        }
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
