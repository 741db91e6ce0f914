//! The numbers of the product that more than one room needs.

use std::time::Duration;

/// Bytes kept of each output stream of a job; what comes after is read and dropped.
pub const OUTPUT_LIMIT_BYTES: usize = 5_000_000;
/// Time a command gets when its job names none.
pub const SHELL_EXEC_DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time a command can be given.
pub const SHELL_EXEC_MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// Time a model run gets when its job names none.
pub const MODEL_RUN_DEFAULT_TIMEOUT: Duration = Duration::from_millis(110_000);
/// Shortest and longest time a model run can be given.
pub const MODEL_RUN_MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// See [`MODEL_RUN_MIN_TIMEOUT`].
pub const MODEL_RUN_MAX_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Between the polite and the final signal to a command that has to end.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long after its exit a process may hold its output pipes open before they are given up.
pub const PIPE_GRACE: Duration = Duration::from_millis(200);
