//! Agent CLIs: find, probe, describe.
//!
//! [`discovery`] says where a CLI may lie, [`probe`] asks it who it is and remembers the answer for as long as the
//! file stays the same, [`capability`] reads features out of its help, [`health`] keeps the verdict of earlier checks,
//! [`document`] writes it all down for the control plane. Only [`probe`] starts processes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::domain::clock;
use crate::provider::capability::Finding;
use crate::provider::document::Picture;
use crate::provider::health::{Verdict, Witness};
use crate::provider::probe::Prober;

pub mod answer;
mod argument;
pub mod capability;
pub mod cause;
pub mod circumstances;
pub mod claude;
pub mod codex;
pub mod discovery;
pub mod document;
pub mod driver;
mod flags;
pub mod gemini;
pub mod health;
pub mod health_memory;
pub mod home;
mod lean;
pub(crate) mod legible;
pub mod plan;
pub mod probe;
mod prompt;
pub mod remembered;
pub mod request;
pub mod rhythm;
pub mod schema;
mod schema_bounds;
mod schema_parts;
mod steps;
mod tame;
pub mod transcript;
pub(crate) mod trouble;
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

    /// The wire's `subagent_type` of agents that it runs.
    #[must_use]
    pub const fn subagent_type(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude_code_gateway",
            Self::Codex => "codex_gateway",
            Self::Gemini => "gemini_gateway",
        }
    }

    /// The provider behind a `subagent_type`; none for a type that no gateway runs.
    #[must_use]
    pub fn of_subagent_type(subagent_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.subagent_type() == subagent_type)
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

    /// What its makers call it.
    #[must_use]
    pub const fn product(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
        }
    }

    /// The npm package that it is installed from.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::ClaudeCode => "@anthropic-ai/claude-code",
            Self::Codex => "@openai/codex",
            Self::Gemini => "@google/gemini-cli",
        }
    }

    /// Empty directories that the CLI may leave in its working directory when it is cancelled. Codex makes them as
    /// mount points of its sandbox.
    #[must_use]
    pub const fn droppings(self) -> &'static [&'static str] {
        match self {
            Self::Codex => codex::quirks::DROPPINGS,
            Self::ClaudeCode | Self::Gemini => &[],
        }
    }
}

/// What others may know of the providers: the latest picture, a way to ask anew, and a way to say how one did.
#[derive(Debug, Clone)]
pub struct Providers {
    /// Asks CLIs.
    pub prober: Prober,
    picture: watch::Sender<Arc<Picture>>,
}

impl Providers {
    /// Providers asked by `prober`; whoever keeps looking writes into `picture`.
    #[must_use]
    pub const fn new(prober: Prober, picture: watch::Sender<Arc<Picture>>) -> Self {
        Self { prober, picture }
    }

    /// The latest picture.
    #[must_use]
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    /// Follows the picture.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.subscribe()
    }

    /// Shows what somebody found who looked at a provider anew.
    pub fn see(&self, provider: ProviderId, finding: Finding) {
        self.picture
            .send_if_modified(|picture| Arc::make_mut(picture).see(provider, finding, clock::now()));
    }

    /// Says how a provider did in a job.
    pub fn judge(&self, provider: ProviderId, verdict: &Verdict, witness: Witness) {
        self.picture
            .send_if_modified(|picture| Arc::make_mut(picture).judge(provider, verdict, witness, clock::now()));
    }
}
