//! Requests while the control plane is away: one after the other, however many callers try again.

use std::pin::pin;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until, timeout};

/// So many failures in a row, of whatever requests, are an outage.
const SURE_AFTER: u32 = 2;
/// Between two requests of an outage, give or take a quarter.
const EVERY: Duration = Duration::from_secs(2);
/// How long a request stands in line.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the control plane is away, and the line of those who would like to know.
#[derive(Debug)]
pub(super) struct Outage {
    failures: StdMutex<u32>,
    /// When the first in line may go.
    next: Mutex<Instant>,
    over: Notify,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            failures: StdMutex::new(0),
            next: Mutex::new(Instant::now()),
            over: Notify::new(),
        }
    }

    /// Waits for a request's turn; false when it did not come in time.
    pub(super) async fn turn(&self) -> bool {
        let mut over = pin!(self.over.notified());
        over.as_mut().enable();
        if !self.is_on() {
            return true;
        }
        let first = async {
            let mut next = self.next.lock().await;
            sleep_until(*next).await;
            *next = Instant::now() + EVERY.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        };
        let turn = async {
            tokio::select! {
                () = over => {}
                () = first => {}
            }
        };
        timeout(PATIENCE, turn).await.is_ok()
    }

    /// How a request went: the first one that is answered ends the outage for all.
    pub(super) fn learn(&self, failed: bool) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures = if failed { failures.saturating_add(1) } else { 0 };
        if !failed {
            self.over.notify_waiters();
        }
    }

    /// Whether this is one.
    pub(super) fn is_on(&self) -> bool {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) >= SURE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn away() -> Outage {
        let outage = Outage::new();
        (0..SURE_AFTER).for_each(|_| outage.learn(true));
        outage
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_no_outage() {
        let (outage, began) = (Outage::new(), Instant::now());
        outage.learn(true);
        assert!(join_all((0..9).map(|_| outage.turn())).await.iter().all(|turn| *turn));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_outage_requests_go_one_by_one_and_some_give_up() {
        let (outage, began) = (away(), Instant::now());
        let turns = join_all((0..30).map(|_| outage.turn())).await;
        let went = turns.iter().filter(|went| **went).count();
        assert!((8..=14).contains(&went), "{went} in {PATIENCE:?}");
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(outage.turn().await, "who gave up is not in the way");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_frees_everybody() {
        let (outage, began) = (away(), Instant::now());
        let first = async {
            assert!(outage.turn().await);
            outage.learn(false);
        };
        let ((), turns) = tokio::join!(first, join_all((0..30).map(|_| outage.turn())));
        assert!(turns.iter().all(|turn| *turn));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
