//! Who brings jobs in: push or poll, never both.
//!
//! Pure: the driver in [`crate::runtime::ingress`] hands in time (since the start), events and a random
//! number, and does what [`Feed::due`] says. While push is in charge a slow safety reconcile still runs,
//! because a channel that says nothing cannot be told from one that lost something.

use std::time::Duration;

/// Longest time between two reconciles.
pub const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// How much earlier jitter may bring one.
const JITTER: Duration = Duration::from_secs(1);
/// How long freed slots are collected before more rows are asked for.
const GATHER: Duration = Duration::from_millis(8);
/// The control plane may ask for a longer wait, up to this.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(60);
/// First retry after a failed reconcile; the usual interval follows.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// Test switches; both are on in earnest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Whether queued rows may be asked for.
    pub polling: bool,
    /// Whether the Realtime channel is used.
    pub realtime: bool,
}

/// Who holds the baton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The channel brings jobs. `joined` once the server confirmed that changes flow.
    Push {
        /// The server confirmed the change feed.
        joined: bool,
    },
    /// Queries bring jobs until the channel recovers.
    Poll,
    /// Nobody: the session is unusable.
    Paused,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The channel was joined.
    Subscribed,
    /// The server confirmed that changes flow.
    SystemOk,
    /// The channel is gone.
    PushLost,
    /// The session became unusable.
    Pause,
    /// The session is usable again.
    Resume,
    /// No new jobs any more; cancels are still wanted.
    Drain,
    /// The queue had no room for a pushed job.
    Refused,
    /// A slot or a lane became free.
    SlotFreed,
    /// The channel says that it could not deliver a row.
    Missed,
}

/// Which queries to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Queued cancel rows: always, whatever the slots say.
    pub cancels: bool,
    /// Queued job rows.
    pub jobs: bool,
    /// State of the rows running here.
    pub statuses: bool,
}

/// What came of the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All answered. `more` when rows are known to wait for a slot or lane.
    Done {
        /// Rows wait for a free slot or lane.
        more: bool,
    },
    /// Something failed.
    Failed {
        /// The control plane asked not to be asked earlier.
        after: Option<Duration>,
    },
}

/// The baton.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts; a state per combination would say less"
)]
pub struct Feed {
    switches: Switches,
    slots: usize,
    mode: Mode,
    accepting: bool,
    next_reconcile: Duration,
    in_flight: Option<Due>,
    /// A reason to reconcile came up while one was travelling.
    again: bool,
    /// Rows are known, or suspected, to wait for a slot.
    more: bool,
    /// A pushed job was refused: later pushes would overtake it.
    overflow: bool,
    freed_at: Option<Duration>,
    failures: u32,
}

impl Feed {
    /// A feed that polls at once and waits for the channel.
    #[must_use]
    pub const fn new(switches: Switches, slots: usize, now: Duration) -> Self {
        Self {
            switches,
            slots,
            mode: Mode::Poll,
            accepting: true,
            next_reconcile: now,
            in_flight: None,
            again: false,
            more: false,
            overflow: false,
            freed_at: None,
            failures: 0,
        }
    }

    /// Who is in charge.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether pushed jobs are to be queued. Not while an earlier one was refused: the query keeps the order.
    #[must_use]
    pub fn accepts_push(&self) -> bool {
        let in_charge = match self.mode {
            Mode::Push { .. } => true,
            Mode::Poll | Mode::Paused => false,
        };
        in_charge && self.accepting && !(self.overflow && self.switches.polling)
    }

    /// Takes note of an event.
    pub fn on(&mut self, now: Duration, event: Event) {
        match event {
            Event::Subscribed => self.joined(now, false),
            Event::SystemOk => self.joined(now, true),
            Event::PushLost => self.lost(now),
            Event::Pause => self.mode = Mode::Paused,
            Event::Resume => {
                self.mode = Mode::Poll;
                self.hurry(now);
            }
            Event::Drain => {
                self.accepting = false;
                self.more = false;
            }
            Event::Refused => {
                self.more = true;
                self.overflow = true;
            }
            Event::SlotFreed => {
                self.freed_at.get_or_insert(now);
            }
            Event::Missed => self.hurry(now),
        }
    }

    /// The queries to send now, if any; they count as travelling until [`Self::finished`].
    pub fn due(&mut self, now: Duration, free: usize) -> Option<Due> {
        if self.wake_at(free)? > now {
            return None;
        }
        let jobs_wanted = self.accepting && self.switches.polling;
        let due = if self.next_reconcile <= now {
            // Without a free slot there is nothing to ask for; whatever waits is asked for when one frees.
            self.more |= jobs_wanted && free == 0;
            Due {
                cancels: self.switches.polling,
                jobs: jobs_wanted && free > 0,
                statuses: true,
            }
        } else {
            Due {
                jobs: true,
                ..Due::default()
            }
        };
        self.in_flight = Some(due);
        self.freed_at = None;
        Some(due)
    }

