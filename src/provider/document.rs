//! The capability document v1, sent with every heartbeat.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::provider::ProviderId;
use crate::provider::capability::{Finding, is_ready};
use crate::provider::health::{self, Call, Verdict, Witness};
use crate::provider::rhythm::Rhythm;
use crate::wire::heartbeat::{
    Capabilities, HealthStatus, HostCapability, HostMetadata, ProviderCapability, ProviderHealth, Readiness,
    RuntimeInfo, Services,
};

/// What the document says about the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Label of the host.
    pub device_name: String,
    /// The host's own layer of machine control.
    pub full_control_enabled: bool,
}

/// All that is known about the providers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    findings: BTreeMap<ProviderId, Finding>,
    health: BTreeMap<ProviderId, ProviderHealth>,
    /// The jobs that made the health what it is.
    witnesses: BTreeMap<ProviderId, Witness>,
    /// Whose model is being asked for the first time.
    asked: BTreeSet<ProviderId>,
    /// How long a failure is believed.
    believe: SignedDuration,
}

impl Default for Picture {
    fn default() -> Self {
        Self::from_known(BTreeMap::new())
    }
}

impl Picture {
    /// Nothing was looked at yet; this is the health of an earlier life.
    #[must_use]
    pub const fn from_known(health: BTreeMap<ProviderId, ProviderHealth>) -> Self {
        Self {
            findings: BTreeMap::new(),
            health,
            witnesses: BTreeMap::new(),
            asked: BTreeSet::new(),
            believe: Rhythm::USUAL.believe,
        }
    }

    /// The same, believing failures for so long.
    #[must_use]
    pub const fn believing(mut self, believe: SignedDuration) -> Self {
        self.believe = believe;
        self
    }

    /// Takes in what a look at a provider found. Says whether that is news to anybody but the clock.
    pub fn see(&mut self, provider: ProviderId, finding: Finding, now: Timestamp) -> bool {
        let seen = health::light(self.health.get(&provider), &finding, now, self.believe);
        let same_verdict = self.health.get(&provider).is_some_and(|known| {
            (known.status, known.check_type, &known.error) == (seen.status, seen.check_type, &seen.error)
        });
        if self
            .health
            .get(&provider)
            .is_some_and(|known| known.status != seen.status)
        {
            self.witnesses.remove(&provider);
        }
        let same_finding = self.findings.get(&provider) == Some(&finding);
        self.health.insert(provider, seen);
        self.findings.insert(provider, finding);
        !(same_verdict && same_finding)
    }

    /// What a failure depended on is another now: it is not believed any more.
    pub fn forgive(&mut self, provider: ProviderId) {
        if let Some(health) = self.health.get_mut(&provider)
            && health.status == HealthStatus::Unhealthy
        {
            health.status = HealthStatus::Unknown;
            health.error = None;
            self.witnesses.remove(&provider);
        }
    }

    /// Notes whether a model's first answer is still to come: until then there is no verdict to tell.
    pub fn expect_call(&mut self, provider: ProviderId, expected: bool) {
        if expected {
            self.asked.insert(provider);
        } else {
            self.asked.remove(&provider);
        }
    }

    /// Whether a model's first answer is still to come.
    #[must_use]
    pub fn expects_call(&self, provider: ProviderId) -> bool {
        self.asked.contains(&provider)
    }

    /// Takes in what a model said when it was asked.
    pub fn called(&mut self, provider: ProviderId, call: &Call, now: Timestamp) {
        let health = health::full(self.health.get(&provider), call, now);
        self.health.insert(provider, health);
        self.witnesses.remove(&provider);
    }

    /// Takes in what somebody else on this host found out by asking the model, unless more is known here.
    pub fn adopt(&mut self, provider: ProviderId, found: ProviderHealth) -> bool {
        let asked_at = |health: &ProviderHealth| health.last_full_checked_at.as_ref()?.parse::<Timestamp>().ok();
        let known = self.health.get(&provider).and_then(asked_at);
        let is_newer = asked_at(&found).is_some_and(|at| known.is_none_or(|known| at > known));
        if is_newer {
            self.health.insert(provider, found);
            self.witnesses.remove(&provider);
        }
        is_newer
    }

    /// Takes in what a job says about its provider. Says whether its health is another one now.
    pub fn judge(&mut self, provider: ProviderId, verdict: &Verdict, witness: Witness, now: Timestamp) -> bool {
        let before = self.health.get(&provider);
        let judged = health::judged(before, verdict, now);
        let changed = before.is_none_or(|before| before.status != judged.status);
        self.health.insert(provider, judged);
        self.witnesses.insert(provider, witness);
        changed
    }

    /// The job that made the health of a provider what it is, if it was one.
    #[must_use]
    pub fn witness(&self, provider: ProviderId) -> Option<&Witness> {
        self.witnesses.get(&provider)
    }

    /// What was found, once somebody has looked.
    #[must_use]
    pub fn finding(&self, provider: ProviderId) -> Option<&Finding> {
        self.findings.get(&provider)
    }

    /// Health by provider, to be stored.
    #[must_use]
    pub const fn health(&self) -> &BTreeMap<ProviderId, ProviderHealth> {
        &self.health
    }

    /// The wire's block of one provider.
    #[must_use]
    pub fn block(&self, provider: ProviderId) -> ProviderCapability {
        let health = self.health.get(&provider).cloned();
        match self.findings.get(&provider) {
            Some(finding) => finding.capability(provider, health),
            // Health stays what it was known to be: a verdict without a look would be a lie.
            None => Finding::unavailable(provider.program(), "Not examined yet").capability(provider, health),
        }
    }

