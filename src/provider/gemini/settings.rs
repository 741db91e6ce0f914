//! What a home of Gemini CLI that belongs to this program holds: its `settings.json`.

use serde_json::{Value, json};

/// Settings with which it asks nobody anything: a key from the environment, no telemetry, no updates; few tries of its
/// own, because it repeats what it already printed with every further try; prompts without files and agents in them;
/// and a shell that does not see the key.
#[must_use]
pub fn settings() -> Value {
    json!({
        "security": {
            "auth": {"selectedType": "gemini-api-key"},
            "folderTrust": {"enabled": false},
            "environmentVariableRedaction": {"enabled": true, "blocked": ["GEMINI_API_KEY"]},
        },
        "general": {
            "maxAttempts": 2,
            "retryFetchErrors": false,
            "enableAutoUpdate": false,
            "enableAutoUpdateNotification": false,
        },
        "context": {"fileFiltering": {"enableRecursiveFileSearch": false}},
        "experimental": {"enableAgents": false},
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
    })
}