    /// The queries were answered or failed. `random` in `0.0..1.0` spreads the next ones.
    pub fn finished(&mut self, now: Duration, outcome: Outcome, random: f64) {
        let Some(due) = self.in_flight.take() else { return };
        let spread = JITTER.mul_f64(random.clamp(0.0, 1.0));
        match outcome {
            Outcome::Done { more } => {
                self.failures = 0;
                if due.jobs {
                    self.more = more && self.accepting;
                    self.overflow &= more;
                }
            }
            Outcome::Failed { .. } => self.failures = self.failures.saturating_add(1),
        }
        if due.statuses || self.failures > 0 {
            let wait = if self.failures == 1 {
                FIRST_RETRY
            } else {
                RECONCILE_EVERY
            };
            self.next_reconcile = now + wait.saturating_sub(spread);
        }
        if let Outcome::Failed { after: Some(after) } = outcome {
            self.next_reconcile = self.next_reconcile.max(now + after.min(MAX_ASKED_WAIT) + spread);
        }
        if std::mem::take(&mut self.again) && self.failures == 0 {
            self.next_reconcile = now;
        }
    }

    /// When [`Self::due`] is worth asking again; `None` until an answer or event arrives.
    #[must_use]
    pub fn wake_at(&self, free: usize) -> Option<Duration> {
        if self.mode == Mode::Paused || self.in_flight.is_some() {
            return None;
        }
        let backlog = self.more && self.accepting && self.switches.polling && self.failures == 0 && free > 0;
        match self.freed_at {
            Some(at) if backlog => {
                let gathered = if free * 2 >= self.slots { at } else { at + GATHER };
                Some(self.next_reconcile.min(gathered))
            }
            Some(_) | None => Some(self.next_reconcile),
        }
    }

    fn joined(&mut self, now: Duration, confirmed: bool) {
        match self.mode {
            Mode::Paused => {}
            Mode::Push { joined } => {
                self.mode = Mode::Push {
                    joined: joined || confirmed,
                };
                self.hurry(now);
            }
            Mode::Poll => {
                self.mode = Mode::Push { joined: confirmed };
                self.hurry(now);
            }
        }
    }

    fn lost(&mut self, now: Duration) {
        if let Mode::Push { .. } = self.mode {
            self.mode = Mode::Poll;
            self.hurry(now);
        }
    }

