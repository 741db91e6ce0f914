//! Agent CLIs: find, probe, describe.
//!
//! [`discovery`] says where a CLI may lie, [`probe`] asks it who it is and remembers the answer for as long as the
//! file stays the same, [`capability`] reads features out of its help, [`health`] keeps the verdict of earlier checks,
//! [`document`] writes it all down for the control plane. Only [`probe`] starts processes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::provider::document::Picture;
use crate::provider::probe::Prober;

mod answer;
mod argument;
pub mod capability;
pub mod claude;
pub mod codex;
pub mod discovery;
pub mod document;
mod flags;
pub mod gemini;
pub mod health;
pub mod plan;
pub mod probe;
mod prompt;
pub mod remembered;
pub mod request;
pub mod schema;
pub mod transcript;
mod trouble;
pub mod version;

/// An agent CLI that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderId {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
}

impl ProviderId {
    /// All of them, in the order of the wire.
    pub const ALL: [Self; 3] = [Self::ClaudeCode, Self::Codex, Self::Gemini];

    /// The key used on the wire.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude_code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    /// The name people use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini",
        }
    }

    /// The program's bare name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }
}

/// What others may know of the providers: the latest picture, and a way to ask anew.
#[derive(Debug, Clone)]
pub struct Providers {
    /// Asks CLIs.
    pub prober: Prober,
    /// Written by whoever keeps looking.
    pub picture: watch::Receiver<Arc<Picture>>,
}
