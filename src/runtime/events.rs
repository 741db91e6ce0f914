//! Tells the control plane what is wrong with this host, once, and never in anybody's way.
//!
//! What there is to tell is read from watches when the gateway is ready, so nothing queues up: during an outage the
//! latest verdict waits, and an event that could not be written is logged and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use tracing::warn;

use crate::backend::events::{Event, Events, Level};
use crate::domain::outgoing::Outgoing;
use crate::domain::text::cut;
use crate::provider::ProviderId;
use crate::provider::document::Picture;
use crate::provider::health::Witness;
use crate::state::fs::OwnerDir;
use crate::state::place;
use crate::wire::heartbeat::{HealthStatus, ProviderHealth, WireStatus};

/// Characters of a provider's own words.
const MAX_ERROR_CHARS: usize = 500;

/// The one sender of events.
#[derive(Debug)]
pub struct Teller {
    /// Where they go.
    pub events: Events,
    /// What is known about the agent CLIs.
    pub picture: watch::Receiver<Arc<Picture>>,
    /// The wire's status word: an event is sent while it is `ready`.
    pub status: watch::Receiver<WireStatus>,
    /// What there is to tell from the start.
    pub first: Option<Event>,
    /// Takes secrets out of what is told.
    pub outgoing: Outgoing,
}

/// An event without secrets: an agent CLI may say anything.
#[must_use]
pub fn cleaned(mut event: Event, outgoing: &Outgoing) -> Event {
    event.message = outgoing.text(&event.message).into_owned();
    outgoing.value(&mut event.details);
    event
}

