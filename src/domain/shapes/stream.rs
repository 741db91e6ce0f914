//! Keys in a text that comes in pieces cut anywhere.

use super::border::LOOK_BEHIND;
use super::kinds::{Alphabet, run};
use super::{rendered, scan};

/// What went on and may turn out to have been a beginning, or a name with what stands before its value.
const REMEMBERED: usize = 64;
/// A key that is still being written is held back up to so many bytes.
const LONGEST: usize = 16 * 1024;

/// Masks keys in what flows through. Held back is only what begins like one, and until something follows that belongs to
/// none; less than a whole beginning goes on, but is remembered.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// The end of what came.
    window: String,
    /// How much of it went on already.
    sent: usize,
    /// Where in it the next look begins; what stands before says whether a word may begin there.
    from: usize,
    /// A key that was too long to be held is over where something else than these comes.
    within: Option<Alphabet>,
}

impl Stream {
    /// What may go on now that this piece came.
    pub fn push(&mut self, piece: &str) -> String {
        let piece = self.behind_long_key(piece);
        let mut text = std::mem::take(&mut self.window);
        text.push_str(piece);
        let mut found = scan(&text, self.from);
        if let Some(open) = found.open.take_if(|open| text.len() - open.secret > LONGEST) {
            // It is a key, or will not be one.
            self.within = open.more;
        }
        let held = found.open.as_ref().map_or(text.len(), |open| open.secret);
        found.keys.retain(|key| key.end <= held);
        let end = held.max(self.sent);
        let ready = rendered(text.get(..end).unwrap_or_default(), &found.keys, self.sent);
        let over = found.keys.last().map_or(self.from, |key| key.end);
        let from = match found.open {
            Some(open) => open.begins,
            None => text.len().saturating_sub(REMEMBERED).max(over),
        };
        let kept = text.floor_char_boundary(from.saturating_sub(LOOK_BEHIND));
        (self.sent, self.from) = (end - kept, text.ceil_char_boundary(from) - kept);
        self.window = text.split_off(kept);
        ready
    }

    /// What was held back, when nothing follows for a while. What comes later may still belong to it.
    pub fn pause(&mut self) -> String {
        let keys = scan(&self.window, self.from).keys;
        let ready = rendered(&self.window, &keys, self.sent);
        if self.sent == self.window.len() {
            return String::new();
        }
        self.sent = self.window.len();
        ready
    }

    /// What is left when nothing more comes.
    pub fn finish(&mut self) -> String {
        let rest = self.pause();
        *self = Self::default();
        rest
    }

