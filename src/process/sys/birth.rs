//! Making a process that goes its own way at once.
//!
//! Either way runs `become_it` in a new process, where it returns only to say why it could not exec, and returns itself
//! once it has, or is dead of a signal: the caller reaps it then. An error is what `become_it` or the system said; there
//! is no process then.

use std::io;

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

#[cfg(not(target_os = "linux"))]
pub(super) use by_fork as process;
#[cfg(target_os = "linux")]
pub(super) use sharing as process;

/// Exit code of a child that did not become what it was to be.
const NEVER_WAS: i32 = 127;

/// The child borrows our memory until it execs; meanwhile the calling thread stands still, and every other goes on.
///
/// A plain fork would have the kernel copy every page that we write while a child is held, and every table of pages
/// before: 2 ms of the daemon's time a job.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nothing safe makes a child that borrows our memory")]
pub(super) fn sharing(become_it: impl Fn() -> Errno) -> io::Result<Pid> {
    use std::sync::atomic::{AtomicI32, Ordering};

    use nix::libc::SIGCHLD;
    use nix::sched::{CloneFlags, clone};

    /// Bytes. The child makes a few system calls, none of which takes a buffer.
    const STACK: usize = 64 << 10;
    let failed = AtomicI32::new(0);
    let child = || {
        failed.store(become_it() as i32, Ordering::SeqCst);
        NEVER_WAS as isize
    };
    let mut stack = vec![0; STACK];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the child has a stack of its own, larger than it needs, and by CLONE_VFORK it is done with our memory when
    // the call returns, so everything that it borrows outlives it. Callers hand over system calls only: no allocation, no
    // lock, no panic.
    let pid = unsafe { clone(Box::new(child), &mut stack, flags, Some(SIGCHLD)) }?;
    match failed.into_inner() {
        0 => Ok(pid),
        errno => Err(refused(pid, Errno::from_raw(errno))),
    }
}

/// The child has a copy of our memory: where sharing is unsafe.
#[cfg(any(test, not(target_os = "linux")))]
#[expect(unsafe_code, reason = "no safe wrapper for fork")]
pub(super) fn by_fork(become_it: impl Fn() -> Errno) -> io::Result<Pid> {
    use std::io::{Read as _, Write as _};

    use nix::libc::_exit;
    use nix::unistd::{ForkResult, fork};

    let (mut why, mut say) = io::pipe()?;
    // SAFETY: callers hand over system calls only, and the rest of the child is two more.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let errno = (become_it() as i32).to_ne_bytes();
            let _unheard = say.write_all(&errno);
            // SAFETY: ends the child here, before anything of ours is dropped twice.
            unsafe { _exit(NEVER_WAS) }
        }
        ForkResult::Parent { child } => {
            drop(say);
            let mut errno = [0; 4];
            match why.read_exact(&mut errno) {
                Ok(()) => Err(refused(child, Errno::from_raw(i32::from_ne_bytes(errno)))),
                Err(_) => Ok(child),
            }
        }
    }
}

/// Takes the dead child away.
fn refused(child: Pid, why: Errno) -> io::Error {
    let _reaped = waitpid(child, None);
    why.into()
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use nix::libc;
    use nix::sys::signal::{Signal, raise};
    use nix::sys::wait::WaitStatus;

    use super::*;

    type Way = fn(fn() -> Errno) -> io::Result<Pid>;
    #[cfg(target_os = "linux")]
    const WAYS: &[Way] = &[sharing, by_fork];
    #[cfg(not(target_os = "linux"))]
    const WAYS: &[Way] = &[by_fork];

    #[expect(unsafe_code, reason = "what a child does")]
    fn succeed() -> Errno {
        let args = [c"true".as_ptr(), ptr::null()];
        // SAFETY: a path, and vectors that end with a null pointer.
        unsafe { libc::execve(c"/bin/true".as_ptr(), args.as_ptr(), [ptr::null()].as_ptr()) };
        Errno::last()
    }

    fn die() -> Errno {
        raise(Signal::SIGKILL).err().unwrap_or(Errno::EALREADY)
    }

    #[test]
    fn a_child_execs_or_dies_or_tells_why_not() {
        for way in WAYS {
            let ended = |pid| waitpid(pid, None).unwrap();
            let pid = way(succeed).unwrap();
            assert_eq!(ended(pid), WaitStatus::Exited(pid, 0));
            let pid = way(die).unwrap();
            assert_eq!(ended(pid), WaitStatus::Signaled(pid, Signal::SIGKILL, false));
            let refused = way(|| Errno::ETXTBSY).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ETXTBSY));
        }
    }
}
