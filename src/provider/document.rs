//! The capability document v1, sent with every heartbeat.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::provider::ProviderId;
use crate::provider::capability::{Finding, is_ready};
use crate::provider::health;
use crate::wire::heartbeat::{
    Capabilities, HostCapability, HostMetadata, ProviderCapability, ProviderHealth, ProviderSupports, Readiness,
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

/// Health by provider, as it was last known.
pub type KnownHealth = BTreeMap<ProviderId, ProviderHealth>;
/// Findings by provider; one that is missing has not been examined yet.
pub type Findings = BTreeMap<ProviderId, Finding>;

/// Builds the document.
///
/// Heartbeats do not wait for probes: a provider without a finding is reported as not available, with that reason.
#[must_use]
pub fn capabilities(host: &HostFacts, findings: &Findings, known: &KnownHealth, now: Timestamp) -> Capabilities {
    let providers: BTreeMap<_, _> = ProviderId::ALL
        .into_iter()
        .map(|provider| {
            let block = provider_block(provider, findings.get(&provider), known.get(&provider), now);
            (provider.wire().to_owned(), block)
        })
        .collect();
    let any_ready = providers.values().any(is_ready);
    Capabilities {
        schema_version: "v1".to_owned(),
        providers,
        hosts: BTreeMap::from([("gateway".to_owned(), host_block(host))]),
        services: Services {
            model_execution: readiness(any_ready, "No gateway AI model provider is healthy"),
            remote_shell: readiness(true, ""),
            machine_control: readiness(host.full_control_enabled, "Gateway host machine control is disabled"),
        },
        runtime: runtime_info(),
    }
}

fn provider_block(
    provider: ProviderId,
    finding: Option<&Finding>,
    known: Option<&ProviderHealth>,
    now: Timestamp,
) -> ProviderCapability {
    let Some(finding) = finding else {
        return not_yet_examined(known);
    };
    finding.capability(provider, health::light(known, finding, now))
}

/// Health stays what it was known to be: a verdict without a look would be a lie.
fn not_yet_examined(known: Option<&ProviderHealth>) -> ProviderCapability {
    ProviderCapability {
        available: false,
        version: None,
        error: Some("Not examined yet".to_owned()),
        supported_flags: BTreeMap::new(),
        supports: ProviderSupports::default(),
        extensions: None,
        health: known.cloned(),
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

    fn document(findings: &Findings, full_control: bool) -> Value {
        let known = KnownHealth::new();
        serde_json::to_value(capabilities(
            &host(full_control),
            findings,
            &known,
            Timestamp::UNIX_EPOCH,
        ))
        .unwrap()
    }

    #[test]
    fn before_any_probe_all_three_are_there_and_nothing_is_claimed() {
        let document = document(&Findings::new(), false);
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
        let document = document(&Findings::new(), true);
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
        let document = document(&Findings::from([(ProviderId::ClaudeCode, finding)]), false);
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
}
