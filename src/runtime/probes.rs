//! Looks at the agent CLIs beside everything else, and asks them again only when their files changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::settings::ProviderCommands;
use crate::config::sources::Environment;
use crate::domain::clock;
use crate::process::env::ChildEnv;
use crate::provider::discovery::Places;
use crate::provider::document::Picture;
use crate::provider::probe::Prober;
use crate::provider::remembered::ProbeCache;
use crate::provider::{ProviderId, Providers};
use crate::state::fs::OwnerDir;

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
            prober: Prober::new(places, named, child_env),
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
        Providers {
            prober: self.prober.clone(),
            picture: self.picture.subscribe(),
        }
    }

    /// Looks until dropped.
    pub async fn run(self) {
        let mut cache = self.load();
        loop {
            let (mut learnt_anything, mut news) = (false, false);
            let mut picture = Picture::clone(&self.picture.borrow());
            for provider in ProviderId::ALL {
                let now = clock::now();
                let (finding, learnt) = self.prober.examine(provider, &cache, now).await;
                learnt_anything |= cache.learn(learnt);
                news |= picture.see(provider, finding, now);
            }
            if news {
                info!("Provider capability refreshed");
                self.picture.send_replace(Arc::new(picture));
            }
            if learnt_anything {
                self.save(&cache);
            }
            tokio::time::sleep(LOOK_EVERY).await;
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
