//! Gemini CLI, driven without a terminal.

pub mod plan;
mod policy;
pub mod quirks;
pub mod settings;
pub mod surroundings;
mod text;
pub mod transcript;
mod verdict;

/// Keeps Gemini one process: its launcher starts the program a second time, which doubles the time to its first word,
/// and swallows the signals meant for it.
pub const ONE_PROCESS: (&str, &str) = ("GEMINI_CLI_NO_RELAUNCH", "true");
