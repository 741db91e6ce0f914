//! Codex, driven by `codex exec`.

mod item;
pub mod plan;
pub mod quirks;
pub mod schema;
pub mod servers;
pub mod transcript;
