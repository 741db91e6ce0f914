//! What holds the processes of one job together beside their group: a cgroup, where there is one, and the guardian,
//! which ends them should we be killed.

use std::fs::File;
use std::io;

use crate::process::cgroup::{self, Leaf};
use crate::process::containment::Method;
use crate::process::env::ChildEnv;
use crate::process::failure;
use crate::process::guardian;
use crate::process::hold::Begun;
use crate::process::identity::ProcessIdentity;
use crate::process::mark;

/// Around one child of a job. Dropped closed, it ends all that is inside.
#[derive(Debug)]
pub(super) struct Fence(Option<Inside>);

#[derive(Debug)]
struct Inside {
    job: String,
    leaf: Option<Leaf>,
    /// A child is, or was, inside.
    is_used: bool,
}

impl Fence {
    /// Around whatever runs with this environment; nothing where it carries no mark.
    pub(super) fn around(env: &ChildEnv) -> Self {
        let job = env.get(mark::NAME).and_then(|mark| mark.to_str());
        Self(job.filter(|job| cgroup::is_plain(job)).map(|job| {
            guardian::watch(job, None);
            Inside {
                job: job.to_owned(),
                leaf: Leaf::of(job),
                is_used: false,
            }
        }))
    }

    /// Where the child joins its cgroup, if there is one.
    ///
    /// # Errors
    /// A shortage: later it may be held as it should be.
    pub(super) fn door(&self) -> io::Result<Option<File>> {
        let leaf = self.0.as_ref().and_then(|inside| inside.leaf.as_ref());
        match leaf.map(Leaf::door).transpose() {
            Err(error) if !failure::is_shortage(&error) => {
                tracing::warn!(%error, "A job cannot join its cgroup");
                Ok(None)
            }
            door => door,
        }
    }

    /// The child is there, and has not begun; tells what holds it. It may have been refused by its cgroup.
    pub(super) fn holds(&mut self, child: ProcessIdentity) -> Begun {
        let begun = |held_by, cgroup| Begun {
            process: child,
            held_by,
            cgroup,
        };
        // Nothing has its mark.
        let Some(inside) = &mut self.0 else {
            return begun(Method::Group, None);
        };
        inside.is_used = true;
        guardian::watch(&inside.job, Some(child));
        match inside.leaf.as_ref().filter(|leaf| leaf.has(child)) {
            Some(leaf) => begun(Method::Cgroup, Some(leaf.path().to_owned())),
            None => begun(Method::WITHOUT_CGROUP, None),
        }
    }

    /// Ends all that is inside, and waits until it is gone.
    pub(super) async fn end(&mut self) {
        if let Some(inside) = &self.0 {
            cgroup::end([inside.job.as_str()]).await;
            guardian::forget(&inside.job);
        }
        self.0 = None;
    }

    /// The child has ended by itself: what it left behind may go on.
    pub(super) fn open(&mut self) {
        if let Some(inside) = self.0.take() {
            guardian::forget(&inside.job);
            // Unless something was left.
            let _left_something = inside.leaf.is_some_and(|leaf| !leaf.remove());
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        let Some(inside) = &self.0 else { return };
        if let Some(leaf) = inside.leaf.as_ref().filter(|leaf| !leaf.remove()) {
            leaf.kill();
            leaf.remove();
        }
        // Who left the group and is in no cgroup may be alive: the guardian looks for the mark when we are gone.
        if !inside.is_used {
            guardian::forget(&inside.job);
        }
    }
}
