//! Health of a provider: what checks without a model call say, and what jobs say that ran a model.
//!
//! Nothing bad outlives itself. An absence ends with the absence. A failure that concerns the provider (nobody is
//! logged in, nothing is left of the quota) is believed for half a minute: then the provider may be tried again, and
//! the next job tells. No job can switch a provider off until a person acts.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::clock::{millis, wire_time};
use crate::domain::ids::{JobId, RunId};
use crate::domain::text::cut;
use crate::provider::capability::Finding;
use crate::wire::heartbeat::{CheckType, HealthStatus, ProviderHealth};

/// Characters of an error that travel with every heartbeat.
const MAX_ERROR_CHARS: usize = 500;

/// The job that found something out about a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// `model_run` or `subagent_run`.
    pub context: &'static str,
    /// The job.
    pub job_id: JobId,
    /// The run of a subagent.
    pub run_id: Option<RunId>,
}

/// What a job says about the provider it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A model answered.
    Works,
    /// It did not, and the reason is the provider's.
    Fails(String),
    /// The program could not be started.
    Absent(String),
}

/// What a question to the model said: a check with everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Why there was no answer, if there was none.
    pub result: Result<(), String>,
    /// Model that answered.
    pub model: Option<String>,
    /// How long it took.
    pub duration: Duration,
}

impl Call {
    /// One that could not be made.
    #[must_use]
    pub const fn failed(why: String) -> Self {
        Self {
            result: Err(why),
            model: None,
            duration: Duration::ZERO,
        }
    }
}

/// The verdict of a check that asked the model.
#[must_use]
pub fn full(previous: Option<&ProviderHealth>, call: &Call, now: Timestamp) -> ProviderHealth {
    let status = match call.result {
        Ok(()) => HealthStatus::Healthy,
        Err(_) => HealthStatus::Unhealthy,
    };
    let before = carried_over(previous, CheckType::Full, now);
    ProviderHealth {
        status,
        last_full_checked_at: Some(before.checked_at.clone()),
        last_full_status: Some(status),
        error: call.result.as_ref().err().map(|why| short(why)),
        model: call.model.clone().or(before.model.clone()),
        duration_ms: Some(millis(call.duration)),
        ..before
    }
}

/// The verdict of a check that only looked at the CLI; failures are believed for so long.
///
/// A CLI that is there again takes up its last full verdict: one slow start must not switch a provider off for good.
#[must_use]
pub fn light(
    previous: Option<&ProviderHealth>,
    finding: &Finding,
    now: Timestamp,
    believe: SignedDuration,
) -> ProviderHealth {
    let mut seen = carried_over(previous, CheckType::Light, now);
    match &finding.version {
        Err(error) => {
            seen.status = HealthStatus::Unavailable;
            seen.error = Some(error.clone());
        }
        Ok(_) => match previous.filter(|known| is_believed(known, now, believe)) {
            Some(failure) => {
                // Its time is that of the failure: looking does not make it younger.
                seen.checked_at.clone_from(&failure.checked_at);
                seen.status = HealthStatus::Unhealthy;
                seen.error.clone_from(&failure.error);
            }
            None => seen.status = remembered(previous),
        },
    }
    seen
}

/// The health of a provider after a job.
#[must_use]
pub fn judged(previous: Option<&ProviderHealth>, verdict: &Verdict, now: Timestamp) -> ProviderHealth {
    let (status, error) = match verdict {
        Verdict::Works => (HealthStatus::Healthy, None),
        Verdict::Fails(why) => (HealthStatus::Unhealthy, Some(short(why))),
        Verdict::Absent(why) => (HealthStatus::Unavailable, Some(short(why))),
    };
    ProviderHealth {
        status,
        error,
        ..carried_over(previous, CheckType::Light, now)
    }
}

fn carried_over(previous: Option<&ProviderHealth>, check_type: CheckType, now: Timestamp) -> ProviderHealth {
    ProviderHealth {
        status: HealthStatus::Unknown,
        check_type,
        checked_at: wire_time(now),
        last_full_checked_at: previous.and_then(|health| health.last_full_checked_at.clone()),
        last_full_status: previous.and_then(|health| health.last_full_status),
        error: None,
        model: previous.and_then(|health| health.model.clone()),
        duration_ms: None,
    }
}

