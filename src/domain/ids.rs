//! Identifiers as types, so that a team id can never stand where a job id belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An identifier was empty or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must have 1 to {MAX_ID_BYTES} bytes, it has {length}")]
pub struct InvalidId {
    kind: &'static str,
    length: usize,
}

/// Longest identifier accepted from the wire, in bytes. The backend uses UUIDs (36).
pub const MAX_ID_BYTES: usize = 200;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Wraps a non-empty identifier.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is empty or longer than [`MAX_ID_BYTES`].
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if text.is_empty() || text.len() > MAX_ID_BYTES {
                    return Err(InvalidId { kind: $kind, length: text.len() });
                }
                Ok(Self(text))
            }

            /// The identifier as sent on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// A row of `gateway_jobs`.
    JobId,
    "job id"
);
id_type!(
    /// A team: the tenant every row belongs to.
    TeamId,
    "team id"
);
id_type!(
    /// A paired gateway, a row of `team_gateways`.
    GatewayId,
    "gateway id"
);
id_type!(
    /// A row of `team_resources`.
    ResourceId,
    "resource id"
);
id_type!(
    /// A subagent: jobs of one subagent run one after another.
    SubagentId,
    "subagent id"
);
id_type!(
    /// A row of `subagent_runs`: one turn of a subagent.
    RunId,
    "run id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_oversized_ids_are_refused() {
        assert!(JobId::new("").is_err());
        assert!(JobId::new("x".repeat(MAX_ID_BYTES + 1)).is_err());
        assert!(serde_json::from_str::<TeamId>("\"\"").is_err());
        assert_eq!(GatewayId::new("g").unwrap().to_string(), "g");
    }
}
