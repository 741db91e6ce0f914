//! Processes that do what they can to stay.

use nix::unistd::Pid;

use crate::matrix::scene::Scene;
use crate::support::pids::{gone, lives, pid_in};

/// A leader that is deaf to polite signals, a child that holds its output, one in a session of its own, and one that
/// forked twice, left its session and cleared its environment.
pub(super) const SCRIPT: &str = r#"trap '' TERM HUP
echo $$ >"$here/leader"
sleep 600 & echo $! >"$here/member"
setsid sh -c 'echo $$ >"$0"; exec sleep 600' "$here/outside" &
( setsid env -i /bin/sh -c 'trap "" TERM HUP; echo $$ >"$0"; exec sleep 600' "$here/hidden" </dev/null >/dev/null 2>&1 & )
wait"#;

/// The processes of one [`SCRIPT`].
#[derive(Debug)]
pub(super) struct Family {
    members: Vec<Pid>,
    /// The one with no environment, where such a one cannot be found.
    hidden: Option<Pid>,
}

impl Family {
    /// Waits until all of them are there.
    pub(super) async fn born(scene: &Scene) -> Self {
        let mut members = Vec::new();
        for name in ["leader", "member", "outside", "hidden"] {
            members.push(pid_in(&scene.path(name)).await);
        }
        let hidden = if cfg!(target_os = "linux") { None } else { members.pop() };
        Self { members, hidden }
    }

    /// Waits until none is left that can be held here; one that cannot is ended by the test.
    pub(super) async fn gone(self) {
        for pid in &self.members {
            gone(*pid).await;
        }
        if let Some(hidden) = self.hidden {
            nix::sys::signal::kill(hidden, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }

    /// Whether none is left that can be held here.
    pub(super) fn is_gone(&self) -> bool {
        self.members.iter().all(|pid| !lives(*pid))
    }
}
