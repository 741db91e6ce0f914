//! Which agent runs when nobody says: by what the gateway reports of its CLIs.

use serde_json::Value;

use crate::cli::error::CliError;
use crate::provider::ProviderId;
use crate::provider::capability::{is_healthy, is_ready, json_mode};
use crate::wire::heartbeat::ProviderCapability;

/// The best agent of a gateway: healthy before merely installed. For an answer in JSON one that can be held to a schema
/// comes first, streaming JSON is the second best.
pub(super) fn provider(gateway: &Value, json: bool) -> Result<ProviderId, CliError> {
    let known: Vec<_> = ProviderId::ALL
        .into_iter()
        .filter_map(|provider| Some((provider, capability(gateway, provider)?)))
        .collect();
    let ready = known.iter().filter(|(_, capability)| is_ready(capability));
    // The first of several that are equally good, in the order of the wire.
    let best = ready.rev().max_by_key(|(_, capability)| rank(capability, json));
    best.map(|(provider, _)| *provider).ok_or_else(|| none_ready(&known))
}

fn capability(gateway: &Value, provider: ProviderId) -> Option<ProviderCapability> {
    let block = gateway.pointer(&format!("/capabilities/providers/{}", provider.wire()))?;
    serde_json::from_value(block.clone()).ok()
}

fn rank(capability: &ProviderCapability, json: bool) -> (u8, bool) {
    let form = if json { json_mode(capability) } else { 0 };
    (form, is_healthy(capability))
}

fn none_ready(known: &[(ProviderId, ProviderCapability)]) -> CliError {
    let why = |(provider, capability): &(ProviderId, ProviderCapability)| {
        let health = capability.health.as_ref().and_then(|health| health.error.as_deref());
        let why = health.or(capability.error.as_deref()).unwrap_or("not usable");
        format!("{}: {why}", provider.label())
    };
    let error = CliError::failed("No agent CLI of the gateway can be used.");
    if known.is_empty() {
        return error
            .detail("it has not reported any yet")
            .hint("on the host: gateway status; or name one with --provider");
    }
    error
        .detail(known.iter().map(why).collect::<Vec<_>>().join("\n"))
        .hint("on the host: gateway doctor; or name one with --provider")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Health, schema mode, streaming mode; none is not installed.
    fn gateway(blocks: [Option<(&str, bool, bool)>; 3]) -> Value {
        let block = |known: Option<(&str, bool, bool)>| {
            let (health, schema, stream) = known.unwrap_or(("unavailable", false, false));
            json!({
                "available": known.is_some(), "error": "spawn ENOENT",
                "supports": {"output_schema": schema, "stream_json": stream, "tool_disable": true},
                "health": {"status": health, "check_type": "light", "checked_at": "t"},
            })
        };
        let [claude, codex, gemini] = blocks.map(block);
        json!({"capabilities": {"providers": {"claude_code": claude, "codex": codex, "gemini": gemini}}})
    }

    #[test]
    fn a_json_run_prefers_a_schema_mode_and_other_runs_health() {
        let (unknown, healthy) = (Some(("unknown", true, true)), Some(("healthy", true, true)));
        let gemini = Some(("healthy", false, true));
        for (blocks, json, best) in [
            ([unknown, unknown, gemini], false, ProviderId::Gemini),
            ([unknown, healthy, gemini], true, ProviderId::Codex),
            ([unknown, unknown, gemini], true, ProviderId::ClaudeCode),
            (
                [None, Some(("unhealthy", true, true)), gemini],
                true,
                ProviderId::Gemini,
            ),
            ([healthy, healthy, gemini], false, ProviderId::ClaudeCode),
        ] {
            assert_eq!(provider(&gateway(blocks), json).unwrap(), best, "{blocks:?} {json}");
        }
    }

    #[test]
    fn a_gateway_without_agents_says_why() {
        let error = provider(&gateway([None, None, None]), false).unwrap_err();
        assert!(error.detail.unwrap().contains("Codex: spawn ENOENT"));
        assert!(provider(&json!({"capabilities": null}), false).is_err());
    }
}
