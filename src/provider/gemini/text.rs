//! The text of one message, out of deltas that may come twice.
//!
//! When a stream breaks, Gemini CLI asks the model again after one, two and four seconds and prints the new deltas
//! behind the old ones, without a word. The pause before them and that they begin like what was there is all that
//! tells.

use jiff::Timestamp;

/// The shortest pause before another try; its clock and ours may round.
const PAUSE_MILLISECONDS: i64 = 950;
/// It tries four times at most. A stream with more pauses is a slow one.
const MAX_PAUSES: usize = 3;
/// More is no message that anybody waits for.
const MAX_BYTES: usize = 16 << 20;

/// A message as it comes.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    all: String,
    /// Where deltas came after a pause.
    pauses: Vec<usize>,
    newest: Option<Timestamp>,
}

impl Draft {
    /// Adds a delta; says whether there was room for it.
    #[must_use]
    pub(crate) fn push(&mut self, delta: &str, timestamp: &str) -> bool {
        if self.all.len() + delta.len() > MAX_BYTES {
            return false;
        }
        let at = timestamp.parse::<Timestamp>().ok();
        let pause = at
            .zip(self.newest)
            .map(|(at, before)| at.as_millisecond() - before.as_millisecond());
        if pause.is_some_and(|pause| pause >= PAUSE_MILLISECONDS) && self.pauses.len() <= MAX_PAUSES {
            self.pauses.push(self.all.len());
        }
        self.newest = at.or(self.newest);
        self.all.push_str(delta);
        true
    }

    /// The message, what a broken try left of it taken out; nothing when nothing was said.
    pub(crate) fn take(&mut self) -> Option<String> {
        let text = std::mem::take(self);
        let pauses = if text.pauses.len() > MAX_PAUSES {
            Vec::new()
        } else {
            text.pauses
        };
        let ends = pauses.iter().skip(1).copied().chain([text.all.len()]);
        let mut whole = text
            .all
            .get(..pauses.first().copied().unwrap_or(text.all.len()))?
            .to_owned();
        for (start, end) in pauses.iter().copied().zip(ends) {
            let part = text.all.get(start..end)?;
            if part.starts_with(&whole) || (end < text.all.len() && whole.starts_with(part)) {
                whole.clear();
            }
            whole.push_str(part);
        }
        (!whole.is_empty()).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(deltas: &[(&str, u32)]) -> Option<String> {
        let mut text = Draft::default();
        let mut at: i64 = 0;
        for (delta, pause) in deltas {
            at += i64::from(*pause);
            let timestamp = Timestamp::from_millisecond(at).unwrap().to_string();
            assert!(text.push(delta, &timestamp));
        }
        text.take()
    }

    #[test]
    fn what_a_broken_try_left_is_taken_out() {
        let tries = [("one", 0), (" t", 1), ("one", 1000), (" two", 1), (" three", 1)];
        assert_eq!(said(&tries).as_deref(), Some("one two three"));
        let shorter = [("one two", 0), ("one", 1000), ("one two three", 2000)];
        assert_eq!(said(&shorter).as_deref(), Some("one two three"));
        let four = [("one", 0), ("one", 1001), ("one", 2002), ("one", 4001)];
        assert_eq!(said(&four).as_deref(), Some("one"));
    }

    #[test]
    fn a_repeated_word_is_kept_without_a_pause() {
        assert_eq!(said(&[("ha", 0), ("ha", 5), (" ha", 1500)]).as_deref(), Some("haha ha"));
    }

    #[test]
    fn a_slow_model_may_repeat_itself() {
        let slow = [("no", 0), ("no", 2000), ("no", 2000), ("no", 2000), ("no", 2000)];
        assert_eq!(said(&slow).as_deref(), Some("nonononono"));
    }

    #[test]
    fn a_message_without_end_is_not_kept() {
        let mut text = Draft::default();
        let megabyte = "x".repeat(1 << 20);
        assert!((0..16).all(|_| text.push(&megabyte, "")));
        assert!(!text.push("x", ""));
        assert_eq!(text.take().map(|text| text.len()), Some(MAX_BYTES));
    }

    #[test]
    fn nothing_said_is_no_message() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("", 0)]), None);
    }
}
