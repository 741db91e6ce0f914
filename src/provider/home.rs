//! Homes of agent CLIs that belong to this program, for a host whose owner named another model API or its key.
//!
//! A CLI with a home of ours neither reads nor changes the user's own login and settings. Without such settings there
//! is no home, and the user's own login is used untouched. Homes lie in the state directory, outside of the directory
//! for temporary files: Codex installs no sandbox helper there.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::secret::Secret;
use crate::provider::argument::toml_string;
use crate::provider::{ProviderId, gemini};
use crate::state::document::DocumentError;
use crate::state::fs::{FsError, OwnerDir};
use crate::state::provider_settings::{ProviderSettings, ProviderSettingsFile};

const DIR: &str = "providers";
/// Sent where an address was named without a key: the CLIs do not start without one.
const NO_KEY: &str = "none";
/// Holds the key for a model provider of our own in Codex.
const CODEX_KEY: &str = "GATEWAY_CODEX_KEY";

/// Whatever of the user's own environment would decide about login or address instead.
const CLAUDE_OWN: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
];
const CODEX_OWN: &[&str] = &["CODEX_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"];
const GEMINI_OWN: &[&str] = &[
    "GEMINI_API_KEY",
    "GEMINI_CLI_SYSTEM_SETTINGS_PATH",
    "GOOGLE_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
];