    /// Whether a model could be run by somebody.
    #[must_use]
    pub fn any_ready(&self) -> bool {
        ProviderId::ALL
            .into_iter()
            .any(|provider| is_ready(&self.block(provider)))
    }
}

/// Builds the document.
///
/// Heartbeats do not wait for probes: a provider without a finding is reported as not available, with that reason.
#[must_use]
pub fn capabilities(host: &HostFacts, picture: &Picture) -> Capabilities {
    let block = |provider: ProviderId| (provider.wire().to_owned(), picture.block(provider));
    Capabilities {
        schema_version: "v1".to_owned(),
        providers: ProviderId::ALL.into_iter().map(block).collect(),
        hosts: BTreeMap::from([("gateway".to_owned(), host_block(host))]),
        services: Services {
            model_execution: readiness(picture.any_ready(), "No gateway AI model provider is healthy"),
            remote_shell: readiness(true, ""),
            machine_control: readiness(host.full_control_enabled, "Gateway host machine control is disabled"),
        },
        runtime: runtime_info(),
    }
}

fn host_block(host: &HostFacts) -> HostCapability {
    HostCapability {
        kind: "gateway".to_owned(),
        available: true,
        label: Some(host.device_name.clone()),
        metadata: HostMetadata {
            install_full_control_enabled: host.full_control_enabled,
        },
    }
}

fn readiness(ready: bool, reason: &str) -> Readiness {
    Readiness {
        ready,
        reason: (!ready).then(|| reason.to_owned()),
    }
}

fn runtime_info() -> RuntimeInfo {
    RuntimeInfo {
        platform: platform().to_owned(),
        arch: arch().to_owned(),
        node_version: "none".to_owned(),
        gateway_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

/// The operating system in the wire's words, which are Node's.
#[must_use]
pub const fn platform() -> &'static str {
    if cfg!(target_os = "macos") {
        "darwin"
    } else {
        std::env::consts::OS
    }
}

/// The processor in the wire's words, which are Node's.
#[must_use]
pub const fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "x64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::capability::Features;

    fn host(full_control_enabled: bool) -> HostFacts {
        HostFacts {
            device_name: "desk".to_owned(),
            full_control_enabled,
        }
    }

    fn document(picture: &Picture, full_control: bool) -> Value {
        serde_json::to_value(capabilities(&host(full_control), picture)).unwrap()
    }

    #[test]
    fn before_any_probe_all_three_are_there_and_nothing_is_claimed() {
        let document = document(&Picture::default(), false);
        let keys: Vec<_> = document["providers"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["claude_code", "codex", "gemini"]);
        assert_eq!(document["providers"]["codex"]["available"], json!(false));
        assert_eq!(document["providers"]["codex"].get("health"), None);
        assert_eq!(document["services"]["model_execution"]["ready"], json!(false));
        assert_eq!(
            document["services"]["machine_control"],
            json!({"ready": false, "reason": "Gateway host machine control is disabled"})
        );
        assert_eq!(document["services"]["remote_shell"], json!({"ready": true}));
    }

    #[test]
    fn the_host_and_runtime_blocks_have_the_wires_shape() {
        let document = document(&Picture::default(), true);
        assert_eq!(document["schema_version"], json!("v1"));
        assert_eq!(
            document["hosts"],
            json!({"gateway": {"kind": "gateway", "available": true, "label": "desk",
                "metadata": {"install_full_control_enabled": true}}})
        );
        assert_eq!(document["runtime"]["node_version"], json!("none"));
        assert_eq!(document["services"]["machine_control"], json!({"ready": true}));
    }

    #[test]
    fn an_available_provider_makes_models_ready() {
        let finding = Finding {
            command: "/usr/bin/claude".to_owned(),
            version: Ok("2.0.0 (Claude Code)".to_owned()),
            features: Features::read(ProviderId::ClaudeCode, Some("--tools"), None),
        };
        let mut picture = Picture::default();
        assert!(picture.see(ProviderId::ClaudeCode, finding.clone(), Timestamp::UNIX_EPOCH));
        assert!(
            !picture.see(ProviderId::ClaudeCode, finding, Timestamp::now()),
            "only the clock moved"
        );
        let document = document(&picture, false);
        assert_eq!(
            document["providers"]["claude_code"]["version"],
            json!("2.0.0 (Claude Code)")
        );
        assert_eq!(
            document["providers"]["claude_code"]["health"]["status"],
            json!("unknown")
        );
        assert_eq!(document["services"]["model_execution"], json!({"ready": true}));
    }

    #[test]
    fn newer_answers_of_others_are_adopted_and_a_failure_is_forgiven() {
        let codex = ProviderId::Codex;
        let mut picture = Picture::default();
        let call = |result: Result<(), String>| Call {
            result,
            model: None,
            duration: std::time::Duration::ZERO,
        };
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let found = |result, seconds| health::full(None, &call(result), at(seconds));
        let status = |picture: &Picture| picture.health()[&codex].status;
        assert!(picture.adopt(codex, found(Err("over quota".to_owned()), 5)));
        assert_eq!(status(&picture), HealthStatus::Unhealthy);
        assert!(!picture.adopt(codex, found(Ok(()), 5)), "not newer");
        picture.forgive(codex);
        assert_eq!(
            (status(&picture), picture.block(codex).health.unwrap().error),
            (HealthStatus::Unknown, None)
        );
        assert!(picture.adopt(codex, found(Ok(()), 6)));
        picture.forgive(codex);
        assert_eq!(status(&picture), HealthStatus::Healthy, "there is nothing to forgive");
    }
}
