//! How often agent CLIs are looked at, and for how long what went wrong is believed.
//!
//! Everything follows from the time between two looks: after its cause has ended nothing bad is believed for longer
//! than one look and what is believed of an older one, which is less than a minute.

use std::time::Duration;

use jiff::SignedDuration;

/// Times of the looks at agent CLIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two looks. A look that finds nothing changed starts no process.
    pub look: Duration,
    /// Between two glances at files that decide whether a look is due at once.
    pub glance: Duration,
    /// How long a failure is believed.
    pub believe: SignedDuration,
    /// Time for one question.
    pub question: Duration,
}

impl Rhythm {
    /// The usual one: a look every half minute.
    pub const USUAL: Self = Self {
        look: Duration::from_secs(30),
        glance: Duration::from_secs(2),
        believe: SignedDuration::from_secs(25),
        question: Duration::from_secs(10),
    };

    /// The same for a look in so much time.
    #[must_use]
    pub fn of(look: Duration) -> Self {
        Self {
            look,
            glance: look / 15,
            believe: SignedDuration::try_from(look * 5 / 6).unwrap_or(Self::USUAL.believe),
            question: look / 3,
        }
    }
}

impl Default for Rhythm {
    fn default() -> Self {
        Self::USUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_forgotten_within_a_minute_also_when_a_question_hangs() {
        let Rhythm { look, believe, .. } = Rhythm::USUAL;
        assert_eq!(Rhythm::of(look), Rhythm::USUAL);
        // Asked again at the first look that does not believe any more; that one may find it the moment before.
        assert!(believe.unsigned_abs() < look && look + believe.unsigned_abs() < Duration::from_secs(60));
    }
}
