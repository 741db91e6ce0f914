//! What a run prints, read as it comes.

use crate::domain::run::{RunEnd, RunEvent};

/// Reads one run's stdout. The same reader serves a live process and a recorded one.
pub trait Transcript: Send {
    /// Takes one line without its `\n`; only that byte ends a line. A line may be anything, also no JSON.
    fn line(&mut self, line: &[u8], events: &mut Vec<RunEvent>);

    /// A line was too long and was dropped; its length in bytes is given.
    fn overlong(&mut self, length: u64, events: &mut Vec<RunEvent>);

    /// The program has ended: judges the run by what was read, never by the exit code alone.
    fn end(self: Box<Self>, facts: &Ended<'_>) -> RunEnd;
}

/// How the program ended, for a transcript that has to judge it.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Exit code; none after a signal.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to stderr, possibly cut.
    pub stderr: &'a [u8],
    /// The plan's output file, if there was one: its bytes, or why it could not be read.
    pub output_file: Option<Result<&'a [u8], &'a str>>,
}
