//! Joining a cgroup between fork and exec.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Has the command become a member of the cgroup whose `cgroup.procs` this is, before it runs.
///
/// The hook costs the cheap way of spawning. Nothing cheaper is tight: a parent that moves a child which runs already
/// misses what it has started by then.
#[expect(unsafe_code, reason = "the child has to move itself between fork and exec")]
pub(in crate::process) fn join_first(command: &mut Command, members: File) {
    let join = move || {
        // A child that is refused runs all the same; group and mark hold it.
        let _refused = nix::unistd::write(&members, b"0").is_err();
        Ok(())
    };
    // SAFETY: the closure makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(join) };
}
