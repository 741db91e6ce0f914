//! How long a job may work: what it asked for, kept within bounds, and whether that changed it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Time for the whole work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeLimit {
    pub(super) value: Duration,
    /// Less or more was asked for than there is.
    pub(super) clamped: bool,
}

impl TimeLimit {
    /// Milliseconds above zero, kept within bounds; anything else is the default.
    pub(super) fn of(asked: Option<f64>, default: Duration, bounds: RangeInclusive<Duration>) -> Self {
        let Some(asked) = asked.filter(|asked| *asked > 0.0) else {
            return Self {
                value: default,
                clamped: false,
            };
        };
        let exact = Duration::try_from_secs_f64(asked / 1000.0).unwrap_or(Duration::MAX);
        let value = exact.clamp(*bounds.start(), *bounds.end());
        Self {
            value,
            clamped: value != exact,
        }
    }
}
