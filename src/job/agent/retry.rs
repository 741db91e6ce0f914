//! When a run that failed is tried again.

use std::time::Duration;

use crate::domain::run::FailureKind;

/// Attempts, pauses, and reasons that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts altogether.
    pub attempts: u32,
    /// Pause after the first; doubled after each further one.
    pub base: Duration,
    /// Longest pause.
    pub max: Duration,
    /// For what a further attempt is made.
    pub on: &'static [Reason],
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_secs(2),
            max: Duration::from_secs(30),
            on: &[Reason::Capacity, Reason::Network, Reason::Parse],
        }
    }
}

/// Why a run is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The answer was not of the form asked for.
    Parse,
    /// It fell silent.
    Timeout,
    /// The provider had no room for it.
    Capacity,
    /// The provider could not be reached.
    Network,
}

impl Reason {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse_error",
            Self::Timeout => "timeout",
            Self::Capacity => "capacity",
            Self::Network => "network",
        }
    }

    /// A model that does not keep to the form twice will not the third time.
    const fn most_attempts(self) -> u32 {
        match self {
            Self::Parse => 2,
            Self::Timeout | Self::Capacity | Self::Network => u32::MAX,
        }
    }

    const fn of(kind: FailureKind, silent: bool) -> Option<Self> {
        if silent {
            return Some(Self::Timeout);
        }
        match kind {
            FailureKind::Answer => Some(Self::Parse),
            FailureKind::Quota | FailureKind::Capacity => Some(Self::Capacity),
            FailureKind::Network => Some(Self::Network),
            FailureKind::Authentication
            | FailureKind::Model
            | FailureKind::Request
            | FailureKind::Session
            | FailureKind::NoSession
            | FailureKind::Limit
            | FailureKind::Crash => None,
        }
    }
}

impl Retry {
    /// No second attempt.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            attempts: 1,
            base: Duration::ZERO,
            max: Duration::ZERO,
            on: &[],
        }
    }

    /// Why to try again after `made` attempts, if at all.
    #[must_use]
    pub fn reason(&self, made: u32, kind: FailureKind, silent: bool) -> Option<Reason> {
        let reason = Reason::of(kind, silent).filter(|reason| self.on.contains(reason))?;
        (made < self.attempts.min(reason.most_attempts())).then_some(reason)
    }

    /// Pause after `made` attempts; `random` is between 0 and 1.
    #[must_use]
    pub fn delay(&self, made: u32, random: f64) -> Duration {
        let doublings = made.saturating_sub(1).min(16);
        let pause = self.base.saturating_mul(1 << doublings).min(self.max);
        pause.mul_f64(0.7 + random.clamp(0.0, 1.0) * 0.6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let retry = Retry::default();
        for (kind, expected) in [
            (FailureKind::Capacity, Some(Reason::Capacity)),
            (FailureKind::Quota, Some(Reason::Capacity)),
            (FailureKind::Network, Some(Reason::Network)),
            (FailureKind::Answer, Some(Reason::Parse)),
            (FailureKind::Authentication, None),
            (FailureKind::Session, None),
            (FailureKind::Crash, None),
        ] {
            assert_eq!(retry.reason(1, kind, false), expected, "{kind:?}");
            assert_eq!(Retry::never().reason(1, kind, false), None);
        }
        assert_eq!(retry.reason(2, FailureKind::Answer, false), None);
        assert_eq!(retry.reason(2, FailureKind::Network, false), Some(Reason::Network));
        assert_eq!(retry.reason(3, FailureKind::Network, false), None);
        assert_eq!(
            retry.reason(1, FailureKind::Network, true),
            None,
            "silence is not retried"
        );
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_vary_by_a_third() {
        let retry = Retry::default();
        let seconds = |made, random| retry.delay(made, random).as_secs_f64().round();
        assert_eq!(
            [1, 2, 3, 5, 60].map(|made| seconds(made, 0.5)),
            [2.0, 4.0, 8.0, 30.0, 30.0]
        );
        assert_eq!((seconds(60, 0.0), seconds(60, 1.0)), (21.0, 39.0));
    }
}
