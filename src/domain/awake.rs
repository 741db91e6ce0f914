//! Notices that the host was asleep. Pure: the time of both clocks is handed in.
//!
//! In a sleep the wall clock goes on and the monotonic one stands still, and whoever is at the other end of an open
//! connection has given it up. Somebody who sets the wall clock forward looks the same, which costs a reconnect.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How far the clocks may drift apart between two looks: load and corrections of the clock stay below.
const SLEPT: SignedDuration = SignedDuration::from_secs(30);

/// The last look at both clocks.
#[derive(Debug)]
pub struct Awake {
    wall: Timestamp,
    lived: Duration,
}

impl Awake {
    /// Awake at `wall`, after `lived` of the monotonic clock.
    #[must_use]
    pub const fn at(wall: Timestamp, lived: Duration) -> Self {
        Self { wall, lived }
    }

    /// How long the host slept since the last look, if it did.
    pub fn look(&mut self, wall: Timestamp, lived: Duration) -> Option<Duration> {
        let went = wall.duration_since(self.wall);
        let lived_since = SignedDuration::try_from(lived.saturating_sub(self.lived)).unwrap_or(SignedDuration::MAX);
        *self = Self { wall, lived };
        let slept = went.saturating_sub(lived_since);
        (slept > SLEPT).then(|| slept.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wall_clock_that_runs_ahead_is_a_sleep() {
        const HOURS: Duration = Duration::from_secs(8 * 60 * 60);
        let seconds = Duration::from_secs;
        let mut awake = Awake::at(Timestamp::UNIX_EPOCH, Duration::ZERO);
        let mut look = |wall: Duration, lived: Duration| awake.look(Timestamp::UNIX_EPOCH + wall, lived);
        assert_eq!(look(seconds(40), seconds(39)), None);
        assert_eq!(look(HOURS, seconds(40)), Some(HOURS - seconds(41)));
        assert_eq!(look(Duration::ZERO, seconds(41)), None, "set back");
        assert_eq!(look(Duration::ZERO, HOURS), None, "busy for long");
    }
}