/// A home could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The owner's settings cannot be read.
    #[error(transparent)]
    Settings(#[from] DocumentError),
    /// The directory or a file in it cannot be made.
    #[error(transparent)]
    File(#[from] FsError),
}

/// What the owner's settings mean for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Home of the CLI; none leaves the user's own.
    pub home: Option<PathBuf>,
    /// Variables to set, or to remove where there is no value, over the environment of children.
    pub env: Vec<(&'static str, Option<Secret>)>,
    /// The owner's key among them.
    pub key: Option<Secret>,
    /// Whether the agent may act freely although this account is root.
    pub allow_root: bool,
}

/// Makes the homes, from the owner's settings as they are at the moment.
#[derive(Debug, Clone)]
pub struct Homes {
    state: Arc<OwnerDir>,
    settings: ProviderSettingsFile,
}

impl Homes {
    /// Those of a state directory.
    #[must_use]
    pub fn new(state: &Arc<OwnerDir>) -> Self {
        Self {
            state: Arc::clone(state),
            settings: ProviderSettingsFile::new(state),
        }
    }

    /// Prepares a run: makes the home and its files where there is to be one.
    ///
    /// # Errors
    /// [`HomeError`]; the run must not fall back to the user's login then.
    pub fn prepare(&self, provider: ProviderId) -> Result<Setup, HomeError> {
        let settings = self.settings.of(provider.wire())?;
        let mut setup = Setup {
            home: None,
            env: Vec::new(),
            key: settings.key.clone(),
            allow_root: settings.allow_root,
        };
        if settings.own_home() {
            let home = self.state.sub(DIR)?.sub(provider.wire())?;
            write_files(provider, &settings, &home)?;
            setup.env = environment(provider, &settings, &home);
            setup.home = Some(home.path().to_path_buf());
        }
        Ok(setup)
    }

    /// Where the home of a provider is or would be.
    #[must_use]
    pub fn path(&self, provider: ProviderId) -> PathBuf {
        self.state.path().join(DIR).join(provider.wire())
    }
}

fn write_files(provider: ProviderId, settings: &ProviderSettings, home: &OwnerDir) -> Result<(), FsError> {
    match provider {
        // All that it needs is in its variables and flags.
        ProviderId::ClaudeCode => Ok(()),
        ProviderId::Codex => keep(home, "config.toml", &codex_config(settings)),
        ProviderId::Gemini => keep(
            &home.sub(".gemini")?,
            "settings.json",
            &gemini::settings::settings().to_string(),
        ),
    }
}

/// Writes a file unless it is so already: a run at work may be reading it.
fn keep(dir: &OwnerDir, name: &str, text: &str) -> Result<(), FsError> {
    if dir.read(name)?.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    dir.replace(name, text.as_bytes())
}

fn environment(
    provider: ProviderId,
    settings: &ProviderSettings,
    home: &OwnerDir,
) -> Vec<(&'static str, Option<Secret>)> {
    let key = settings.key.clone().unwrap_or_else(|| Secret::new(NO_KEY));
    let address = settings.base_url.clone().map(Secret::new);
    let dir = Secret::new(home.path().to_string_lossy());
    let (own, ours) = match provider {
        ProviderId::ClaudeCode => (
            CLAUDE_OWN,
            vec![
                ("CLAUDE_CONFIG_DIR", Some(dir)),
                ("ANTHROPIC_API_KEY", Some(key)),
                ("ANTHROPIC_BASE_URL", address),
            ],
        ),
        ProviderId::Codex => {
            let name = if address.is_some() { CODEX_KEY } else { "CODEX_API_KEY" };
            (CODEX_OWN, vec![("CODEX_HOME", Some(dir)), (name, Some(key))])
        }
        ProviderId::Gemini => (
            GEMINI_OWN,
            vec![
                ("GEMINI_CLI_HOME", Some(dir)),
                ("GEMINI_API_KEY", Some(key)),
                ("GOOGLE_GEMINI_BASE_URL", address),
            ],
        ),
    };
    let removed = own.iter().map(|name| (*name, None));
    let set = ours.into_iter().filter(|(_, value)| value.is_some());
    removed.chain(set).collect()
}

/// Quiet, impatient, and with a shell that does not see the key.
fn codex_config(settings: &ProviderSettings) -> String {
    let mut text = String::new();
    if settings.base_url.is_some() {
        text.push_str("model_provider = \"gateway\"\n");
    }
    text.push_str(&format!(
        "check_for_update_on_startup = false\n\n\
         [analytics]\nenabled = false\n\n\
         [features]\nplugins = false\nunbounded_connection_retries = false\n\n\
         [shell_environment_policy]\nexclude = [\"CODEX_API_KEY\", \"{CODEX_KEY}\"]\n",
    ));
    if let Some(url) = &settings.base_url {
        let url = toml_string(&codex_address(url));
        text.push_str(&format!(
            "\n[model_providers.gateway]\nname = \"gateway\"\nbase_url = {url}\nenv_key = \"{CODEX_KEY}\"\n\
             wire_api = \"responses\"\nrequest_max_retries = 2\nstream_max_retries = 2\n\
             stream_idle_timeout_ms = 300000\n",
        ));
    }
    text
}

/// Codex wants the version in the address, the others add it themselves: an address without a path fits all three.
fn codex_address(url: &str) -> String {
    let bare = url.trim_end_matches('/');
    let host = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    if host.contains('/') {
        bare.to_owned()
    } else {
        format!("{bare}/v1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes() -> (tempfile::TempDir, Homes) {
        let dir = tempfile::tempdir().unwrap();
        let state = OwnerDir::open_or_create(&dir.path().join("state")).unwrap();
        (dir, Homes::new(&Arc::new(state)))
    }

    fn set(homes: &Homes, provider: ProviderId, url: Option<&str>, key: Option<&str>) -> Setup {
        let change = |settings: &mut ProviderSettings| {
            settings.base_url = url.map(str::to_owned);
            settings.key = key.map(Secret::new);
        };
        homes.settings.change(provider.wire(), change).unwrap();
        homes.prepare(provider).unwrap()
    }

    /// The last word about a variable.
    fn value<'a>(setup: &'a Setup, name: &str) -> Option<&'a str> {
        let found = setup.env.iter().rev().find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value.as_ref().map(Secret::expose))
    }

    #[test]
    fn without_settings_the_users_own_login_stays_untouched() {
        let (_dir, homes) = homes();
        for provider in ProviderId::ALL {
            let setup = homes.prepare(provider).unwrap();
            assert_eq!((setup.home, setup.env), (None, Vec::new()));
            assert!(!homes.path(provider).exists());
        }
        homes
            .settings
            .change("claude_code", |settings| settings.allow_root = true)
            .unwrap();
        let setup = homes.prepare(ProviderId::ClaudeCode).unwrap();
        assert!(setup.allow_root && setup.home.is_none() && setup.env.is_empty());
    }

    #[test]
    fn each_cli_gets_its_home_its_address_and_its_key() {
        let (_dir, homes) = homes();
        for (provider, home, key, address) in [
            (
                ProviderId::ClaudeCode,
                "CLAUDE_CONFIG_DIR",
                "ANTHROPIC_API_KEY",
                "ANTHROPIC_BASE_URL",
            ),
            (
                ProviderId::Gemini,
                "GEMINI_CLI_HOME",
                "GEMINI_API_KEY",
                "GOOGLE_GEMINI_BASE_URL",
            ),
        ] {
            let setup = set(&homes, provider, Some("http://127.0.0.1:1"), Some("k"));
            assert_eq!(value(&setup, home), homes.path(provider).to_str());
            assert_eq!(
                (value(&setup, key), value(&setup, address)),
                (Some("k"), Some("http://127.0.0.1:1"))
            );
            let setup = set(&homes, provider, Some("http://127.0.0.1:1"), None);
            assert_eq!(value(&setup, key), Some(NO_KEY), "never the user's own");
            let setup = set(&homes, provider, None, Some("k"));
            assert!(setup.env.contains(&(address, None)), "nor the user's own address");
        }
        assert!(homes.path(ProviderId::Gemini).join(".gemini/settings.json").is_file());
    }

    #[test]
    fn codex_finds_its_model_in_a_file_and_its_key_in_a_variable() {
        let (_dir, homes) = homes();
        let config = || std::fs::read_to_string(homes.path(ProviderId::Codex).join("config.toml")).unwrap();
        let setup = set(&homes, ProviderId::Codex, Some("http://127.0.0.1:1/"), Some("hidden"));
        assert_eq!(value(&setup, CODEX_KEY), Some("hidden"));
        assert!(config().contains("base_url = \"http://127.0.0.1:1/v1\"\nenv_key = \"GATEWAY_CODEX_KEY\""));
        assert!(!config().contains("hidden"));
        set(&homes, ProviderId::Codex, Some("http://127.0.0.1:1/api"), None);
        assert!(config().contains("base_url = \"http://127.0.0.1:1/api\""));
        set(&homes, ProviderId::Codex, Some("http://h/\"\nx = 1"), None);
        assert!(
            config().contains("base_url = \"http://h/\\\"\\nx = 1\"\nenv_key"),
            "no setting of its own"
        );
        let setup = set(&homes, ProviderId::Codex, None, Some("k"));
        assert_eq!(value(&setup, "CODEX_API_KEY"), Some("k"));
        assert!(!config().contains("model_provider"));
    }
}
