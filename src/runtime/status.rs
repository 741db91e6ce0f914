//! The daemon's state in one pure function: facts in; local word, wire word and reason out.

use std::time::Duration;

use crate::runtime::feed::RECONCILE_EVERY;
use crate::runtime::shutdown::Phase;
use crate::wire::heartbeat::WireStatus;
use crate::wire::local::DaemonState;

/// A reconcile older than this says nothing about now.
pub const RECONCILE_STALE: Duration = Duration::from_secs(3 * RECONCILE_EVERY.as_secs());
/// A heartbeat older than this is stale for the control plane.
const HEARTBEAT_STALE: Duration = Duration::from_secs(90);

/// What is known about the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionFact {
    /// Not yet checked.
    Unknown,
    /// Accepted by the control plane.
    Usable,
    /// Refused; only pairing again helps.
    Lost(String),
}

/// Everything the state depends on. Ages are measured on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Phase of the end.
    pub phase: Phase,
    /// The session.
    pub session: SessionFact,
    /// Age of the last good reconcile; with polling switched off, of the join.
    pub reconciled: Option<Duration>,
    /// Why the last request to the control plane failed, if it did.
    pub trouble: Option<String>,
    /// Age of the last accepted heartbeat.
    pub heartbeat: Option<Duration>,
    /// Why the Realtime channel is down, once it has failed.
    pub realtime_down: Option<String>,
    /// Why the journal cannot be written.
    pub journal: Option<String>,
}

impl Facts {
    /// A daemon that has just begun.
    #[must_use]
    pub const fn starting() -> Self {
        Self {
            phase: Phase::Running,
            session: SessionFact::Unknown,
            reconciled: None,
            trouble: None,
            heartbeat: None,
            realtime_down: None,
            journal: None,
        }
    }
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// Local word.
    pub state: DaemonState,
    /// Wire word.
    pub wire: WireStatus,
    /// Why, when the state is not `ready`.
    pub reason: Option<String>,
}

/// First matching row wins.
#[must_use]
pub fn assess(facts: &Facts) -> Assessment {
    let say = |state, wire, reason: Option<String>| Assessment { state, wire, reason };
    if facts.phase == Phase::Done {
        return say(DaemonState::Draining, WireStatus::Offline, Some("stopped".to_owned()));
    }
    if let Some(reason) = ending(facts.phase) {
        return say(DaemonState::Draining, WireStatus::Pending, Some(reason.to_owned()));
    }
    if let SessionFact::Lost(why) = &facts.session {
        let reason = format!("the control plane refused the session ({why}); run `gateway pair`");
        return say(DaemonState::Unauthenticated, WireStatus::Error, Some(reason));
    }
    let Some(age) = facts.reconciled else {
        return match &facts.trouble {
            Some(why) => say(DaemonState::Offline, WireStatus::Pending, Some(why.clone())),
            None => say(
                DaemonState::Starting,
                WireStatus::Pending,
                Some("connecting".to_owned()),
            ),
        };
    };
    if age > RECONCILE_STALE {
        let why = facts
            .trouble
            .clone()
            .unwrap_or_else(|| "no answer to job queries".to_owned());
        return say(DaemonState::Offline, WireStatus::Error, Some(why));
    }
    if let Some(why) = &facts.journal {
        let reason = format!("the journal cannot be written, no job is claimed: {why}");
        return say(DaemonState::Degraded, WireStatus::Error, Some(reason));
    }
    say_serving(facts)
}

fn say_serving(facts: &Facts) -> Assessment {
    let limit = if facts.heartbeat.is_none_or(|age| age > HEARTBEAT_STALE) {
        Some("heartbeats are not accepted".to_owned())
    } else {
        let polling = |why| format!("Realtime is down, jobs are found by polling: {why}");
        facts.realtime_down.as_ref().map(polling)
    };
    Assessment {
        state: if limit.is_some() {
            DaemonState::Degraded
        } else {
            DaemonState::Ready
        },
        wire: WireStatus::Ready,
        reason: limit,
    }
}

const fn ending(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Running | Phase::Done => None,
        Phase::Draining => Some("running jobs may end, no new ones are taken"),
        Phase::Cancelling | Phase::Killing => Some("running jobs are being cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Facts {
        Facts {
            session: SessionFact::Usable,
            reconciled: Some(Duration::from_secs(4)),
            heartbeat: Some(Duration::from_secs(29)),
            ..Facts::starting()
        }
    }

    fn words(facts: &Facts) -> (DaemonState, WireStatus) {
        let said = assess(facts);
        assert_eq!(
            said.reason.is_none(),
            said.state == DaemonState::Ready,
            "only `ready` needs no reason"
        );
        (said.state, said.wire)
    }

    fn with(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = serving();
        change(&mut facts);
        facts
    }

    fn why() -> Option<String> {
        Some("why".to_owned())
    }

    #[test]
    fn a_daemon_that_has_not_reconciled_is_starting_or_offline() {
        assert_eq!(words(&Facts::starting()), (DaemonState::Starting, WireStatus::Pending));
        let facts = Facts {
            trouble: why(),
            ..Facts::starting()
        };
        assert_eq!(words(&facts), (DaemonState::Offline, WireStatus::Pending));
    }

    #[test]
    fn each_fact_has_its_word() {
        use DaemonState as S;
        use WireStatus as W;
        let seconds = |age| Some(Duration::from_secs(age));
        let cases = [
            (serving(), S::Ready, W::Ready),
            (with(|facts| facts.trouble = why()), S::Ready, W::Ready),
            (with(|facts| facts.reconciled = seconds(16)), S::Offline, W::Error),
            (with(|facts| facts.realtime_down = why()), S::Degraded, W::Ready),
            (with(|facts| facts.heartbeat = seconds(91)), S::Degraded, W::Ready),
            (with(|facts| facts.journal = why()), S::Degraded, W::Error),
            (
                with(|facts| facts.session = SessionFact::Lost("x".to_owned())),
                S::Unauthenticated,
                W::Error,
            ),
            (with(|facts| facts.phase = Phase::Draining), S::Draining, W::Pending),
            (with(|facts| facts.phase = Phase::Killing), S::Draining, W::Pending),
            (with(|facts| facts.phase = Phase::Done), S::Draining, W::Offline),
        ];
        for (facts, state, wire) in cases {
            assert_eq!(words(&facts), (state, wire), "{facts:?}");
        }
    }

    #[test]
    fn a_lost_session_says_how_to_mend_it() {
        let facts = Facts {
            session: SessionFact::Lost("revoked".to_owned()),
            ..serving()
        };
        assert!(
            assess(&facts)
                .reason
                .is_some_and(|reason| reason.contains("gateway pair"))
        );
    }
}
