//! Settings of a daemon: numbers, names and switches, with their defaults and bounds.

use std::time::Duration;

use crate::config::sources::{Environment, parse_bool, parse_leading_integer};

/// Jobs at once when nothing else is said.
pub const DEFAULT_CONCURRENCY: usize = 10;
/// Most jobs at once; larger numbers are cut to this.
pub const MAX_CONCURRENCY: usize = 256;
const DEFAULT_GRACE: Duration = Duration::from_mins(1);
const DEFAULT_RESTART_CHECK: Duration = Duration::from_secs(30);

/// Flags that change settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsFlags {
    /// `--drain-timeout`.
    pub drain_timeout: Option<Duration>,
    /// `--claude-cli`.
    pub claude_cli: Option<String>,
    /// `--codex-cli`.
    pub codex_cli: Option<String>,
    /// `--gemini-cli`.
    pub gemini_cli: Option<String>,
}

/// Commands that stand in for provider CLIs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderCommands {
    /// Claude Code.
    pub claude: Option<String>,
    /// Codex.
    pub codex: Option<String>,
    /// Gemini.
    pub gemini: Option<String>,
}

/// When a changed program restarts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartSettings {
    /// `PANORAMA_GATEWAY_AUTO_RESTART`, on by default.
    pub enabled: bool,
    /// `PANORAMA_GATEWAY_RESTART_CHECK_MS`, 30 s by default.
    pub check_every: Duration,
    /// `PANORAMA_GATEWAY_RESTART_MAX_WAIT_MS`: the wait after which the restart is forced; none waits for idle.
    pub max_wait: Option<Duration>,
}

/// Resolved settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Jobs at once, 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// How long a stop by signal lets jobs run on.
    pub shutdown_grace: Duration,
    /// Self-restart.
    pub restart: RestartSettings,
    /// Provider CLI overrides.
    pub providers: ProviderCommands,
    /// Reconcile polling; off only in tests.
    pub polling: bool,
    /// The Realtime channel; off only in tests.
    pub realtime: bool,
    /// Model calls that see whether a provider answers; off only in tests.
    pub validation: bool,
    /// Between two looks at the agent CLIs; other than usual only in tests.
    pub look_every: Option<Duration>,
    /// Between two heartbeats; other than usual only in tests.
    pub heartbeat_every: Option<Duration>,
    /// Values that were cut or not understood, in words for the log.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Resolves every setting. A value that is not understood gives its default and a warning.
    #[must_use]
    pub fn resolve(flags: &SettingsFlags, env: &Environment) -> Self {
        let mut read = Reader {
            env,
            warnings: Vec::new(),
        };
        let concurrency = read.concurrency();
        let grace = read.millis("PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS");
        let restart = RestartSettings {
            enabled: read.switch("PANORAMA_GATEWAY_AUTO_RESTART"),
            check_every: read
                .positive_millis("PANORAMA_GATEWAY_RESTART_CHECK_MS")
                .unwrap_or(DEFAULT_RESTART_CHECK),
            max_wait: read.positive_millis("PANORAMA_GATEWAY_RESTART_MAX_WAIT_MS"),
        };
        Self {
            concurrency,
            shutdown_grace: flags.drain_timeout.or(grace).unwrap_or(DEFAULT_GRACE),
            restart,
            providers: ProviderCommands {
                claude: command(flags.claude_cli.as_deref(), &["PANORAMA_CLAUDE_CLI", "CLAUDE_CLI"], env),
                codex: command(flags.codex_cli.as_deref(), &["PANORAMA_CODEX_CLI", "CODEX_CLI"], env),
                gemini: command(flags.gemini_cli.as_deref(), &["PANORAMA_GEMINI_CLI", "GEMINI_CLI"], env),
            },
            polling: read.switch("PANORAMA_GATEWAY_TEST_POLLING"),
            realtime: read.switch("PANORAMA_GATEWAY_TEST_REALTIME"),
            validation: read.switch("PANORAMA_GATEWAY_TEST_VALIDATION"),
            look_every: read.positive_millis("PANORAMA_GATEWAY_TEST_LOOK_MS"),
            heartbeat_every: read.positive_millis("PANORAMA_GATEWAY_TEST_HEARTBEAT_MS"),
            warnings: read.warnings,
        }
    }
}

