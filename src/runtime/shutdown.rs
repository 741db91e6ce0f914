//! Phases of the end: `Running > Draining > Cancelling > Killing > Done`, and only forward.
//!
//! Pure: time since the start and the number of unfinished things are handed in.

use std::time::Duration;

use crate::wire::local::StopHow;

/// What a cancelled job may take: the longest ladder (2 s) and its clean-up.
const CANCEL_BOUND: Duration = Duration::from_secs(6);
/// What killing and a last report may take.
const KILL_BOUND: Duration = Duration::from_secs(4);
/// How long finished results may still be on their way when every job has ended; they stay in the journal.
const REPORT_BOUND: Duration = Duration::from_secs(5);

/// Where the daemon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes jobs.
    Running,
    /// Takes none; running ones may end.
    Draining,
    /// Running ones were told to stop.
    Cancelling,
    /// What is left is killed.
    Killing,
    /// Over.
    Done,
}

/// A wish to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM or SIGINT: the first drains, the second cancels, the third ends at once.
    Signal(&'static str),
    /// Through the local socket.
    Local(StopHow),
    /// A part of the daemon failed and the rest must not go on without it.
    Fault,
}

/// What is unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Jobs that run.
    pub running: usize,
    /// Results not yet confirmed.
    pub unreported: usize,
}

/// The machine.
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    until: Option<Duration>,
    grace: Duration,
    signals: u32,
    cause: Option<&'static str>,
    reason: Option<String>,
    idle_since: Option<Duration>,
    abandoned: bool,
}

impl Shutdown {
    /// A daemon that runs; `grace` is the drain bound of a signal.
    #[must_use]
    pub const fn new(grace: Duration) -> Self {
        Self {
            phase: Phase::Running,
            until: None,
            grace,
            signals: 0,
            cause: None,
            reason: None,
            idle_since: None,
            abandoned: false,
        }
    }

