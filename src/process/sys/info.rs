//! What macOS, which has no `/proc`, tells about a process.

use std::mem::MaybeUninit;

use nix::libc;
use nix::unistd::Pid;

/// Has the kernel also look among processes that ended and were not awaited.
const ZOMBIES_TOO: u64 = 1;

/// None when there is no such process, or it belongs to somebody else.
#[expect(unsafe_code, reason = "no safe wrapper for proc_pidinfo")]
pub(in crate::process) fn of(pid: Pid) -> Option<libc::proc_bsdinfo> {
    let mut info = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = libc::c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    let place = info.as_mut_ptr().cast();
    // SAFETY: `place` is valid for writing `size` bytes.
    let written = unsafe { libc::proc_pidinfo(pid.as_raw(), libc::PROC_PIDTBSDINFO, ZOMBIES_TOO, place, size) };
    if written != size {
        return None;
    }
    // SAFETY: numbers only, and every byte of them was written.
    Some(unsafe { info.assume_init() })
}