struct Reader<'a> {
    env: &'a Environment,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn concurrency(&mut self) -> usize {
        let name = "PANORAMA_GATEWAY_CONCURRENCY";
        let Some(asked) = self.integer(name) else {
            return DEFAULT_CONCURRENCY;
        };
        if asked == 0 {
            self.warnings
                .push(format!("{name} must be above 0; {DEFAULT_CONCURRENCY} is used"));
            return DEFAULT_CONCURRENCY;
        }
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        if asked > MAX_CONCURRENCY {
            self.warnings.push(format!(
                "{name} is {asked}, the most is {MAX_CONCURRENCY}; {MAX_CONCURRENCY} is used"
            ));
        }
        asked.min(MAX_CONCURRENCY)
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        self.integer(name).map(Duration::from_millis)
    }

    fn positive_millis(&mut self, name: &str) -> Option<Duration> {
        self.millis(name).filter(|wait| !wait.is_zero())
    }

    fn integer(&mut self, name: &str) -> Option<u64> {
        let text = self.env.get(name)?;
        let value = parse_leading_integer(text);
        if value.is_none() {
            self.warnings
                .push(format!("{name} is `{text}`, which is no number; the default is used"));
        }
        value
    }

    /// A switch that is on unless turned off.
    fn switch(&mut self, name: &str) -> bool {
        let Some(text) = self.env.get(name) else {
            return true;
        };
        parse_bool(text).unwrap_or_else(|| {
            self.warnings
                .push(format!("{name} is `{text}`, which is no on/off word; on is used"));
            true
        })
    }
}

fn command(flag: Option<&str>, names: &[&str], env: &Environment) -> Option<String> {
    let flag = flag.map(str::trim).filter(|text| !text.is_empty());
    flag.or_else(|| env.first(names).map(|(_, value)| value))
        .map(str::to_owned)
}

/// The device name for `pair`: flag, environment, host name.
#[must_use]
pub fn device_name_for_pair(flag: Option<&str>, env: &Environment, hostname: &str) -> String {
    device_name_for_start(flag, None, env, hostname)
}

/// The device name for `start`: flag, what pairing stored, environment, host name.
#[must_use]
pub fn device_name_for_start(flag: Option<&str>, stored: Option<&str>, env: &Environment, hostname: &str) -> String {
    [flag, stored, env.get("PANORAMA_GATEWAY_DEVICE_NAME")]
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|name| !name.is_empty())
        .unwrap_or(hostname)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::resolve(&SettingsFlags::default(), &pairs.iter().copied().collect())
    }

    #[test]
    fn defaults() {
        let found = settings(&[]);
        assert_eq!(found.concurrency, 10);
        assert_eq!(found.shutdown_grace, Duration::from_millis(60_000));
        assert_eq!(found.restart.check_every, Duration::from_millis(30_000));
        assert_eq!(found.restart.max_wait, None);
        assert!(found.polling && found.realtime && found.restart.enabled);
        assert!(found.warnings.is_empty());
    }

    #[test]
    fn values_out_of_range_are_cut_and_said() {
        let found = settings(&[("PANORAMA_GATEWAY_CONCURRENCY", "9999")]);
        assert_eq!((found.concurrency, found.warnings.len()), (256, 1));
        let found = settings(&[("PANORAMA_GATEWAY_CONCURRENCY", "0")]);
        assert_eq!((found.concurrency, found.warnings.len()), (10, 1));
        let found = settings(&[("PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS", "soon")]);
        assert_eq!((found.shutdown_grace, found.warnings.len()), (DEFAULT_GRACE, 1));
        let found = settings(&[("PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS", "0")]);
        assert_eq!(found.shutdown_grace, Duration::ZERO);
    }

    #[test]
    fn flags_beat_the_environment() {
        let flags = SettingsFlags {
            drain_timeout: Some(Duration::from_secs(5)),
            claude_cli: Some("/a/claude".to_owned()),
            ..SettingsFlags::default()
        };
        let env: Environment = [
            ("PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS", "1"),
            ("PANORAMA_CLAUDE_CLI", "/b/claude"),
            ("CODEX_CLI", "/b/codex"),
            ("PANORAMA_GATEWAY_TEST_POLLING", "off"),
        ]
        .into_iter()
        .collect();
        let found = Settings::resolve(&flags, &env);
        assert_eq!(found.shutdown_grace, Duration::from_secs(5));
        assert_eq!(found.providers.claude.as_deref(), Some("/a/claude"));
        assert_eq!(found.providers.codex.as_deref(), Some("/b/codex"));
        assert!(!found.polling && found.realtime);
    }

    #[test]
    fn device_names_have_their_order() {
        let env: Environment = [("PANORAMA_GATEWAY_DEVICE_NAME", "env")].into_iter().collect();
        assert_eq!(
            device_name_for_start(Some("flag"), Some("stored"), &env, "host"),
            "flag"
        );
        assert_eq!(device_name_for_start(Some(" "), Some("stored"), &env, "host"), "stored");
        assert_eq!(device_name_for_pair(None, &env, "host"), "env");
        assert_eq!(device_name_for_pair(None, &Environment::default(), "host"), "host");
    }
}
