//! What a home of Codex that belongs to this program holds: its `config.toml`.

use crate::provider::argument::toml_string;

/// Variable that carries the key to Codex. The agent's own shell does not get it.
pub const KEY_VARIABLE: &str = "GATEWAY_CODEX_API_KEY";

/// A configuration that reaches one endpoint only, bounds its own waiting, and is quiet otherwise.
#[must_use]
pub fn config_toml(base_url: &str) -> String {
    format!(
        r#"model_provider = "gateway"
check_for_update_on_startup = false

[model_providers.gateway]
name = "gateway"
base_url = {}
env_key = "{KEY_VARIABLE}"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2
stream_idle_timeout_ms = 120000

[analytics]
enabled = false

[features]
plugins = false
unbounded_connection_retries = false

[shell_environment_policy]
exclude = ["{KEY_VARIABLE}"]
"#,
        toml_string(base_url)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 10: what the daemon knows, the agent's shell would know.
    #[test]
    fn the_shell_of_the_agent_does_not_get_the_key() {
        let policy = format!("[shell_environment_policy]\nexclude = [\"{KEY_VARIABLE}\"]");
        assert!(config_toml("http://h").contains(&policy));
    }

    #[test]
    fn a_url_stays_inside_its_string() {
        let text = config_toml("http://h/\"\nx = 1");
        assert!(text.contains(r#"base_url = "http://h/\"\nx = 1""#), "{text}");
    }
}
