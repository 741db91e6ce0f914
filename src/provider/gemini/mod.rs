//! Gemini CLI, driven without a terminal.

pub mod plan;
mod policy;
pub mod quirks;
pub mod settings;
pub mod surroundings;
mod text;
pub mod transcript;
mod verdict;
