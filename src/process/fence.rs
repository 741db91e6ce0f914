//! What holds the processes of one job together beside their group: a cgroup, where there is one.

use std::process::Command;

use crate::process::cgroup::{self, Leaf};
use crate::process::env::ChildEnv;
use crate::process::mark;

/// Around one child of a job. Dropped closed, it ends all that is inside.
#[derive(Debug, Default)]
pub(super) struct Fence(Option<Inside>);

#[derive(Debug)]
struct Inside {
    job: String,
    leaf: Leaf,
}

impl Fence {
    /// Around whatever runs with this environment; nothing where it carries no mark.
    pub(super) fn around(env: &ChildEnv) -> Self {
        let job = env.get(mark::NAME).and_then(|mark| mark.to_str());
        Self(job.and_then(|job| {
            let leaf = Leaf::of(job)?;
            Some(Inside {
                job: job.to_owned(),
                leaf,
            })
        }))
    }

    /// Has the command start inside.
    pub(super) fn admit(&self, command: &mut Command) {
        if let Some(inside) = &self.0 {
            inside.leaf.admit(command);
        }
    }

    /// Ends all that is inside, and waits until it is gone.
    pub(super) async fn end(&mut self) {
        if let Some(inside) = &self.0 {
            cgroup::end([inside.job.as_str()]).await;
        }
        self.0 = None;
    }

    /// The child has ended by itself: what it left behind may go on.
    pub(super) fn open(&mut self) {
        if let Some(inside) = self.0.take() {
            inside.leaf.remove();
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if let Some(inside) = &self.0 {
            inside.leaf.kill();
            inside.leaf.remove();
        }
    }
}
