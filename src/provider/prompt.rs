//! What may be sent to a CLI's stdin, and what is refused before anything is started.

use crate::domain::run::{FailureKind, RunFailure};

/// How much a CLI reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Unicode characters.
    Characters(usize),
    /// Bytes of UTF-8.
    Bytes(usize),
}

/// Refuses a prompt that is empty, holds NUL, or together with what is added to it does not fit.
///
/// # Errors
/// The failure names the provider and its limit.
pub(crate) fn check(label: &str, prompt: &str, sent: &str, limit: Limit) -> Result<(), RunFailure> {
    let refuse = |why: String| Err(RunFailure::new(FailureKind::Request, why));
    if prompt.trim().is_empty() {
        return refuse(format!("{label} was given an empty prompt"));
    }
    if sent.contains('\0') {
        return refuse(format!("{label} cannot read a prompt that holds a NUL character"));
    }
    let (size, most, unit) = match limit {
        Limit::Characters(most) => (sent.chars().count(), most, "characters"),
        Limit::Bytes(most) => (sent.len(), most, "bytes"),
    };
    if size > most {
        return refuse(format!(
            "{label} reads prompts of up to {most} {unit}; this one has {size}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(prompt: &str, limit: Limit) -> String {
        check("Codex", prompt, prompt, limit).unwrap_err().message
    }

    #[test]
    fn empty_and_nul_are_refused() {
        assert_eq!(refusal(" \n", Limit::Bytes(9)), "Codex was given an empty prompt");
        assert_eq!(
            refusal("a\0b", Limit::Bytes(9)),
            "Codex cannot read a prompt that holds a NUL character"
        );
    }

    #[test]
    fn the_limit_is_named() {
        assert!(check("Codex", "ééé", "ééé", Limit::Characters(3)).is_ok());
        assert_eq!(
            refusal("éééé", Limit::Characters(3)),
            "Codex reads prompts of up to 3 characters; this one has 4"
        );
        assert_eq!(
            refusal("éé", Limit::Bytes(3)),
            "Codex reads prompts of up to 3 bytes; this one has 4"
        );
    }
}
