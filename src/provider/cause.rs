//! Why a provider cannot be used, in a word, and what a person does about it.

use crate::domain::run::FailureKind;
use crate::provider::ProviderId;
use crate::wire::heartbeat::{HealthStatus, ProviderHealth};

/// What is the matter with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no such program.
    Missing,
    /// Its program does not answer.
    Hangs,
    /// Its program ends with an error.
    Broken,
    /// Nobody is logged in, or the key is not accepted.
    LoggedOut,
    /// Nothing is left of what the account may use.
    Quota,
    /// It has no room for another request.
    Capacity,
    /// The model is unknown or not allowed.
    Model,
    /// It cannot be reached.
    Network,
    /// Something else.
    Other,
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::Missing,
        Self::Hangs,
        Self::Broken,
        Self::LoggedOut,
        Self::Quota,
        Self::Capacity,
        Self::Model,
        Self::Network,
        Self::Other,
    ];

    /// Of a run that gave no answer.
    #[must_use]
    pub const fn of_failure(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Authentication => Self::LoggedOut,
            FailureKind::Quota => Self::Quota,
            FailureKind::Capacity => Self::Capacity,
            FailureKind::Model => Self::Model,
            FailureKind::Network => Self::Network,
            FailureKind::Request
            | FailureKind::Session
            | FailureKind::NoSession
            | FailureKind::Answer
            | FailureKind::Limit
            | FailureKind::Crash => Self::Other,
        }
    }

    /// Of a program that did not tell its version.
    #[must_use]
    pub fn of_probe(error: &str) -> Self {
        if error.ends_with("ENOENT") {
            Self::Missing
        } else if error.contains("did not end within") {
            Self::Hangs
        } else {
            Self::Broken
        }
    }

    /// Of an error as [`Cause::tell`] words it.
    fn told_by(error: &str) -> Option<Self> {
        let begins = |cause: &Self| {
            let rest = error.strip_prefix(cause.words());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
        };
        Self::ALL.into_iter().find(begins)
    }

    /// Of a health that is bad.
    #[must_use]
    pub fn of_health(health: &ProviderHealth) -> Option<Self> {
        let error = health.error.as_deref().unwrap_or_default();
        match health.status {
            HealthStatus::Unavailable => Some(Self::of_probe(error)),
            HealthStatus::Unhealthy => Some(Self::told_by(error).unwrap_or(Self::Other)),
            HealthStatus::Healthy | HealthStatus::Unknown => None,
        }
    }

    /// The cause, then the provider's own words.
    #[must_use]
    pub fn tell(self, details: &str) -> String {
        match details.trim() {
            "" => self.words().to_owned(),
            details => format!("{}: {details}", self.words()),
        }
    }

    /// The machine-readable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "not_installed",
            Self::Hangs => "hangs",
            Self::Broken => "broken",
            Self::LoggedOut => "not_logged_in",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Model => "model",
            Self::Network => "network",
            Self::Other => "other",
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Missing => "not installed",
            Self::Hangs => "does not answer",
            Self::Broken => "does not start",
            Self::LoggedOut => "not logged in",
            Self::Quota => "over quota",
            Self::Capacity => "overloaded",
            Self::Model => "model not available",
            Self::Network => "not reachable",
            Self::Other => "failed",
        }
    }

    /// What a person can do about it, on the host.
    #[must_use]
    pub fn fix(self, provider: ProviderId) -> Option<String> {
        let (program, label) = (provider.program(), provider.label());
        let other = format!("gateway providers set {program} --command PATH");
        Some(match self {
            Self::Missing => format!(
                "Install {} on the gateway host (npm install -g {}), or name its program: {other}",
                provider.product(),
                provider.package()
            ),
            Self::Hangs => format!(
                "See on the gateway host why `{program} --version` does not end, or name another program: {other}"
            ),
            Self::Broken => format!(
                "See on the gateway host what `{program} --version` says and install {label} again, or name another program: {other}"
            ),
            Self::LoggedOut => format!(
                "Run `{program}` on the gateway host as the user of the gateway and log in, or give it a valid key: gateway providers set {program} --key-file FILE"
            ),
            Self::Quota => format!("Wait until {label} grants more, or use another provider."),
            Self::Capacity => format!("{label} is overloaded. Try again later, or use another provider."),
            Self::Model => format!("Name a model that {label} offers to this account."),
            Self::Network => "Check the network, the proxy and the endpoint of the gateway host.".to_owned(),
            Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_cause() {
        for cause in Cause::ALL {
            assert_eq!(Cause::told_by(&cause.tell("x")), Some(cause));
            assert_eq!(Cause::told_by(&cause.tell(" ")), Some(cause));
        }
        assert_eq!(Cause::told_by("failedly"), None);
    }

    #[test]
    fn a_probe_that_failed_is_missing_hanging_or_broken() {
        for (error, cause) in [
            ("spawn claude ENOENT", Cause::Missing),
            ("/bin/claude --version did not end within 10s", Cause::Hangs),
            (
                "Command failed: /bin/claude --version\nSegmentation fault",
                Cause::Broken,
            ),
        ] {
            assert_eq!(Cause::of_probe(error), cause, "{error}");
        }
    }

    #[test]
    fn whatever_is_known_has_a_fix() {
        for cause in Cause::ALL {
            assert_eq!(
                cause.fix(ProviderId::Codex).is_none(),
                cause == Cause::Other,
                "{cause:?}"
            );
        }
    }
}
