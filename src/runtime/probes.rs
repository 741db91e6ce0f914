//! Looks at the agent CLIs beside everything else, and asks them again only when their files changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::settings::ProviderCommands;
use crate::config::sources::Environment;
use crate::domain::clock;
use crate::process::env::ChildEnv;
use crate::provider::capability::Finding;
use crate::provider::discovery::Places;
use crate::provider::document::Picture;
use crate::provider::probe::Prober;
use crate::provider::remembered::{Learnt, ProbeCache};
use crate::provider::{ProviderId, Providers};
use crate::state::fs::OwnerDir;
use crate::state::provider_settings::ProviderSettingsFile;

/// Between two looks. A look that finds nothing changed starts no process.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Where answers are remembered.
const CACHE_FILE: &str = "probes.json";

/// The looking side: writes the picture that [`Providers`] shows.
#[derive(Debug)]
pub struct Probes {
    prober: Prober,
    picture: watch::Sender<Arc<Picture>>,
    dir: Arc<OwnerDir>,
}

impl Probes {
    /// Prepares probes; nothing is looked at yet. `health` is what the session file remembers.
    #[must_use]
    pub fn new(env: &Environment, commands: &ProviderCommands, child_env: ChildEnv, dir: Arc<OwnerDir>) -> Self {
        let places = Places::from_environment(env.home().as_deref(), |name| env.get(name).map(str::to_owned));
        let named = [
            (ProviderId::ClaudeCode, &commands.claude),
            (ProviderId::Codex, &commands.codex),
            (ProviderId::Gemini, &commands.gemini),
        ];
        let named: BTreeMap<_, _> = named
            .into_iter()
            .filter_map(|(provider, command)| Some((provider, command.clone()?)))
            .collect();
        Self {
            prober: Prober::new(places, named, child_env).with_settings(ProviderSettingsFile::new(&dir)),
            picture: watch::Sender::default(),
            dir,
        }
    }

    /// Starts from the health that the session file remembers. Entries that are not understood are left out.
    #[must_use]
    pub fn with_known_health(self, health: &Map<String, Value>) -> Self {
        let known = ProviderId::ALL.into_iter().filter_map(|provider| {
            let stored = health.get(provider.wire())?.clone();
            Some((provider, serde_json::from_value(stored).ok()?))
        });
        self.picture
            .send_replace(Arc::new(Picture::from_known(known.collect())));
        self
    }

    /// What others may know and ask.
    #[must_use]
    pub fn providers(&self) -> Providers {
        Providers::new(self.prober.clone(), self.picture.clone())
    }

    /// Looks until dropped.
    pub async fn run(self) {
        let mut cache = self.load();
        loop {
            let mut is_new = false;
            for learnt in self.look(&cache).await {
                is_new |= cache.learn(learnt);
            }
            if is_new {
                self.save(&cache);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, cache: &ProbeCache) -> Vec<Learnt> {
        let looks = self.prober.look(cache, clock::now());
        looks
            .map(|(provider, finding, learnt)| {
                self.show(provider, finding);
                learnt
            })
            .collect()
            .await
    }

    /// Puts a finding into the picture at once: a slow CLI must not hold back what is known of the others. Watchers
    /// wake up for news only, not because a check has a new time.
    fn show(&self, provider: ProviderId, finding: Finding) {
        let news = self
            .picture
            .send_if_modified(|picture| Arc::make_mut(picture).see(provider, finding, clock::now()));
        if news {
            info!(provider = provider.wire(), "Provider capability refreshed");
        }
    }

    fn load(&self) -> ProbeCache {
        let stored = self.dir.read(CACHE_FILE).unwrap_or_default();
        ProbeCache::from_json(&stored.unwrap_or_default())
    }

    fn save(&self, cache: &ProbeCache) {
        if let Err(error) = self.dir.replace(CACHE_FILE, &cache.to_json()) {
            warn!(%error, "Failed to remember what the agent CLIs answered");
        }
    }
}
