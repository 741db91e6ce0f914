//! One turn of a session at a time: two at once would lose one of them without a word.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// Turns of one session that may wait for another.
const MAX_WAITING: usize = 8;

/// Sessions in use.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<Lock<()>>>>);

/// Too many turns of the session wait already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} turns of session {0} are waiting already")]
pub(super) struct Crowded(String);

impl Turns {
    /// Waits until no other turn of the session is at work; the turn lasts as long as what is returned.
    pub(super) async fn enter(&self, session: &str) -> Result<OwnedMutexGuard<()>, Crowded> {
        let lock = {
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Held by nobody but this map: nobody's turn.
            sessions.retain(|_, lock| Arc::strong_count(lock) > 1);
            let lock = sessions.entry(session.to_owned()).or_default();
            // The map, the turn at work, and those who wait for it.
            if Arc::strong_count(lock) > MAX_WAITING + 1 {
                return Err(Crowded(session.to_owned()));
            }
            Arc::clone(lock)
        };
        Ok(lock.lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn turns_of_one_session_follow_each_other_and_others_do_not_wait() {
        let turns = Turns::default();
        let first = turns.enter("a").await.unwrap();
        let mut second = Box::pin(turns.enter("a"));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.enter("b").now_or_never().is_some());
        drop(first);
        drop(second.await.unwrap());
        assert_eq!(turns.0.lock().unwrap().len(), 2);
        drop(turns.enter("c").await.unwrap());
        assert_eq!(turns.0.lock().unwrap().len(), 1, "ended turns are forgotten");
    }

    #[tokio::test]
    async fn a_crowd_is_turned_away() {
        let turns = Turns::default();
        let _first = turns.enter("a").await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(turns.enter("a"))).collect();
        for turn in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        assert_eq!(turns.enter("a").await.unwrap_err(), Crowded("a".to_owned()));
    }
}
