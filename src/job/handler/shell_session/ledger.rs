//! Which sessions run, on disk: what a killed daemon leaves behind is found by these marks at the next start.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::process::mark;
use crate::state::fs::OwnerDir;

const FILE: &str = "shell-sessions.json";

/// The marks of the running sessions.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Without a directory nothing is remembered.
    dir: Option<Arc<OwnerDir>>,
    marks: Mutex<BTreeSet<String>>,
}

impl Ledger {
    pub(super) fn in_dir(dir: Arc<OwnerDir>) -> Self {
        Self {
            dir: Some(dir),
            marks: Mutex::default(),
        }
    }

    pub(super) fn add(&self, mark: &str) {
        self.change(|marks| marks.insert(mark.to_owned()));
    }

    pub(super) fn remove(&self, mark: &str) {
        self.change(|marks| marks.remove(mark));
    }

    /// Kills what the sessions of an earlier run left, and forgets them.
    pub(super) async fn end_leftovers(&self) {
        let Some(dir) = &self.dir else { return };
        let left = match dir.read(FILE) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => return warn!(%error, "Failed to read which shell sessions an earlier run had"),
        };
        // A damaged file says nothing; what it said is lost.
        let left: Vec<String> = serde_json::from_slice(&left).unwrap_or_default();
        if left.is_empty() {
            return;
        }
        let killed = mark::kill_marked(&left.iter().map(String::as_str).collect::<HashSet<_>>()).await;
        info!(
            sessions = left.len(),
            killed = killed.found.len(),
            "Ended the shell sessions of an earlier run"
        );
        self.change(|_| true);
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(dir) = self.dir.as_ref().filter(|_| change(&mut marks)) else {
            return;
        };
        let written = serde_json::to_vec(&*marks)
            .map_err(|error| error.to_string())
            .and_then(|text| dir.replace(FILE, &text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            warn!(error, "Failed to note the running shell sessions");
        }
    }
}
