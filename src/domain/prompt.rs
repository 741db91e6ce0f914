//! How long a prompt may be for the program that will read it.

/// A bound on prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptLimit {
    /// Bytes of UTF-8.
    Bytes(usize),
    /// Unicode characters.
    Characters(usize),
}

impl PromptLimit {
    /// How much there may be.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Bytes(most) | Self::Characters(most) => most,
        }
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Characters(_) => "characters",
        }
    }

    /// How much there is, where that is more than there may be.
    #[must_use]
    pub fn excess(self, prompt: &str) -> Option<usize> {
        let found = match self {
            Self::Bytes(_) => prompt.len(),
            Self::Characters(_) => prompt.chars().count(),
        };
        (found > self.most()).then_some(found)
    }
}

/// Claude Code reads at most 10 MB from stdin (measured on 2.1.329).
pub const CLAUDE_PROMPT: PromptLimit = PromptLimit::Bytes(10_000_000);
/// Codex refuses longer input itself, after it has opened a session for it (measured on 0.169.0).
pub const CODEX_PROMPT: PromptLimit = PromptLimit::Characters(1_048_576);
/// Gemini CLI cuts stdin at 8 MiB without a word (measured on 0.61.0).
pub const GEMINI_PROMPT: PromptLimit = PromptLimit::Bytes(8 * 1024 * 1024);

/// Why a prompt cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptProblem {
    /// Nothing but white space.
    #[error("the prompt is empty")]
    Empty,
    /// No program takes it, and no database stores it.
    #[error("the prompt holds a NUL byte")]
    Nul,
    /// Over the limit.
    #[error("the prompt has {found} {unit}, {agent} takes at most {most}")]
    Long {
        /// How much there is.
        found: usize,
        /// How much there may be.
        most: usize,
        /// `bytes` or `characters`.
        unit: &'static str,
        /// Who sets the limit.
        agent: &'static str,
    },
}

/// Checks a prompt for one agent, named for people.
///
/// # Errors
/// [`PromptProblem`].
pub fn check(prompt: &str, agent: &'static str, limit: PromptLimit) -> Result<(), PromptProblem> {
    if prompt.trim().is_empty() {
        return Err(PromptProblem::Empty);
    }
    if prompt.contains('\0') {
        return Err(PromptProblem::Nul);
    }
    match limit.excess(prompt) {
        Some(found) => Err(PromptProblem::Long {
            found,
            most: limit.most(),
            unit: limit.unit(),
            agent,
        }),
        None => Ok(()),
    }
}

/// Name and limit of the agent behind a `subagent_type`; none for a type that no gateway runs.
#[must_use]
pub fn of_subagent_type(subagent_type: &str) -> Option<(&'static str, PromptLimit)> {
    match subagent_type {
        "claude_code_gateway" => Some(("Claude", CLAUDE_PROMPT)),
        "codex_gateway" => Some(("Codex", CODEX_PROMPT)),
        "gemini_gateway" => Some(("Gemini", GEMINI_PROMPT)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit() {
        let four = PromptLimit::Characters(4);
        assert_eq!(check("äöü!", "Codex", four), Ok(()));
        let long = check("äöü!!", "Codex", four).unwrap_err().to_string();
        assert_eq!(long, "the prompt has 5 characters, Codex takes at most 4");
        assert!(check("äöü", "Claude", PromptLimit::Bytes(5)).is_err());
        assert_eq!(check(" \n", "Claude", four), Err(PromptProblem::Empty));
        assert_eq!(check("a\0b", "Claude", four), Err(PromptProblem::Nul));
    }
}
