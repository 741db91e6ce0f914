//! What to run and within which limits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::limits::{OUTPUT_LIMIT_BYTES, STOP_GRACE};
use crate::process::env::ChildEnv;

/// What the child reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    Null,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
}

/// One process to be.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Program: a path, or a name looked up in the child's PATH.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: ChildEnv,
    /// Standard input.
    pub stdin: Stdin,
    /// Bytes kept of each output stream.
    pub limit_per_stream: usize,
    /// Time until the group is stopped; none means no limit.
    pub timeout: Option<Duration>,
    /// Time between the polite and the final signal.
    pub grace: Duration,
}

impl Spec {
    /// A process in `/` with an empty stdin, the usual limits and no timeout.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, env: ChildEnv) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: PathBuf::from("/"),
            env,
            stdin: Stdin::Null,
            limit_per_stream: OUTPUT_LIMIT_BYTES,
            timeout: None,
            grace: STOP_GRACE,
        }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the time after which the group is stopped.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}
