//! Claude Code: how a run of it is started, and what its output means.
//!
//! The prompt goes to stdin as one `stream-json` message and the output comes as `stream-json` wherever the CLI can do
//! both; a CLI that is too old for it reads plain text and answers with one JSON document or with text.

mod access;
mod line;
mod message;
pub mod plan;
mod quirks;
pub mod transcript;
mod usage;
mod verdict;

pub(crate) use self::access::barred;

/// The name people use.
const LABEL: &str = "Claude";
