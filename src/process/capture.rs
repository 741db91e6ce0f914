//! Output of a child, bounded while it is read.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::domain::escape::{end_of_partial_character, needs_escape, without_partial_character};

/// As much as a pipe holds on Linux.
const READ_BYTES: usize = 64 * 1024;
/// Memory grows by at most this much at a time: doubling would take up to twice the limit.
const GROWTH_BYTES: usize = 512 * 1024;

/// One captured stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// What was kept, cut at a character.
    pub bytes: Vec<u8>,
    /// Whether more came than was kept.
    pub truncated: bool,
    /// Whether the bytes hold NUL or invalid UTF-8, so that their text has escapes.
    pub escaped: bool,
    /// How many bytes came, kept or not.
    pub total: u64,
}

/// Takes what a pipe gives, as it comes.
pub(super) trait Take {
    fn take(&mut self, bytes: &[u8]);
}

/// Hears a stream, in pieces as they come. It is called in the middle of reading and may not wait.
pub type Hearer<'a> = &'a (dyn Fn(&[u8]) + Sync);

/// A stream that somebody hears while it is kept.
pub(super) struct Overheard<'a, T> {
    pub(super) hearer: Hearer<'a>,
    pub(super) kept: T,
}

impl<T: Take> Take for Overheard<'_, T> {
    fn take(&mut self, bytes: &[u8]) {
        (self.hearer)(bytes);
        self.kept.take(bytes);
    }
}

/// Reads until end of file. An error is the end too: a pipe that cannot be read says nothing more.
pub(super) async fn read_all(mut pipe: impl AsyncRead + Unpin, into: &mut impl Take) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        into.take(buffer.get(..length).unwrap_or_default());
    }
}

/// Keeps the first bytes of a stream and counts the rest.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    kept: Vec<u8>,
    limit: usize,
    dropped: u64,
}

impl Collector {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            kept: Vec::new(),
            limit,
            dropped: 0,
        }
    }

    fn make_room(&mut self, more: usize) {
        let (used, capacity) = (self.kept.len(), self.kept.capacity());
        if capacity - used < more {
            let step = capacity.clamp(more, GROWTH_BYTES.max(more));
            self.kept.reserve_exact(step.min(self.limit - used).max(more));
        }
    }

    pub(super) fn finish(self) -> Captured {
        let total = self.dropped.saturating_add(self.kept.len() as u64);
        let (mut bytes, truncated) = (self.kept, self.dropped > 0);
        if truncated {
            bytes.truncate(without_partial_character(&bytes));
        }
        let escaped = needs_escape(&bytes);
        Captured {
            bytes,
            truncated,
            escaped,
            total,
        }
    }
}

impl Take for Collector {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.kept.len());
        let (kept, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.make_room(kept.len());
        self.kept.extend_from_slice(kept);
        self.dropped = self.dropped.saturating_add(dropped.len() as u64);
    }
}

/// Keeps the first and the last bytes of a stream, half of the limit each, and counts what was between.
#[derive(Debug, Clone)]
pub struct Ends {
    first: Collector,
    last: VecDeque<u8>,
    limit: usize,
}

impl Ends {
    /// Nothing yet; `limit` bytes at most.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        let last = limit / 2;
        Self {
            first: Collector::new(limit - last),
            last: VecDeque::new(),
            limit: last,
        }
    }

    /// Hears more of it.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.take(bytes);
    }

    /// What was kept, with a line about what was left out.
    #[must_use]
    pub fn finish(mut self) -> Captured {
        let total = self.first.dropped.saturating_add(self.first.kept.len() as u64);
        let truncated = self.first.dropped > self.last.len() as u64;
        let (mut bytes, mut last) = (self.first.kept, &*self.last.make_contiguous());
        if truncated {
            bytes.truncate(without_partial_character(&bytes));
            last = last.get(end_of_partial_character(last)..).unwrap_or_default();
        }
        let left_out = total.saturating_sub((bytes.len() + last.len()) as u64);
        if truncated && self.limit > 0 {
            bytes.extend_from_slice(format!("\n[{left_out} bytes left out]\n").as_bytes());
        }
        bytes.extend_from_slice(last);
        Captured {
            escaped: needs_escape(&bytes),
            truncated,
            bytes,
            total,
        }
    }
}

impl Take for Ends {
    fn take(&mut self, bytes: &[u8]) {
        let before = self.first.dropped;
        self.first.take(bytes);
        let fresh = usize::try_from(self.first.dropped - before)
            .unwrap_or(bytes.len())
            .min(self.limit);
        let fresh = bytes.get(bytes.len() - fresh..).unwrap_or_default();
        let surplus = (self.last.len() + fresh.len()).saturating_sub(self.limit);
        self.last.drain(..surplus);
        self.last.extend(fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, parts: &[&[u8]]) -> Captured {
        let mut collector = Collector::new(limit);
        for part in parts {
            collector.take(part);
        }
        collector.finish()
    }

    #[test]
    fn exactly_the_limit_is_not_truncated() {
        let all = captured(4, &[b"ab", b"cd"]);
        assert_eq!((all.bytes.as_slice(), all.truncated), (b"abcd".as_slice(), false));
        let cut = captured(4, &[b"abc", b"de", b"fgh"]);
        assert_eq!((cut.bytes.as_slice(), cut.truncated), (b"abcd".as_slice(), true));
    }

    #[test]
    fn a_cut_character_goes_and_an_uncut_stump_stays() {
        let cut = captured(3, &["a€".as_bytes()]);
        assert_eq!((cut.bytes.as_slice(), cut.escaped), (b"a".as_slice(), false));
        let stump = captured(3, &["a€".as_bytes().get(..3).unwrap()]);
        assert_eq!((stump.bytes.len(), stump.truncated, stump.escaped), (3, false, true));
    }

    #[test]
    fn both_ends_are_kept_and_the_middle_is_counted() {
        let ends = |limit, parts: &[&str]| {
            let mut ends = Ends::new(limit);
            for part in parts {
                ends.take(part.as_bytes());
            }
            let captured = ends.finish();
            (
                String::from_utf8(captured.bytes).unwrap(),
                captured.truncated,
                captured.total,
            )
        };
        let whole = |text: &str| (text.to_owned(), false, text.len() as u64);
        assert_eq!(ends(6, &["abc", "def"]), whole("abcdef"));
        assert_eq!(ends(6, &["abcdef"]), whole("abcdef"));
        let cut = ("abc\n[4 bytes left out]\nhij".to_owned(), true, 10);
        assert_eq!(ends(6, &["abcdefghij"]), cut);
        assert_eq!(ends(6, &["ab", "cde", "f", "g", "hij"]), cut);
        let halved = ends(6, &["ab€", "..€x"]);
        assert_eq!(halved.0, "ab\n[8 bytes left out]\nx");
    }

    #[test]
    fn memory_stays_near_the_limit() {
        let (limit, block) = (5_000_000, vec![b'x'; READ_BYTES]);
        let mut collector = Collector::new(limit);
        for _ in 0..200 {
            collector.take(&block);
            assert!(collector.kept.capacity() <= collector.kept.len() + GROWTH_BYTES);
        }
        assert_eq!((collector.kept.len(), collector.kept.capacity()), (limit, limit));
        let mut small = Collector::new(limit);
        small.take(b"hi\n");
        assert!(small.kept.capacity() < 64);
    }
}
