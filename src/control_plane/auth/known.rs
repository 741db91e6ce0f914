//! A short memory of who was found good or revoked, so that a burst of requests asks the store once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::control_plane::claims::Claims;

/// Most credentials remembered; beyond that everything is forgotten, which costs one query each.
const MAX_ENTRIES: usize = 10_000;

/// Verdicts by session id or token hash; `None` is a bad one.
#[derive(Debug)]
pub(super) struct Known {
    memory: Duration,
    entries: Mutex<HashMap<String, (Instant, Option<Claims>)>>,
}

impl Known {
    pub(super) fn new(memory: Duration) -> Self {
        Self {
            memory,
            entries: Mutex::default(),
        }
    }

    /// The verdict, if it is fresh.
    pub(super) fn get(&self, key: &str) -> Option<Option<Claims>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, verdict) = entries.get(key)?;
        (at.elapsed() < self.memory).then(|| verdict.clone())
    }

    pub(super) fn put(&self, key: &str, verdict: Option<Claims>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key.to_owned(), (Instant::now(), verdict));
    }

    pub(super) fn forget(&self, key: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn verdicts_fade() {
        let known = Known::new(Duration::from_secs(2));
        known.put("good", Some(Claims::anon()));
        known.put("bad", None);
        assert_eq!(known.get("good"), Some(Some(Claims::anon())));
        assert_eq!(known.get("bad"), Some(None));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(known.get("good"), None);
        known.put("good", None);
        known.forget("good");
        assert_eq!(known.get("good"), None);
    }
}