    fn hurry(&mut self, now: Duration) {
        if self.in_flight.is_some() {
            self.again = true;
        } else {
            self.next_reconcile = self.next_reconcile.min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ON: Switches = Switches {
        polling: true,
        realtime: true,
    };
    const DONE: Outcome = Outcome::Done { more: false };
    const WHOLE: Due = Due {
        cancels: true,
        jobs: true,
        statuses: true,
    };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn polls_at_once_then_within_five_seconds() {
        let mut feed = Feed::new(ON, 10, at(0));
        assert_eq!(feed.due(at(0), 10), Some(WHOLE));
        assert_eq!(feed.due(at(9_000), 10), None, "one at a time");
        feed.finished(at(10), DONE, 0.25);
        assert_eq!(feed.wake_at(10), Some(at(4_760)));
    }

    #[test]
    fn a_join_takes_the_baton_and_reconciles_twice() {
        let mut feed = Feed::new(ON, 10, at(0));
        assert!(feed.due(at(0), 10).is_some() && !feed.accepts_push());
        feed.on(at(1), Event::Subscribed);
        assert!(feed.accepts_push());
        feed.finished(at(2), DONE, 0.0);
        assert_eq!(feed.due(at(2), 10), Some(WHOLE), "what came before the join");
        feed.finished(at(3), DONE, 0.0);
        feed.on(at(40), Event::SystemOk);
        assert_eq!(feed.mode(), Mode::Push { joined: true });
        assert_eq!(feed.due(at(40), 10), Some(WHOLE), "what came before changes flowed");
        feed.finished(at(41), DONE, 0.0);
        feed.on(at(50), Event::PushLost);
        assert!(!feed.accepts_push());
        assert_eq!(feed.due(at(50), 10), Some(WHOLE), "the baton goes back with a query");
    }

    #[test]
    fn full_slots_still_ask_for_cancels_and_ask_for_jobs_when_one_frees() {
        let mut feed = Feed::new(ON, 4, at(0));
        let full = Due { jobs: false, ..WHOLE };
        assert_eq!(feed.due(at(0), 0), Some(full));
        feed.finished(at(5), DONE, 0.0);
        feed.on(at(100), Event::SlotFreed);
        assert_eq!(feed.wake_at(1), Some(at(100) + GATHER));
        assert_eq!(
            feed.wake_at(2),
            Some(at(100)),
            "half of the slots is worth a query at once"
        );
        let only_jobs = Due {
            jobs: true,
            ..Due::default()
        };
        assert_eq!(feed.due(at(120), 1), Some(only_jobs));
        feed.finished(at(121), DONE, 0.0);
        feed.on(at(122), Event::SlotFreed);
        assert_eq!(feed.wake_at(4), Some(at(5_005)), "nothing waits any more");
    }

    #[test]
    fn a_refused_push_closes_the_door_until_the_backlog_is_read() {
        let mut feed = Feed::new(ON, 4, at(0));
        feed.on(at(0), Event::Subscribed);
        assert!(feed.due(at(0), 4).is_some());
        feed.finished(at(1), DONE, 0.0);
        feed.on(at(2), Event::Refused);
        assert!(!feed.accepts_push());
        feed.on(at(3), Event::SlotFreed);
        assert!(feed.due(at(20), 1).is_some());
        feed.finished(at(21), Outcome::Done { more: true }, 0.0);
        assert!(!feed.accepts_push());
        feed.on(at(22), Event::SlotFreed);
        assert!(feed.due(at(40), 1).is_some());
        feed.finished(at(41), DONE, 0.0);
        assert!(feed.accepts_push());
    }

    #[test]
    fn draining_asks_for_cancels_only_and_a_pause_for_nothing() {
        let mut feed = Feed::new(ON, 4, at(0));
        feed.on(at(0), Event::Drain);
        assert_eq!(feed.due(at(0), 4), Some(Due { jobs: false, ..WHOLE }));
        feed.finished(at(1), DONE, 0.0);
        feed.on(at(2), Event::Pause);
        assert_eq!(feed.wake_at(4), None);
        feed.on(at(3), Event::Resume);
        assert_eq!(feed.wake_at(4), Some(at(3)));
    }

    #[test]
    fn without_polling_only_running_rows_are_asked_about() {
        let off = Switches { polling: false, ..ON };
        let mut feed = Feed::new(off, 4, at(0));
        let due = Due {
            statuses: true,
            ..Due::default()
        };
        assert_eq!(feed.due(at(0), 4), Some(due));
        feed.on(at(0), Event::Subscribed);
        feed.on(at(0), Event::Refused);
        assert!(feed.accepts_push(), "nobody else would bring them");
    }

    #[test]
    fn failures_are_retried_soon_once_and_then_at_the_usual_pace() {
        let mut feed = Feed::new(ON, 4, at(0));
        let mut asked = Vec::new();
        for _ in 0..4 {
            let now = feed.wake_at(4).unwrap();
            asked.push(now.as_millis());
            assert!(feed.due(now, 4).is_some());
            feed.on(now, Event::SlotFreed);
            feed.on(now, Event::Refused);
            feed.finished(now, Outcome::Failed { after: None }, 0.0);
        }
        assert_eq!(asked, [0, 2_000, 7_000, 12_000]);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_within_a_bound() {
        for (asked, waited) in [(20_000, 20_000), (900_000, 60_000)] {
            let mut feed = Feed::new(ON, 4, at(0));
            assert!(feed.due(at(0), 4).is_some());
            let after = Some(at(asked));
            feed.finished(at(0), Outcome::Failed { after }, 0.0);
            assert_eq!(feed.wake_at(4), Some(at(waited)));
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Event(u8),
        Answer(bool, bool),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8_u8).prop_map(Step::Event),
            any::<(bool, bool)>().prop_map(|(ok, more)| Step::Answer(ok, more)),
            (0..3_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens: unless paused or travelling, the next reconcile is at most five seconds away,
        /// and push is accepted only while it holds the baton.
        #[test]
        fn a_reconcile_is_never_far(steps in proptest::collection::vec(step(), 0..200), random in 0.0..1.0_f64) {
            let events = [Event::Subscribed, Event::SystemOk, Event::PushLost, Event::Pause, Event::Resume,
                Event::Refused, Event::SlotFreed, Event::SlotFreed];
            let (mut feed, mut now) = (Feed::new(ON, 4, at(0)), at(0));
            for step in steps {
                match step {
                    Step::Event(n) => feed.on(now, events[usize::from(n)]),
                    Step::Answer(ok, more) => feed.finished(now, if ok { Outcome::Done { more } } else { Outcome::Failed { after: None } }, random),
                    Step::Wait(ms) => {
                        let end = now + at(ms);
                        while let Some(wake) = feed.wake_at(2).filter(|wake| *wake <= end) {
                            now = now.max(wake);
                            let due = feed.due(now, 2);
                            prop_assert!(due.is_some(), "a wake-up does something");
                        }
                        now = end;
                    }
                }
                if let Some(wake) = feed.wake_at(2) {
                    prop_assert!(wake <= now + RECONCILE_EVERY);
                }
                if feed.accepts_push() {
                    let push = matches!(feed.mode(), Mode::Push { .. });
                    prop_assert!(push);
                }
            }
        }
    }
}
