//! What holds the processes of a job together on this host, in words for people.

use crate::process::{cgroup, guardian};
use crate::wire::local::Containment;

/// What is active in this process. A daemon's is its own: a command started elsewhere may be in another cgroup.
#[must_use]
pub fn current() -> Containment {
    let tree = cgroup::tree();
    let otherwise = if cfg!(target_os = "linux") {
        "process group and mark"
    } else {
        "process group"
    };
    Containment {
        method: if tree.is_ok() { "cgroup" } else { otherwise }.to_owned(),
        cgroup: tree.ok().map(|tree| tree.display().to_string()),
        reason: tree.err().map(str::to_owned),
        guardian: guardian::pid(),
    }
}

/// Takes away the cgroups of jobs in which nobody is any more.
pub fn tidy() {
    cgroup::tidy();
}
