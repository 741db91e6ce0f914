//! What holds the processes of one job together beside their group: a cgroup, where there is one, and the guardian,
//! which ends them should we be killed.

use std::process::Command;

use crate::process::cgroup::{self, Leaf};
use crate::process::containment::Method;
use crate::process::env::ChildEnv;
use crate::process::guardian;
use crate::process::identity::ProcessIdentity;
use crate::process::mark;

/// Around one child of a job. Dropped closed, it ends all that is inside.
#[derive(Debug)]
pub(super) struct Fence(Option<Inside>);

#[derive(Debug)]
struct Inside {
    job: String,
    leaf: Option<Leaf>,
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
            }
        }))
    }

    /// Has the command start inside; tells what holds it there.
    pub(super) fn admit(&self, command: &mut Command) -> Method {
        match self.leaf() {
            Some(leaf) if leaf.admit(command) => Method::Cgroup,
            // Nothing has its mark.
            None if self.0.is_none() => Method::Group,
            Some(_) | None => Method::WITHOUT_CGROUP,
        }
    }

    /// The child runs.
    pub(super) fn holds(&self, child: ProcessIdentity) {
        if let Some(inside) = &self.0 {
            guardian::watch(&inside.job, Some(child));
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
            if let Some(leaf) = inside.leaf {
                leaf.remove();
            }
        }
    }

    fn leaf(&self) -> Option<&Leaf> {
        self.0.as_ref()?.leaf.as_ref()
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if let Some(leaf) = self.leaf() {
            leaf.kill();
            leaf.remove();
        }
        if let Some(inside) = &self.0 {
            guardian::forget(&inside.job);
        }
    }
}
