//! No descriptor of ours beyond 0-2 reaches a child.

use nix::libc;

/// Descriptors from here on are ours alone.
const FIRST_PRIVATE: libc::c_uint = 3;

/// Marks every descriptor beyond 0-2 close-on-exec.
///
/// Everything this process opens is so already. What is not: descriptors our own parent left open, and whatever
/// a library opened carelessly; so this runs before every spawn.
pub(in crate::process) fn keep_from_children() {
    #[cfg(target_os = "linux")]
    if mark_range() {
        return;
    }
    mark_one_by_one();
}

/// One call for all of them; false on a kernel that does not know it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe wrapper for close_range")]
fn mark_range() -> bool {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing and touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_PRIVATE,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    result == 0
}

fn mark_one_by_one() {
    let Ok(listing) = std::fs::read_dir("/dev/fd") else {
        return;
    };
    let numbers: Vec<libc::c_int> = listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| u32::try_from(*number).is_ok_and(|number| number >= FIRST_PRIVATE))
        .collect();
    for number in numbers {
        mark(number);
    }
}

#[expect(
    unsafe_code,
    reason = "the safe wrapper wants a borrowed descriptor; all there is here is its number"
)]
fn mark(number: libc::c_int) {
    // SAFETY: F_SETFD takes an integer and touches no memory. A number that was closed meanwhile gives EBADF, which
    // is no loss, so the result does not matter.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    fn leaky() -> OwnedFd {
        let (fd, _other) = nix::unistd::pipe().unwrap();
        assert_eq!(flags(&fd), FdFlag::empty());
        fd
    }

    fn flags(fd: &OwnedFd) -> FdFlag {
        FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap())
    }

    #[test]
    fn an_inheritable_descriptor_is_marked() {
        let fd = leaky();
        keep_from_children();
        assert_eq!(flags(&fd), FdFlag::FD_CLOEXEC);
    }

    #[test]
    fn the_slow_way_marks_too() {
        let fd = leaky();
        assert!(fd.as_raw_fd() > 2);
        mark_one_by_one();
        assert_eq!(flags(&fd), FdFlag::FD_CLOEXEC);
    }
}
