//! What becomes of a request to cancel a subagent's run.

use crate::provider::ProviderId;

/// A subagent as far as it decides about a cancel.
#[derive(Debug, Clone, Copy)]
pub struct CancelFacts<'a> {
    /// Its `subagent_type`.
    pub subagent_type: &'a str,
    /// Its status, as stored.
    pub status: &'a str,
    /// The newest run that is running.
    pub active_run: Option<&'a str>,
    /// The run that was named, if one was.
    pub requested_run: Option<&'a str>,
}

/// The verdict, in the words of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelVerdict {
    /// `accepted`, `rejected`, `already_terminal` or `no_active_run`.
    pub result: &'static str,
    /// `requested`, `rejected` or `none`.
    pub state: &'static str,
    /// The run to cancel; only with `accepted`.
    pub run_id: Option<String>,
    /// The status as it was understood.
    pub status: String,
    /// One sentence.
    pub message: String,
    /// Who ends such runs; nobody ends those of an unknown type.
    pub support: Option<Support>,
}

/// Who ends a run that is to be cancelled, in the words of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// `gateway`, `provider` or `best_effort_local`.
    pub by: &'static str,
    /// `gateway`, `provider` or `local`.
    pub scope: &'static str,
}

/// Who ends runs of that type.
#[must_use]
pub fn support(subagent_type: &str) -> Option<Support> {
    let (by, scope) = match subagent_type {
        ours if ProviderId::of_subagent_type(ours).is_some() => ("gateway", "gateway"),
        "panorama_internal" | "perplexity_provider_hosted" => ("best_effort_local", "local"),
        "anthropic_provider_hosted" | "google_provider_hosted" | "openai_provider_hosted" => ("provider", "provider"),
        _ => return None,
    };
    Some(Support { by, scope })
}

/// Decides; the first that applies.
#[must_use]
pub fn resolve(facts: CancelFacts<'_>) -> CancelVerdict {
    let status = match facts.status.trim().to_lowercase() {
        empty if empty.is_empty() => "unknown".to_owned(),
        status => status,
    };
    let trimmed = |id: Option<&str>| id.map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
    let (active, requested) = (trimmed(facts.active_run), trimmed(facts.requested_run));
    let support = support(facts.subagent_type);
    let verdict = |result, state, message: &str| CancelVerdict {
        support,
        result,
        state,
        run_id: None,
        status: status.clone(),
        message: message.to_owned(),
    };
    let Some(Support { by, .. }) = support else {
        return verdict(
            "rejected",
            "rejected",
            "Cancellation request rejected for this subagent.",
        );
    };
    match (status.as_str(), active) {
        ("completed" | "failed" | "cancelled", _) => {
            let message = format!("Subagent run is already terminal (status: {status}).");
            verdict("already_terminal", "none", &message)
        }
        ("idle", _) | ("running", None) => verdict("no_active_run", "none", "No active subagent run to cancel."),
        ("running", Some(active)) if requested.as_deref().is_some_and(|wanted| wanted != active) => verdict(
            "no_active_run",
            "none",
            "Requested run_id is not the active running subagent run.",
        ),
        ("running", Some(active)) => CancelVerdict {
            run_id: Some(active),
            ..verdict(
                "accepted",
                "requested",
                if by == "gateway" {
                    "Cancel requested and forwarded to gateway."
                } else {
                    "Cancel requested. Worker will stop the run on its next cancellation check."
                },
            )
        },
        (other, _) => {
            let message = format!("Subagent is not running (status: {other}).");
            verdict("rejected", "none", &message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        subagent_type: &str,
        status: &str,
        active: Option<&str>,
        requested: Option<&str>,
    ) -> (&'static str, &'static str, Option<String>) {
        let facts = CancelFacts {
            subagent_type,
            status,
            active_run: active,
            requested_run: requested,
        };
        let found = resolve(facts);
        (found.result, found.state, found.run_id)
    }

    #[test]
    fn every_row_of_the_table() {
        let codex = "codex_gateway";
        assert_eq!(
            verdict("perplexity", "running", Some("r"), None),
            ("rejected", "rejected", None)
        );
        for done in ["completed", " Failed ", "cancelled"] {
            assert_eq!(
                verdict(codex, done, Some("r"), None),
                ("already_terminal", "none", None)
            );
        }
        assert_eq!(verdict(codex, "idle", None, None), ("no_active_run", "none", None));
        assert_eq!(verdict(codex, "", None, None), ("rejected", "none", None));
        assert_eq!(
            verdict(codex, "running", None, Some("r")),
            ("no_active_run", "none", None)
        );
        assert_eq!(
            verdict(codex, "running", Some("r"), Some("q")),
            ("no_active_run", "none", None)
        );
        let accepted = ("accepted", "requested", Some("r".to_owned()));
        assert_eq!(verdict(codex, "running", Some("r"), Some(" r ")), accepted);
        assert_eq!(verdict(codex, "running", Some(" r"), Some(" ")), accepted);
        assert_eq!(verdict("panorama_internal", "running", Some("r"), None), accepted);
    }

    #[test]
    fn somebody_else_may_be_the_one_to_end_it() {
        let told = |subagent_type| {
            let found = resolve(CancelFacts {
                subagent_type,
                status: "running",
                active_run: Some("r"),
                requested_run: None,
            });
            let support = found.support.map(|support| (support.by, support.scope));
            (support, found.message.contains("Worker"))
        };
        assert_eq!(told("gemini_gateway"), (Some(("gateway", "gateway")), false));
        assert_eq!(told("openai_provider_hosted"), (Some(("provider", "provider")), true));
        assert_eq!(told("panorama_internal"), (Some(("best_effort_local", "local")), true));
        assert_eq!(told("something").0, None);
    }
}