impl Teller {
    /// Tells until dropped.
    pub async fn run(mut self) {
        let mut told = Told::default();
        let mut news: Vec<Event> = self.first.take().into_iter().collect();
        loop {
            let ready = self.status.wait_for(|status| *status == WireStatus::Ready);
            if ready.await.is_err() {
                return;
            }
            news.extend(told.news(&self.picture.borrow_and_update()));
            for event in news.drain(..) {
                let event = cleaned(event, &self.outgoing);
                if let Err(error) = self.events.record(&event).await {
                    warn!(%error, code = event.code, provider = event.provider, "Failed to record gateway event");
                }
            }
            if self.picture.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The event about a state directory that is not where it should be.
#[must_use]
pub fn fallback(dir: &OwnerDir) -> Option<Event> {
    let previous = place::instead_of(dir)?;
    Some(Event {
        provider: None,
        level: Level::Warn,
        code: "config_dir_fallback",
        message: "Gateway config directory was not writable; using fallback location.".to_owned(),
        details: json!({"previous": previous, "current": dir.path().display().to_string()}),
    })
}

/// The verdicts that were told in this life.
#[derive(Debug, Default)]
struct Told(BTreeMap<ProviderId, HealthStatus>);

impl Told {
    /// Events about providers whose verdict is neither good nor told already. A later one says that it is not the
    /// one of the start.
    fn news(&mut self, picture: &Picture) -> Vec<Event> {
        let mut news = Vec::new();
        for provider in ProviderId::ALL {
            // Before the first look there is only hearsay of an earlier life, and before the first answer nothing.
            let examined = picture.finding(provider).is_some() && !picture.expects_call(provider);
            let Some(health) = picture.health().get(&provider).filter(|_| examined) else {
                continue;
            };
            let before = self.0.insert(provider, health.status);
            if is_news(before, health.status) {
                let context = before.map_or("startup", |_| "refresh");
                news.push(match picture.witness(provider) {
                    Some(witness) => testimony(provider, health, witness),
                    None => verdict(provider, health, context),
                });
            }
        }
        news
    }
}

/// A failure that is no longer believed is no news; the next job tells.
fn is_news(before: Option<HealthStatus>, now: HealthStatus) -> bool {
    let forgotten = (before, now) == (Some(HealthStatus::Unhealthy), HealthStatus::Unknown);
    now != HealthStatus::Healthy && before != Some(now) && !forgotten
}

fn level(status: HealthStatus) -> Level {
    match status {
        HealthStatus::Unhealthy => Level::Error,
        HealthStatus::Healthy | HealthStatus::Unknown | HealthStatus::Unavailable => Level::Warn,
    }
}

/// What a job found out.
fn testimony(provider: ProviderId, health: &ProviderHealth, witness: &Witness) -> Event {
    Event {
        provider: Some(provider.wire()),
        level: level(health.status),
        code: "provider_unhealthy",
        message: format!("{} provider marked {}.", provider.label(), health.status.wire()),
        details: json!({
            "context": witness.context,
            "status": health.status,
            "error": health.error.as_deref().map(|error| cut(error, MAX_ERROR_CHARS)),
            "job_id": witness.job_id,
            "run_id": witness.run_id,
        }),
    }
}

/// What a check found, made at this occasion.
#[must_use]
pub fn verdict(provider: ProviderId, health: &ProviderHealth, context: &str) -> Event {
    let name = provider.wire();
    let error = health.error.as_deref().map(|error| cut(error, MAX_ERROR_CHARS));
    let message = match &error {
        Some(error) => format!("{name} validation failed: {error}"),
        None => format!("{name} validation status: {}", health.status.wire()),
    };
    Event {
        provider: Some(name),
        level: level(health.status),
        code: "provider_validation",
        message,
        details: json!({
            "context": context,
            "status": health.status,
            "check_type": health.check_type,
            "error": error,
            "duration_ms": health.duration_ms,
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::ids::JobId;
    use crate::provider::capability::{Features, Finding};
    use crate::provider::health::Verdict;
    use crate::wire::heartbeat::CheckType;

    fn seen(picture: &mut Picture, provider: ProviderId, version: Result<&str, &str>) {
        let finding = Finding {
            command: provider.program().to_owned(),
            version: version.map(str::to_owned).map_err(str::to_owned),
            features: Features::default(),
        };
        picture.see(provider, finding, Timestamp::now());
    }

    fn messages(told: &mut Told, picture: &Picture) -> Vec<(String, String)> {
        let text = |event: Event| (event.message, event.details["context"].as_str().unwrap().to_owned());
        told.news(picture).into_iter().map(text).collect()
    }

    fn said(message: &str, context: &str) -> (String, String) {
        (message.to_owned(), context.to_owned())
    }

    #[test]
    fn a_verdict_is_told_when_it_is_new_and_not_good() {
        let known = |status| ProviderHealth {
            status,
            check_type: CheckType::Full,
            checked_at: String::new(),
            last_full_checked_at: None,
            last_full_status: Some(status),
            error: None,
            model: None,
            duration_ms: None,
        };
        let healthy = BTreeMap::from([(ProviderId::ClaudeCode, known(HealthStatus::Healthy))]);
        let (mut told, mut picture) = (Told::default(), Picture::from_known(healthy));
        assert_eq!(messages(&mut told, &picture), [], "nobody looked yet");
        seen(&mut picture, ProviderId::ClaudeCode, Ok("1"));
        seen(&mut picture, ProviderId::Codex, Err("spawn codex ENOENT"));
        seen(&mut picture, ProviderId::Gemini, Ok("1"));
        let at_start = [
            said("codex validation failed: spawn codex ENOENT", "startup"),
            said("gemini validation status: unknown", "startup"),
        ];
        assert_eq!(messages(&mut told, &picture), at_start);
        for _ in 0..3 {
            seen(&mut picture, ProviderId::Codex, Err("spawn codex EACCES"));
            assert_eq!(messages(&mut told, &picture), [], "the same verdict again");
        }
        seen(&mut picture, ProviderId::ClaudeCode, Err("gone"));
        let gone = [said("claude_code validation failed: gone", "refresh")];
        assert_eq!(messages(&mut told, &picture), gone);
        seen(&mut picture, ProviderId::ClaudeCode, Ok("2"));
        assert_eq!(messages(&mut told, &picture), [], "good again");
        seen(&mut picture, ProviderId::ClaudeCode, Err("gone"));
        assert_eq!(messages(&mut told, &picture), gone);
    }

    #[test]
    fn a_job_that_found_out_is_named_and_a_forgotten_failure_is_no_news() {
        let (mut told, mut picture) = (Told::default(), Picture::default());
        for provider in ProviderId::ALL {
            seen(&mut picture, provider, Ok("1"));
        }
        drop(told.news(&picture));
        let witness = Witness {
            context: "model_run",
            job_id: JobId::new("j").unwrap(),
            run_id: None,
        };
        let fails = Verdict::Fails("401".to_owned());
        assert!(picture.judge(ProviderId::Codex, &fails, witness, Timestamp::UNIX_EPOCH));
        let news = told.news(&picture);
        assert_eq!(
            (news.len(), news[0].code, news[0].level),
            (1, "provider_unhealthy", Level::Error)
        );
        assert_eq!(news[0].message, "Codex provider marked unhealthy.");
        let details =
            json!({"context": "model_run", "status": "unhealthy", "error": "401", "job_id": "j", "run_id": null});
        assert_eq!(news[0].details, details);
        seen(&mut picture, ProviderId::Codex, Ok("1"));
        assert_eq!(messages(&mut told, &picture), []);
        assert_eq!(picture.witness(ProviderId::Codex), None);
    }

    #[test]
    fn only_a_failed_call_is_an_error_and_a_long_one_is_cut() {
        let health = ProviderHealth {
            status: HealthStatus::Unhealthy,
            check_type: CheckType::Light,
            checked_at: String::new(),
            last_full_checked_at: None,
            last_full_status: None,
            error: Some("ä".repeat(501)),
            model: None,
            duration_ms: Some(7),
        };
        let event = verdict(ProviderId::Codex, &health, "startup");
        let error = format!("{}...", "ä".repeat(500));
        assert_eq!((event.level, event.provider), (Level::Error, Some("codex")));
        assert_eq!(event.message, format!("codex validation failed: {error}"));
        let details = json!({"context": "startup", "status": "unhealthy", "check_type": "light", "error": error,
            "duration_ms": 7});
        assert_eq!(event.details.to_string(), details.to_string());
    }
}
