//! Requests while the control plane is away: one after the other, however many callers try again.

use std::pin::pin;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};
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
    heard: StdMutex<Heard>,
    /// When the first in line may go.
    next: Mutex<Instant>,
    over: Notify,
}

/// What the last answers say, or their absence.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    failures: u32,
    /// When the first of them was noticed.
    since: Option<Instant>,
    /// When the host asked to be asked again.
    not_before: Option<Instant>,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            heard: StdMutex::default(),
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
            while Instant::now() < self.due(*next) {
                sleep_until(self.due(*next)).await;
            }
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

    /// A request that was sent at `sent` was answered: that ends the outage for all, unless it was sent before.
    pub(super) fn answered(&self, sent: Instant) {
        let mut heard = self.heard();
        if heard.since.is_none_or(|since| since <= sent) {
            *heard = Heard::default();
            self.over.notify_waiters();
        }
    }

    /// A request failed; in an outage nobody asks before `rest` is over, if the host asked for one.
    pub(super) fn failed(&self, rest: Option<Duration>) {
        let mut heard = self.heard();
        heard.failures = heard.failures.saturating_add(1);
        heard.since.get_or_insert_with(Instant::now);
        heard.not_before = heard.not_before.max(rest.map(|rest| Instant::now() + rest));
    }

    /// Whether this is one.
    pub(super) fn is_on(&self) -> bool {
        self.heard().failures >= SURE_AFTER
    }

    /// When the first in line may go, whose turn it is at `next`.
    fn due(&self, next: Instant) -> Instant {
        self.heard().not_before.map_or(next, |at| at.max(next))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn away() -> Outage {
        let outage = Outage::new();
        (0..SURE_AFTER).for_each(|_| outage.failed(None));
        outage
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_no_outage() {
        let (outage, began) = (Outage::new(), Instant::now());
        outage.failed(Some(Duration::from_secs(10)));
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
    async fn a_host_that_asked_for_rest_is_asked_by_nobody_meanwhile() {
        let (outage, began) = (away(), Instant::now());
        assert!(outage.turn().await);
        let rest = Duration::from_secs(10);
        let says_so = async { outage.failed(Some(rest)) };
        let turns = (0..3).map(|_| async { (outage.turn().await, began.elapsed()) });
        let (turns, ()) = tokio::join!(join_all(turns), says_so);
        assert!(turns.iter().all(|(went, at)| *went && *at >= rest), "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_what_was_asked_before_says_nothing() {
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let outage = away();
        outage.answered(before);
        assert!(outage.is_on());
        outage.answered(Instant::now());
        assert!(!outage.is_on());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_frees_everybody() {
        let (outage, began) = (away(), Instant::now());
        let first = async {
            assert!(outage.turn().await);
            outage.answered(Instant::now());
        };
        let ((), turns) = tokio::join!(first, join_all((0..30).map(|_| outage.turn())));
        assert!(turns.iter().all(|turn| *turn));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
