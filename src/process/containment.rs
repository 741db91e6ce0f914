//! What holds the processes of a job together: on this host, and for one job, in words for people.

use std::path::Path;

use serde_json::{Map, Value};

use crate::process::mark::Swept;
use crate::process::{cgroup, guardian};
use crate::wire::local::Containment;

/// What ends with a job, whatever it does to hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Everything that it started.
    Cgroup,
    /// What stayed in its process group, and what kept its environment.
    GroupAndMark,
    /// What stayed in its process group.
    Group,
}

impl Method {
    /// The best there is without a cgroup.
    pub(super) const WITHOUT_CGROUP: Self = if cfg!(target_os = "linux") {
        Self::GroupAndMark
    } else {
        Self::Group
    };

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::GroupAndMark => "process group and mark",
            Self::Group => "process group",
        }
    }
}

/// How well one job was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What held it.
    pub by: Method,
    /// Processes that were to end and did not.
    pub survivors: usize,
}

impl Held {
    /// For the job's row.
    #[must_use]
    pub fn members(self) -> Map<String, Value> {
        let survivors = (self.survivors > 0).then(|| ("survivors".to_owned(), self.survivors.into()));
        let method = ("method".to_owned(), self.by.as_str().into());
        std::iter::once(method).chain(survivors).collect()
    }
}

/// What is active in this process. A daemon's is its own: a command started elsewhere may be in another cgroup.
#[must_use]
pub fn current() -> Containment {
    let tree = cgroup::tree();
    let method = if tree.is_ok() {
        Method::Cgroup
    } else {
        Method::WITHOUT_CGROUP
    };
    Containment {
        method: method.as_str().to_owned(),
        cgroup: tree.ok().map(|tree| tree.display().to_string()),
        reason: tree.err().map(str::to_owned),
        guardian: guardian::pid(),
    }
}

/// Ends whatever is in the cgroup that an earlier daemon made for a job.
pub async fn end_of_earlier(cgroup: &Path, job: &str) {
    let swept = cgroup::end_of_earlier(cgroup, job).await;
    if swept != Swept::default() {
        tracing::info!(
            job,
            found = swept.found.len(),
            survivors = swept.survivors.len(),
            "Ended what a job had left running"
        );
    }
}

/// Takes away the cgroups of jobs in which nobody is any more.
pub fn tidy() {
    cgroup::tidy();
}
