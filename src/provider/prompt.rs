//! What may be sent to a CLI's stdin, and what is refused before anything is started.

use crate::domain::prompt::PromptLimit;
use crate::domain::run::{FailureKind, RunFailure};

/// Refuses a prompt that is empty, holds NUL, or together with what is added to it does not fit.
///
/// # Errors
/// The failure names the provider and its limit.
pub(crate) fn check(label: &str, prompt: &str, sent: &str, limit: PromptLimit) -> Result<(), RunFailure> {
    let refuse = |why: String| Err(RunFailure::new(FailureKind::Request, why));
    if prompt.trim().is_empty() {
        return refuse(format!("{label} was given an empty prompt"));
    }
    if sent.contains('\0') {
        return refuse(format!("{label} cannot read a prompt that holds a NUL character"));
    }
    match limit.excess(sent) {
        Some(size) => refuse(format!(
            "{label} reads prompts of up to {} {}; this one has {size}",
            limit.most(),
            limit.unit()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(prompt: &str, limit: PromptLimit) -> String {
        check("Codex", prompt, prompt, limit).unwrap_err().message
    }

    #[test]
    fn empty_and_nul_are_refused() {
        assert_eq!(refusal(" \n", PromptLimit::Bytes(9)), "Codex was given an empty prompt");
        assert_eq!(
            refusal("a\0b", PromptLimit::Bytes(9)),
            "Codex cannot read a prompt that holds a NUL character"
        );
    }

    #[test]
    fn the_limit_is_named() {
        assert!(check("Codex", "ééé", "ééé", PromptLimit::Characters(3)).is_ok());
        assert_eq!(
            refusal("éééé", PromptLimit::Characters(3)),
            "Codex reads prompts of up to 3 characters; this one has 4"
        );
        assert_eq!(
            refusal("éé", PromptLimit::Bytes(3)),
            "Codex reads prompts of up to 3 bytes; this one has 4"
        );
    }
}
