//! How one run is started: everything but the program itself.

use std::path::{Path, PathBuf};

use crate::domain::run::RunFailure;
use crate::provider::argument;
use crate::provider::capability::Features;

/// A start that was thought through but not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Arguments after the program's name. Never holds the prompt.
    pub args: Vec<String>,
    /// Variables to set, or to remove where there is no value, over the environment of children.
    pub env: Vec<(&'static str, Option<String>)>,
    /// What the program reads, then end of file.
    pub stdin: Vec<u8>,
    /// Files to write before the start.
    pub files: Vec<PlanFile>,
    /// File from which the final answer is read, if it does not stand on stdout.
    pub output_file: Option<PathBuf>,
    /// What stdout will hold.
    pub format: Format,
}

/// A file that the program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFile {
    /// Absolute, inside the request's scratch directory.
    pub path: PathBuf,
    /// Its bytes; it is made for its owner only.
    pub contents: Vec<u8>,
}

/// Files of a plan, as it turns out that they are needed.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    scratch: &'a Path,
    /// All of them so far.
    pub(crate) list: Vec<PlanFile>,
}

impl<'a> Files<'a> {
    /// None yet; they will lie in `scratch`.
    pub(crate) const fn below(scratch: &'a Path) -> Self {
        Self {
            scratch,
            list: Vec::new(),
        }
    }

    /// Adds a text; gives its path as an argument.
    ///
    /// # Errors
    /// The path cannot be one.
    pub(crate) fn add(&mut self, name: &str, text: String) -> Result<String, RunFailure> {
        let path = self.scratch.join(name);
        let argument = argument::path(&path)?.to_owned();
        let contents = text.into_bytes();
        self.list.push(PlanFile { path, contents });
        Ok(argument)
    }
}

/// What stdout holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The answer as text.
    Text,
    /// One JSON document, possibly over many lines.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The wire's `output_mode`.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Text | Self::Json => "stdout-json",
            Self::JsonLines => "stream-json",
        }
    }
}

/// What the CLI at hand is known to be: its features and its version text.
#[derive(Debug, Clone, Copy)]
pub struct Cli<'a> {
    /// From its help.
    pub features: &'a Features,
    /// From `--version`, trimmed.
    pub version: Option<&'a str>,
}