    /// Where we stand.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why we stop, in the words that cancelled jobs carry.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("Gateway shutting down")
    }

    /// The same in one word: a signal's name, `stop`, or `fault`.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self.cause {
            Some(cause) => cause,
            None => "end",
        }
    }

    /// Whether a third signal asked to leave everything as it is.
    #[must_use]
    pub const fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// Takes a wish. Phases only go forward, so a gentler wish changes nothing; a shorter drain does.
    pub fn wish(&mut self, now: Duration, wish: Wish) {
        let name = match wish {
            Wish::Signal(name) => name,
            Wish::Local(_) => "stop",
            Wish::Fault => "internal error",
        };
        if self.reason.is_none() {
            self.cause = Some(if wish == Wish::Fault { "fault" } else { name });
            self.reason = Some(format!("Gateway shutting down ({name})"));
        }
        match wish {
            Wish::Local(StopHow::Drain { grace_ms }) => self.drain(now, Duration::from_millis(grace_ms)),
            Wish::Local(StopHow::Now) | Wish::Fault => self.advance(now, Phase::Cancelling),
            Wish::Signal(_) => {
                self.signals += 1;
                match self.signals {
                    1 if self.phase < Phase::Draining => self.drain(now, self.grace),
                    1 | 2 => self.advance(now, Phase::Cancelling),
                    _ => {
                        self.abandoned = true;
                        self.advance(now, Phase::Done);
                    }
                }
            }
        }
    }

    /// Moves on when time is up or nothing is left.
    pub fn tick(&mut self, now: Duration, load: Load) {
        if self.phase == Phase::Running || self.phase == Phase::Done {
            return;
        }
        if load.running > 0 {
            self.idle_since = None;
        } else {
            let since = *self.idle_since.get_or_insert(now);
            if load.unreported == 0 || now >= since + REPORT_BOUND {
                self.advance(now, Phase::Done);
                return;
            }
        }
        if self.until.is_some_and(|until| now >= until) {
            let next = match self.phase {
                Phase::Running | Phase::Draining => Phase::Cancelling,
                Phase::Cancelling => Phase::Killing,
                Phase::Killing | Phase::Done => Phase::Done,
            };
            self.advance(now, next);
        }
    }

    /// When [`Self::tick`] has something to do even if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Running | Phase::Done => None,
            Phase::Draining | Phase::Cancelling | Phase::Killing => {
                let reports = self.idle_since.map(|since| since + REPORT_BOUND);
                [self.until, reports].into_iter().flatten().min()
            }
        }
    }

    fn drain(&mut self, now: Duration, grace: Duration) {
        let until = now.saturating_add(grace);
        if self.phase <= Phase::Draining {
            self.phase = Phase::Draining;
            self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
        }
    }

    fn advance(&mut self, now: Duration, to: Phase) {
        if to <= self.phase {
            return;
        }
        self.phase = to;
        self.until = match to {
            Phase::Cancelling => Some(now + CANCEL_BOUND),
            Phase::Killing => Some(now + KILL_BOUND),
            Phase::Running | Phase::Draining | Phase::Done => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUSY: Load = Load {
        running: 1,
        unreported: 0,
    };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn machine() -> Shutdown {
        Shutdown::new(Duration::from_secs(60))
    }

    #[test]
    fn an_idle_daemon_ends_at_the_first_signal() {
        let mut machine = machine();
        machine.tick(at(0), Load::default());
        assert_eq!(machine.phase(), Phase::Running);
        machine.wish(at(1), Wish::Signal("SIGTERM"));
        assert_eq!(machine.phase(), Phase::Draining);
        machine.tick(at(1), Load::default());
        assert_eq!(
            (machine.phase(), machine.reason()),
            (Phase::Done, "Gateway shutting down (SIGTERM)")
        );
        assert!(!machine.abandoned());
    }

    #[test]
    fn signals_escalate() {
        let mut machine = machine();
        let mut phases = Vec::new();
        for _ in 0..3 {
            machine.wish(at(5), Wish::Signal("SIGINT"));
            machine.tick(at(6), BUSY);
            phases.push(machine.phase());
        }
        assert_eq!(phases, [Phase::Draining, Phase::Cancelling, Phase::Done]);
        assert!(machine.abandoned());
    }

    #[test]
    fn a_drain_has_an_end_and_so_has_every_later_phase() {
        let mut machine = machine();
        machine.wish(at(0), Wish::Local(StopHow::Drain { grace_ms: 15_000 }));
        let mut seen = Vec::new();
        while let Some(wake) = machine.wake_at() {
            machine.tick(wake, BUSY);
            seen.push((wake.as_secs(), machine.phase()));
        }
        assert_eq!(seen, [(15, Phase::Cancelling), (21, Phase::Killing), (25, Phase::Done)]);
    }

    #[test]
    fn results_on_their_way_are_waited_for_but_not_for_ever() {
        let mut machine = machine();
        machine.wish(at(0), Wish::Signal("SIGTERM"));
        let sending = Load {
            running: 0,
            unreported: 1,
        };
        machine.tick(at(10), sending);
        assert_eq!((machine.phase(), machine.wake_at()), (Phase::Draining, Some(at(5_010))));
        machine.tick(at(5_010), sending);
        assert_eq!(machine.phase(), Phase::Done);
    }

    #[test]
    fn a_shorter_drain_wins_and_a_longer_one_changes_nothing() {
        let mut machine = machine();
        machine.wish(at(0), Wish::Signal("SIGTERM"));
        machine.wish(at(0), Wish::Local(StopHow::Drain { grace_ms: 15_000 }));
        machine.wish(at(0), Wish::Local(StopHow::Drain { grace_ms: 90_000 }));
        assert_eq!(machine.wake_at(), Some(at(15_000)));
        machine.wish(at(1), Wish::Local(StopHow::Now));
        machine.wish(at(2), Wish::Local(StopHow::Drain { grace_ms: 1 }));
        assert_eq!(machine.phase(), Phase::Cancelling);
    }

    proptest! {
        #[test]
        fn phases_only_go_forward_and_end(wishes in proptest::collection::vec((0..5_u8, 0..20_000_u64), 1..30)) {
            let (mut machine, mut now) = (machine(), at(0));
            for (kind, wait) in wishes {
                let before = machine.phase();
                now += at(wait);
                match kind {
                    0 => machine.wish(now, Wish::Signal("SIGTERM")),
                    1 => machine.wish(now, Wish::Local(StopHow::Now)),
                    2 => machine.wish(now, Wish::Local(StopHow::Drain { grace_ms: wait })),
                    _ => machine.tick(now, BUSY),
                }
                prop_assert!(machine.phase() >= before);
            }
            machine.wish(now, Wish::Local(StopHow::Drain { grace_ms: 0 }));
            let mut steps = 0;
            while let Some(wake) = machine.wake_at() {
                machine.tick(wake.max(now), BUSY);
                now = wake.max(now);
                steps += 1;
                prop_assert!(steps < 10);
            }
            prop_assert_eq!(machine.phase(), Phase::Done);
        }
    }
}