    /// Whether something is held back.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.sent < self.window.len()
    }

    fn behind_long_key<'a>(&mut self, piece: &'a str) -> &'a str {
        let Some(more) = self.within else { return piece };
        let behind = piece.get(run(piece.as_bytes(), more)..).unwrap_or_default();
        if !behind.is_empty() {
            self.within = None;
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::shapes::masked;

    fn keys() -> Vec<String> {
        vec![
            ["sk-ant-", "api03-abcdefghij"].concat(),
            ["gh", "p_", &"a1".repeat(18)].concat(),
            ["eyJhbGciOi", ".eyJzdWIiOi.c2lnbmF0dXJl"].concat(),
            ["AK", "IAIOSFODNN7EXAMPLE"].concat(),
            ["IQ", "oJ", &"b3JpZ2lu".repeat(20)].concat(),
            ["Authorization: ", "Bearer opaque"].concat(),
            ["bearer ", "abcdefghij0123456789"].concat(),
            [
                "aws_secret_access_key = ",
                "wJalrXUtnFEMI/K7MDENG/",
                "bPxRfiCYEXAMPLEKEY",
            ]
            .concat(),
        ]
    }

    fn streamed<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut stream = Stream::default();
        let mut all: String = pieces.into_iter().map(|piece| stream.push(piece)).collect();
        all += &stream.finish();
        all
    }

    /// Less than a whole beginning may have gone on before the rest came.
    fn shows_only_a_beginning(key: &str, shown: &str) -> bool {
        let whole = masked(key);
        let name = whole.strip_suffix("[REDACTED]").unwrap();
        let begun = shown
            .strip_suffix("[REDACTED]")
            .and_then(|shown| shown.strip_prefix(name));
        let secret = key.get(name.len()..).unwrap();
        begun.is_some_and(|begun| begun.len() < 5 && secret.starts_with(begun))
    }

    #[test]
    fn a_key_over_a_border_is_found_wherever_the_border_is() {
        for key in keys() {
            let said = format!("a {key} b");
            for at in 0..said.len() {
                let (first, last) = said.split_at(at);
                let all = streamed([first, last]);
                let shown = all.strip_prefix("a ").and_then(|all| all.strip_suffix(" b"));
                assert!(
                    shown.is_some_and(|shown| shows_only_a_beginning(&key, shown)),
                    "{at}: {all}"
                );
            }
            let one_by_one = streamed(said.split_inclusive(|_: char| true));
            let shown = one_by_one.strip_prefix("a ").and_then(|all| all.strip_suffix(" b"));
            assert!(
                shown.is_some_and(|shown| shows_only_a_beginning(&key, shown)),
                "{one_by_one}"
            );
        }
    }

    #[test]
    fn only_what_begins_like_a_key_is_held_back() {
        let mut stream = Stream::default();
        for piece in ["# s", "k", "é A", "Authorization: Bearer ", "x\n", "ask-me", "$ "] {
            let shown = stream.push(piece);
            assert_eq!(shown, piece.replace("x\n", "[REDACTED]\n"));
        }
        assert_eq!(stream.push("sk-le"), "");
        assert!(stream.holds());
        assert_eq!(stream.push("arn "), "sk-learn ");
        assert!(!stream.holds());
    }

    #[test]
    fn what_is_held_comes_out_in_a_pause_and_the_rest_of_a_key_does_not() {
        let mut stream = Stream::default();
        assert_eq!(stream.push("$ sk-ant"), "$ ");
        assert_eq!(stream.pause(), "sk-ant");
        assert_eq!((stream.pause(), stream.holds()), (String::new(), false));
        assert_eq!(stream.push("-api03-abcdefghij"), "");
        assert_eq!(stream.pause(), "[REDACTED]");
        assert_eq!(stream.push("kl"), "");
        assert_eq!(stream.push(" x"), "[REDACTED] x");
    }

    #[test]
    fn a_key_of_any_length_is_one_and_little_is_kept_of_it() {
        let mut stream = Stream::default();
        let mut shown = stream.push("a sk-");
        for _ in 0..100 {
            shown += &stream.push(&"x".repeat(1_000));
            assert!(stream.window.len() <= LONGEST + 1_000 + LOOK_BEHIND);
        }
        shown += &stream.push(" b");
        assert_eq!(shown, "a [REDACTED] b");
        // What has not become a key by then is none.
        let long = format!("eyJ{}", "x".repeat(LONGEST));
        assert_eq!(stream.push(&long), long);
    }

    proptest! {
        /// Whatever the borders: a text becomes what it becomes in one piece, but for the beginnings of keys.
        #[test]
        fn borders_change_nothing(
            parts in prop::collection::vec(("[ -~é\n]{0,20}", 0..9_usize), 0..6),
            sizes in prop::collection::vec(1..40_usize, 1..40),
        ) {
            let keys = keys();
            let text: String = parts
                .into_iter()
                .map(|(noise, which)| noise + keys.get(which).map_or("ta", String::as_str))
                .collect();
            let (mut pieces, mut rest, mut sizes) = (Vec::new(), text.as_str(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.ceil_char_boundary(*sizes.next().unwrap().min(&rest.len())));
                pieces.push(piece);
                rest = more;
            }
            let (shown, whole) = (streamed(pieces), masked(&text).into_owned());
            let (shown, whole) = (shown.split("[REDACTED]"), whole.split("[REDACTED]"));
            let (shown, whole): (Vec<_>, Vec<_>) = (shown.collect(), whole.collect());
            prop_assert_eq!(shown.len(), whole.len(), "{:?} {:?}", shown, whole);
            prop_assert_eq!(shown.last(), whole.last());
            for (shown, whole) in shown.iter().zip(&whole) {
                prop_assert!(shown.strip_prefix(whole).is_some_and(|begun| begun.len() < 11), "{:?} {:?}", shown, whole);
            }
        }
    }
}
