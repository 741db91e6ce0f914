//! What becomes of a request.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::simulation::Millis;

/// How the way to the control plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// Everything arrives.
    Good,
    /// Some of it gets lost, on the way there or back.
    Lossy,
    /// Nothing arrives, and nobody says so.
    Silent,
    /// Every connection is refused at once.
    Dark,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    AnswerLost,
    NotDelivered,
}

/// How long an answer is waited for.
const DEADLINE: Millis = 10_000;

impl Network {
    pub(super) fn any(random: &mut StdRng) -> Self {
        match random.random_range(0..6) {
            0 | 1 => Self::Good,
            2 | 3 => Self::Lossy,
            4 => Self::Silent,
            _ => Self::Dark,
        }
    }

    /// What becomes of one request, and when whoever sent it knows.
    pub(super) fn carry(self, random: &mut StdRng) -> (Fate, Millis) {
        let soon = random.random_range(1..200);
        match self {
            Self::Good => (Fate::Answered, soon),
            Self::Lossy => match random.random_range(0..4) {
                0 => (Fate::AnswerLost, DEADLINE),
                1 => (Fate::AnswerLost, soon),
                2 => (Fate::NotDelivered, soon),
                _ => (Fate::Answered, soon),
            },
            Self::Silent => (Fate::NotDelivered, DEADLINE),
            Self::Dark => (Fate::NotDelivered, 1),
        }
    }

    /// Whether what is open stays open.
    pub(super) const fn keeps_sockets(self) -> bool {
        match self {
            Self::Good | Self::Lossy | Self::Silent => true,
            Self::Dark => false,
        }
    }

    /// Whether a message on an open socket arrives.
    pub(super) const fn carries_messages(self) -> bool {
        match self {
            Self::Good | Self::Lossy => true,
            Self::Silent | Self::Dark => false,
        }
    }
}
