//! Secrets in a stream that comes in pieces cut anywhere.

use super::set::EDGE;
use super::{Needles, rendered};

/// Less than half a secret, and the end of a line in it.
const REMEMBERED: usize = EDGE + 1;

/// Takes secrets out of what flows through. Held back is only what may be the beginning of one.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    needles: Needles,
    /// The end of what came.
    window: Vec<u8>,
    /// How much of it went on already.
    sent: usize,
}

impl Stream {
    /// A stream without these.
    #[must_use]
    pub const fn new(needles: Needles) -> Self {
        Self {
            needles,
            window: Vec::new(),
            sent: 0,
        }
    }

    /// What may go on now that this piece came.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let set = self.needles.set();
        let mut text = std::mem::take(&mut self.window);
        text.extend_from_slice(piece);
        let found = set.whole(&text);
        let over = found.last().map_or(0, |last| last.end);
        let begun = set.begun(text.get(over..).unwrap_or_default()).map(|at| over + at);
        let held = begun.unwrap_or(text.len());
        let end = held.max(self.sent);
        let ready = rendered(text.get(..end).unwrap_or_default(), &found, self.sent);
        // Less than half a secret is not worth holding, but it may turn out to have been the beginning.
        let kept = held.min(text.len().saturating_sub(REMEMBERED)).max(over);
        self.sent = end - kept;
        self.window = text.split_off(kept);
        ready
    }

    /// What is left when nothing more comes: half a secret is none to be seen.
    pub fn finish(&mut self) -> Vec<u8> {
        let window = std::mem::take(&mut self.window);
        let sent = std::mem::take(&mut self.sent);
        let half = self.needles.set().begun(&window).map(|at| at..window.len());
        rendered(&window, half.as_slice(), sent)
    }
}
