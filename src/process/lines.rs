//! A child whose stdout is handed out line by line while it runs.
//!
//! Whoever takes the lines is called in the middle of reading and may not wait: nothing stands between the pipe and
//! the taker that could fill up, so a child is never held up for longer than its own lines take to be looked at.

use memchr::memchr;
use tokio_util::sync::CancellationToken;

use crate::process::capture::{Ends, Hearer, Overheard, Take};
use crate::process::exit::Exit;
use crate::process::spawn::Child;

/// The longest line that is handed out.
pub const LONGEST_LINE: usize = 16 << 20;
/// Memory for lines in pieces that is kept from one line to the next.
const KEPT_CAPACITY: usize = 1 << 20;

/// Takes lines.
pub trait Lines: Send {
    /// A line without its `\n`; only that byte ends one. The last may have had none.
    fn line(&mut self, line: &[u8]);

    /// A line was too long and is gone; this was its length.
    fn overlong(&mut self, length: u64);
}

/// How lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Longer lines are counted and dropped.
    pub longest: usize,
    /// Bytes of stdout to keep beside the lines, for people: its beginning and its end.
    pub keep: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            longest: LONGEST_LINE,
            keep: 0,
        }
    }
}

impl Child {
    /// Awaits the end as [`Child::wait`] does, and hands out lines of stdout until then. What is captured of stdout
    /// and stderr is beginning and end, the middle is left out.
    pub async fn wait_lines(
        self,
        stop: CancellationToken,
        reading: Reading,
        lines: &mut dyn Lines,
        heard: Hearer<'_>,
    ) -> Exit {
        self.widen_stdout();
        let mut stderr = Overheard {
            hearer: heard,
            kept: Ends::new(self.limit()),
        };
        let mut stdout = Splitter {
            lines,
            longest: reading.longest,
            piece: Vec::new(),
            dropped: 0,
            kept: Ends::new(reading.keep),
        };
        let end = self.end(&stop, &mut stdout, &mut stderr).await;
        let (stdout, stderr) = (stdout.finish(), stderr.kept.finish());
        end.with(stdout.finish(), stderr)
    }
}

struct Splitter<'a> {
    lines: &'a mut dyn Lines,
    longest: usize,
    /// The beginning of a line whose end has not come.
    piece: Vec<u8>,
    /// Length so far of a line that is too long.
    dropped: u64,
    kept: Ends,
}

impl Splitter<'_> {
    fn end_line(&mut self, rest: &[u8]) {
        if self.piece.is_empty() && self.dropped == 0 && rest.len() <= self.longest {
            return self.lines.line(rest);
        }
        self.grow(rest);
        self.flush();
    }

    fn grow(&mut self, bytes: &[u8]) {
        let length = self.piece.len() + bytes.len();
        if self.dropped > 0 {
            self.dropped = self.dropped.saturating_add(bytes.len() as u64);
        } else if length > self.longest {
            self.dropped = length as u64;
            self.piece = Vec::new();
        } else {
            self.piece.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self) {
        match std::mem::take(&mut self.dropped) {
            0 => self.lines.line(&self.piece),
            length => self.lines.overlong(length),
        }
        self.piece.clear();
        self.piece.shrink_to(KEPT_CAPACITY);
    }

    fn finish(mut self) -> Ends {
        if !self.piece.is_empty() || self.dropped > 0 {
            self.flush();
        }
        self.kept
    }
}

/// What is before and what is behind the byte at `end`.
fn cut(bytes: &[u8], end: usize) -> Option<(&[u8], &[u8])> {
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

impl Take for Splitter<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.kept.take(bytes);
        let mut rest = bytes;
        while let Some((line, more)) = memchr(b'\n', rest).and_then(|end| cut(rest, end)) {
            self.end_line(line);
            rest = more;
        }
        self.grow(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Seen(Vec<Result<String, u64>>);

    impl Lines for Seen {
        fn line(&mut self, line: &[u8]) {
            self.0.push(Ok(String::from_utf8(line.to_vec()).unwrap()));
        }

        fn overlong(&mut self, length: u64) {
            self.0.push(Err(length));
        }
    }

    fn split(parts: &[&str]) -> Vec<Result<String, u64>> {
        let mut seen = Seen::default();
        let mut splitter = Splitter {
            lines: &mut seen,
            longest: 5,
            piece: Vec::new(),
            dropped: 0,
            kept: Ends::new(0),
        };
        for part in parts {
            splitter.take(part.as_bytes());
        }
        drop(splitter.finish());
        seen.0
    }

    fn line(text: &str) -> Result<String, u64> {
        Ok(text.to_owned())
    }

    #[test]
    fn only_the_newline_byte_ends_a_line() {
        assert_eq!(
            split(&["a\u{2028}\r\n\nb\n"]),
            [line("a\u{2028}\r"), line(""), line("b")]
        );
        assert_eq!(split(&["a", "b", "\nc", "d\n"]), [line("ab"), line("cd")]);
        assert_eq!(split(&["", "\n"]), [line("")]);
    }

    #[test]
    fn the_last_line_needs_no_end() {
        assert_eq!(split(&["a\nb"]), [line("a"), line("b")]);
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_the_next_is_whole() {
        assert_eq!(split(&["12345\n123456\nab\n"]), [line("12345"), Err(6), line("ab")]);
        assert_eq!(split(&["1234", "56", "789", "\nab"]), [Err(9), line("ab")]);
        assert_eq!(split(&["123", "456"]), [Err(6)]);
    }
}