fn is_believed(known: &ProviderHealth, now: Timestamp, believe: SignedDuration) -> bool {
    // A failure from the future is of another clock.
    let age = known.checked_at.parse().map(|at| now.duration_since(at));
    known.status == HealthStatus::Unhealthy && age.is_ok_and(|age| !age.is_negative() && age < believe)
}

/// What is known of a provider that is there and about whose failures nothing recent is known.
fn remembered(previous: Option<&ProviderHealth>) -> HealthStatus {
    let known = |status: &HealthStatus| match status {
        HealthStatus::Healthy | HealthStatus::Unknown => true,
        HealthStatus::Unhealthy | HealthStatus::Unavailable => false,
    };
    let last = previous.map(|health| health.status).filter(known);
    let failed = previous.is_some_and(|health| health.status == HealthStatus::Unhealthy);
    let full = previous.and_then(|health| health.last_full_status).filter(known);
    // An older success says nothing against a newer failure.
    last.or(full.filter(|_| !failed)).unwrap_or(HealthStatus::Unknown)
}

/// One line, as short as a heartbeat needs it.
#[must_use]
pub fn short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>();
    cut(&words.join(" "), MAX_ERROR_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::capability::Features;
    use crate::provider::rhythm::Rhythm;

    fn light(previous: Option<&ProviderHealth>, finding: &Finding, now: Timestamp) -> ProviderHealth {
        super::light(previous, finding, now, Rhythm::USUAL.believe)
    }

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
    fn a_failure_is_believed_for_a_while_and_then_the_provider_may_be_tried_again() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let healthy = full(HealthStatus::Healthy, None);
        let fails = Verdict::Fails("not\n logged in".to_owned());
        let mut health = judged(Some(&healthy), &fails, at(0));
        for seconds in [5, 10, 24] {
            health = light(Some(&health), &present(), at(seconds));
            assert_eq!(health.status, HealthStatus::Unhealthy);
            assert_eq!(health.error.as_deref(), Some("not logged in"));
        }
        health = light(Some(&health), &present(), at(25));
        assert_eq!((health.status, health.error.as_deref()), (HealthStatus::Unknown, None));
        assert_eq!(health.last_full_status, Some(HealthStatus::Healthy));
        let works = judged(Some(&health), &Verdict::Works, at(26));
        assert_eq!(light(Some(&works), &present(), at(9999)).status, HealthStatus::Healthy);
    }

    #[test]
    fn an_absence_after_a_failure_ends_as_unknown() {
        let now = Timestamp::UNIX_EPOCH;
        let failed = full(HealthStatus::Unhealthy, Some("quota"));
        let gone = judged(Some(&failed), &Verdict::Absent("spawn claude ENOENT".to_owned()), now);
        assert_eq!(gone.status, HealthStatus::Unavailable);
        assert_eq!(light(Some(&gone), &present(), now).status, HealthStatus::Unknown);
    }

    #[test]
    fn a_call_that_failed_is_the_last_word_until_it_may_be_tried_again() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let call = |result: Result<(), &str>| Call {
            result: result.map_err(str::to_owned),
            model: Some("m".to_owned()),
            duration: Duration::from_millis(7),
        };
        let good = super::full(None, &call(Ok(())), at(0));
        assert_eq!(
            (good.status, good.check_type, good.duration_ms),
            (HealthStatus::Healthy, CheckType::Full, Some(7))
        );
        let bad = super::full(Some(&good), &call(Err("over quota")), at(9));
        assert_eq!(
            (bad.error.as_deref(), bad.last_full_status),
            (Some("over quota"), Some(HealthStatus::Unhealthy))
        );
        assert_eq!(bad.last_full_checked_at.as_deref(), Some("1970-01-01T00:00:09.000Z"));
        assert_eq!(light(Some(&bad), &present(), at(20)).status, HealthStatus::Unhealthy);
        assert_eq!(light(Some(&bad), &present(), at(40)).status, HealthStatus::Unknown);
        assert_eq!(light(Some(&good), &present(), at(40)).status, HealthStatus::Healthy);
    }

    #[test]
    fn errors_are_one_short_line() {
        assert_eq!(short(" a\n\tb "), "a b");
        assert_eq!(short(&"ü".repeat(600)).chars().count(), 503);
    }
}
