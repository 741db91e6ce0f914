//! Processes that tests follow by their number.

use std::path::Path;

use nix::unistd::Pid;

use super::eventually::eventually;

/// The pid a command wrote into `file`.
pub(crate) async fn pid_in(file: &Path) -> Pid {
    eventually("a pid to be written", || async {
        let text = std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?;
        text.trim().parse().ok().map(Pid::from_raw)
    })
    .await
}

/// Waits until it is gone, or a zombie.
pub(crate) async fn gone(pid: Pid) {
    eventually("a process to be gone", || async { (!lives(pid)).then_some(()) }).await;
}

/// Whether it runs: neither gone nor a zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(stat.is_empty() || stat.contains(") Z "))
}
