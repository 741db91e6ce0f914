//! Growing, jittered waits between attempts. Pure: randomness is handed in.

use std::time::Duration;

/// A ladder of waits: doubling from a first step up to a cap.
///
/// The jitter is full: each wait is anywhere between (almost) nothing and the step, so that a fleet that lost its
/// backend together does not come back together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
}

/// No wait is shorter: a wait of zero would be a busy loop now and then.
const FLOOR: Duration = Duration::from_millis(50);

impl Backoff {
    /// A ladder that begins at `first` and never exceeds `cap`.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, attempt: 0 }
    }

    /// The next wait; `unit` is a random number in `0.0..1.0`.
    pub fn next(&mut self, unit: f64) -> Duration {
        let step = self.ceiling_step();
        step.mul_f64(unit.clamp(0.0, 1.0)).max(FLOOR.min(step))
    }

    /// The next step without jitter.
    pub fn ceiling_step(&mut self) -> Duration {
        let factor = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// Back to the first step, after things went well for a while.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let steps: Vec<_> = (0..7).map(|_| backoff.ceiling_step().as_secs()).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.ceiling_step(), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_zero_and_never_over_the_cap(unit in 0.0..1.0_f64, attempts in 0_usize..80) {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            for _ in 0..attempts {
                backoff.next(unit);
            }
            let wait = backoff.next(unit);
            prop_assert!(wait >= FLOOR && wait <= Duration::from_secs(30));
        }
    }
}
