//! Output of a child, bounded while it is read.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::domain::escape::{needs_escape, without_partial_character};

/// As much as a pipe holds on Linux.
const READ_BYTES: usize = 64 * 1024;
/// Memory grows by at most this much at a time: doubling would take up to twice the limit.
const GROWTH_BYTES: usize = 512 * 1024;

/// One captured stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The first bytes, cut at a character.
    pub bytes: Vec<u8>,
    /// Whether more came than was kept.
    pub truncated: bool,
    /// Whether the bytes hold NUL or invalid UTF-8, so that their text has escapes.
    pub escaped: bool,
}

/// Keeps the first bytes of a stream and counts the rest.
#[derive(Debug)]
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

    /// Reads until end of file. An error is the end too: a pipe that cannot be read says nothing more.
    pub(super) async fn read_all(&mut self, mut pipe: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            self.take(buffer.get(..length).unwrap_or_default());
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.kept.len());
        let (kept, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.make_room(kept.len());
        self.kept.extend_from_slice(kept);
        self.dropped = self.dropped.saturating_add(dropped.len() as u64);
    }

    fn make_room(&mut self, more: usize) {
        let (used, capacity) = (self.kept.len(), self.kept.capacity());
        if capacity - used < more {
            let step = capacity.clamp(more, GROWTH_BYTES.max(more));
            self.kept.reserve_exact(step.min(self.limit - used).max(more));
        }
    }

    pub(super) fn finish(self) -> Captured {
        let (mut bytes, truncated) = (self.kept, self.dropped > 0);
        if truncated {
            bytes.truncate(without_partial_character(&bytes));
        }
        let escaped = needs_escape(&bytes);
        Captured {
            bytes,
            truncated,
            escaped,
        }
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
