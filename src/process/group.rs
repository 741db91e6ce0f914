//! Signals to a whole process group.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};

use crate::process::identity::stat_in;

/// First and longest pause between two looks at a group that should be empty.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(4);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long a group may take to vanish after the final signal. A process in uninterruptible sleep takes longer; its
/// owner goes on without it.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(2);

/// Ends every member: politely, and after `grace` finally. True when the final signal was needed.
///
/// The leader must not be reaped meanwhile: its number is what keeps the group's number from being given away.
pub(super) async fn end(pgid: Pid, grace: Duration) -> bool {
    signal(pgid, Signal::SIGTERM);
    // A stopped process would not see the polite signal.
    signal(pgid, Signal::SIGCONT);
    if timeout(grace, emptied(pgid, None)).await.is_ok() {
        return false;
    }
    if timeout(KILL_DEADLINE, emptied(pgid, Some(Signal::SIGKILL)))
        .await
        .is_err()
    {
        tracing::warn!(%pgid, "processes survive SIGKILL, going on without them");
    }
    true
}

/// Ends every member at once.
pub(super) fn kill(pgid: Pid) {
    signal(pgid, Signal::SIGKILL);
}

/// Returns when no member is alive; sends `also` before every look.
async fn emptied(pgid: Pid, also: Option<Signal>) {
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(also) = also {
            signal(pgid, also);
        }
        if !has_live_members(pgid) {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Signals every member.
pub(super) fn signal(pgid: Pid, signal: Signal) {
    match killpg(pgid, signal) {
        // ESRCH: nobody left. EPERM: only members of another user or, on macOS, only zombies.
        Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
        Err(error) => tracing::warn!(%pgid, %signal, %error, "could not signal a process group"),
    }
}

/// Zombies do not count: the leader is one until its owner awaits it, and in a container without a reaping init the
/// others stay for good. On macOS a group of nothing but zombies answers EPERM. On Linux only `/proc` tells them
/// apart, hence a look at every process; it happens a few times per stopped job and never for one that ends by itself.
fn has_live_members(pgid: Pid) -> bool {
    let answer = killpg(pgid, None);
    if cfg!(target_os = "linux") {
        answer != Err(Errno::ESRCH) && is_listed_alive(pgid)
    } else {
        answer.is_ok()
    }
}

fn is_listed_alive(pgid: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    processes.flatten().any(|entry| {
        let numeric = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        numeric && stat_in(&entry.path()).is_some_and(|stat| stat.pgid == pgid.as_raw() && !stat.is_dead())
    })
}
