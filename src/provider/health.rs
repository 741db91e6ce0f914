//! Health of a provider without a model call: what is known stays, and an absence never outlives itself.

use jiff::Timestamp;

use crate::domain::clock::wire_time;
use crate::provider::capability::Finding;
use crate::wire::heartbeat::{CheckType, HealthStatus, ProviderHealth};

/// The verdict of a check that only looked at the CLI.
///
/// A CLI that is there again takes up its last full verdict: one slow start must not switch a provider off for good.
#[must_use]
pub fn light(previous: Option<&ProviderHealth>, finding: &Finding, now: Timestamp) -> ProviderHealth {
    let last_full_status = previous.and_then(|health| health.last_full_status);
    let known = previous
        .map(|health| health.status)
        .filter(|status| *status != HealthStatus::Unavailable)
        .or(last_full_status.filter(|status| *status != HealthStatus::Unavailable));
    let (status, error) = match &finding.version {
        Err(error) => (HealthStatus::Unavailable, Some(error.clone())),
        Ok(_) => {
            let status = known.unwrap_or(HealthStatus::Unknown);
            // The old error explains an unhealthy provider; everywhere else it would be about the past.
            let error = previous.and_then(|health| health.error.clone());
            (status, error.filter(|_| status == HealthStatus::Unhealthy))
        }
    };
    ProviderHealth {
        status,
        check_type: CheckType::Light,
        checked_at: wire_time(now),
        last_full_checked_at: previous.and_then(|health| health.last_full_checked_at.clone()),
        last_full_status,
        error,
        model: previous.and_then(|health| health.model.clone()),
        duration_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::capability::Features;

    fn present() -> Finding {
        Finding {
            command: "claude".to_owned(),
            version: Ok("1.0.0".to_owned()),
            features: Features::default(),
        }
    }

    fn full(status: HealthStatus, error: Option<&str>) -> ProviderHealth {
        ProviderHealth {
            status,
            check_type: CheckType::Full,
            last_full_checked_at: Some("2026-01-01T00:00:00.000Z".to_owned()),
            last_full_status: Some(status),
            error: error.map(str::to_owned),
            ..light(None, &present(), Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn nothing_known_is_unknown() {
        let health = light(None, &present(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            (health.status, health.check_type),
            (HealthStatus::Unknown, CheckType::Light)
        );
        assert_eq!(health.checked_at, "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_absence_is_named_and_ends_by_itself() {
        let now = Timestamp::UNIX_EPOCH;
        let healthy = full(HealthStatus::Healthy, None);
        let gone = light(
            Some(&healthy),
            &Finding::unavailable("claude", "spawn claude ENOENT"),
            now,
        );
        assert_eq!(gone.status, HealthStatus::Unavailable);
        assert_eq!(gone.error.as_deref(), Some("spawn claude ENOENT"));
        let back = light(Some(&gone), &present(), now);
        assert_eq!((back.status, back.error), (HealthStatus::Healthy, None));
        assert_eq!(back.last_full_checked_at, healthy.last_full_checked_at);
    }

    #[test]
    fn a_failed_model_call_is_not_forgotten() {
        let health = light(
            Some(&full(HealthStatus::Unhealthy, Some("not logged in"))),
            &present(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert_eq!(health.error.as_deref(), Some("not logged in"));
    }
}
