//! What the owner of this host set for an agent CLI. Read anew for every run, so that a running daemon follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::secret::Secret;
use crate::state::document::{Document, DocumentError};
use crate::state::fs::OwnerDir;

const NAME: &str = "providers.json";

/// Settings of one provider; nothing set leaves it as the user has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProviderSettings {
    /// The program.
    pub command: Option<String>,
    /// Address of its model API.
    pub base_url: Option<String>,
    /// Key of that API.
    pub key: Option<Secret>,
    /// Whether it may act freely although this account is root.
    pub allow_root: bool,
}

impl ProviderSettings {
    /// Whether it gets a home of its own, apart from the user's login.
    #[must_use]
    pub const fn own_home(&self) -> bool {
        self.base_url.is_some() || self.key.is_some()
    }
}

/// The settings of every provider, by the wire's name of it.
#[derive(Debug, Clone)]
pub struct ProviderSettingsFile(Document);

/// The file's format. [`Secret`] has no `Serialize`, so the exposure is visible here.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    allow_root: bool,
}

type All = BTreeMap<String, Stored>;

impl From<&Stored> for ProviderSettings {
    fn from(stored: &Stored) -> Self {
        Self {
            command: stored.command.clone(),
            base_url: stored.base_url.clone(),
            key: stored.key.clone().map(Secret::new),
            allow_root: stored.allow_root,
        }
    }
}

impl From<&ProviderSettings> for Stored {
    fn from(settings: &ProviderSettings) -> Self {
        Self {
            command: settings.command.clone(),
            base_url: settings.base_url.clone(),
            key: settings.key.as_ref().map(|key| key.expose().to_owned()),
            allow_root: settings.allow_root,
        }
    }
}

impl ProviderSettingsFile {
    /// That of a state directory.
    #[must_use]
    pub fn new(state: &Arc<OwnerDir>) -> Self {
        Self(Document::new(state, NAME))
    }

    /// What is set for one provider.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn of(&self, provider: &str) -> Result<ProviderSettings, DocumentError> {
        let all: All = self.0.load()?;
        Ok(all.get(provider).map(ProviderSettings::from).unwrap_or_default())
    }

    /// Changes what is set for one provider; gives the result.
    ///
    /// # Errors
    /// [`DocumentError`]; the file is then as it was.
    pub fn change(
        &self,
        provider: &str,
        change: impl FnOnce(&mut ProviderSettings),
    ) -> Result<ProviderSettings, DocumentError> {
        self.0.update(|all: &mut All| {
            let mut settings = all.get(provider).map(ProviderSettings::from).unwrap_or_default();
            change(&mut settings);
            all.insert(provider.to_owned(), Stored::from(&settings));
            Ok(settings)
        })
    }

    /// Forgets what is set for one provider; whether there was anything.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn forget(&self, provider: &str) -> Result<bool, DocumentError> {
        self.0.update(|all: &mut All| Ok(all.remove(provider).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_by_provider_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(OwnerDir::open_or_create(&dir.path().join("state")).unwrap());
        let file = ProviderSettingsFile::new(&state);
        assert_eq!(file.of("codex").unwrap(), ProviderSettings::default());
        file.change("codex", |settings| settings.key = Some(Secret::new("k")))
            .unwrap();
        file.change("gemini", |settings| settings.allow_root = true).unwrap();
        let both = file
            .change("codex", |settings| settings.command = Some("/x".to_owned()))
            .unwrap();
        assert_eq!(
            (both.key, both.command.as_deref()),
            (Some(Secret::new("k")), Some("/x"))
        );
        assert!(file.of("gemini").unwrap().allow_root && !file.of("gemini").unwrap().own_home());
        assert!(file.forget("codex").unwrap() && !file.forget("codex").unwrap());
        assert_eq!(file.of("codex").unwrap(), ProviderSettings::default());
    }
}
