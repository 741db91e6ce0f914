//! Looks at the agent CLIs beside everything else, and asks them again only when their files changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::settings::Settings;
use crate::config::sources::Environment;
use crate::domain::clock;
use crate::domain::needles::Needles;
use crate::job::validation::Validator;
use crate::process::env::ChildEnv;
use crate::provider::capability::Finding;
use crate::provider::document::Picture;
use crate::provider::health_memory::HealthMemory;
use crate::provider::probe::Prober;
use crate::provider::remembered::{Learnt, ProbeCache};
use crate::provider::rhythm::Rhythm;
use crate::provider::{ProviderId, Providers};
use crate::state::fs::OwnerDir;
use crate::state::provider_settings::{ProviderSettings, ProviderSettingsFile};
use crate::wire::heartbeat::ProviderHealth;

/// Where answers are remembered.
const CACHE_FILE: &str = "probes.json";

/// The looking side: writes the picture that [`Providers`] shows.
#[derive(Debug)]
pub struct Probes {
    prober: Prober,
    picture: watch::Sender<Arc<Picture>>,
    dir: Arc<OwnerDir>,
    cache: Mutex<ProbeCache>,
    validator: Option<Validator>,
    memory: Option<HealthMemory>,
    settings: ProviderSettingsFile,
    secrets: Needles,
}

impl Probes {
    /// Prepares probes; nothing is looked at yet. `health` is what the session file remembers.
    #[must_use]
    pub fn new(env: &Environment, settings: &Settings, child_env: ChildEnv, dir: Arc<OwnerDir>) -> Self {
        let rhythm = settings.look_every.map_or(Rhythm::USUAL, Rhythm::of);
        let prober = Prober::of_host(env, &settings.providers, child_env);
        let settings = ProviderSettingsFile::new(&dir);
        Self {
            prober: prober.with_rhythm(rhythm).with_settings(settings.clone()),
            settings,
            secrets: Needles::default(),
            picture: watch::Sender::new(Arc::new(Picture::default().believing(rhythm.believe))),
            cache: Mutex::new(load(&dir)),
            dir,
            validator: None,
            memory: None,
        }
    }

    /// Asks the models of providers that were never asked.
    #[must_use]
    pub fn with_validator(mut self, validator: Option<Validator>) -> Self {
        self.validator = validator;
        self
    }

    /// Starts from the health that is remembered, and keeps it there.
    #[must_use]
    pub fn with_memory(mut self, memory: HealthMemory) -> Self {
        let picture = Picture::from_known(memory.known()).believing(self.prober.rhythm().believe);
        self.picture.send_replace(Arc::new(picture));
        self.memory = Some(memory);
        self
    }

    /// `secrets` learns every key that the owner sets.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Needles) -> Self {
        self.secrets = secrets;
        ProviderId::ALL.iter().for_each(|provider| self.hold(*provider));
        self
    }

    /// Any job can read the file that the key is in.
    fn hold(&self, provider: ProviderId) {
        if let Ok(ProviderSettings { key: Some(key), .. }) = self.settings.of(provider.wire()) {
            self.secrets.hold(&key);
        }
    }

    /// What others may know and ask.
    #[must_use]
    pub fn providers(&self) -> Providers {
        Providers::new(self.prober.clone(), self.picture.clone())
    }

    /// Looks until dropped: at each provider by itself, so that none waits for another.
    pub async fn run(self) {
        let looks = ProviderId::ALL.map(|provider| self.follow(provider));
        tokio::join!(futures_util::future::join_all(looks), self.remember());
    }

    /// Looks at one provider from time to time, and at once when what a look depends on is another.
    async fn follow(&self, provider: ProviderId) {
        let rhythm = self.prober.rhythm();
        let mut before = None;
        loop {
            let due = Instant::now() + rhythm.look;
            let circumstances = self.prober.circumstances(provider);
            self.hold(provider);
            if before
                .replace(circumstances.clone())
                .is_some_and(|before| before != circumstances)
            {
                self.change(|picture| picture.forgive(provider));
            }
            let finding = self.look(provider).await;
            self.validate(provider, &finding).await;
            while Instant::now() < due && self.prober.circumstances(provider) == circumstances {
                sleep(rhythm.glance).await;
                self.adopt(provider);
            }
        }
    }

    async fn look(&self, provider: ProviderId) -> Finding {
        let known = self.cache().clone();
        let (finding, learnt) = self.prober.examine(provider, &known, clock::now()).await;
        self.learn(learnt);
        let due = finding.version.is_ok() && self.is_first(provider);
        let news = self.picture.send_if_modified(|picture| {
            let picture = Arc::make_mut(picture);
            picture.expect_call(provider, due);
            picture.see(provider, finding.clone(), clock::now())
        });
        if news {
            info!(provider = provider.wire(), "Provider capability refreshed");
        }
        finding
    }

    /// Whether nobody ever asked its model.
    fn is_first(&self, provider: ProviderId) -> bool {
        let picture = self.picture.borrow();
        let asked = picture.health().get(&provider).is_some_and(ProviderHealth::was_asked);
        self.validator.is_some() && !asked
    }

    /// Asks the model of a provider that never was; what it costs is spent once.
    async fn validate(&self, provider: ProviderId, finding: &Finding) {
        let Some(validator) = self
            .validator
            .as_ref()
            .filter(|_| self.picture.borrow().expects_call(provider))
        else {
            return;
        };
        let call = validator.call(provider, finding, &CancellationToken::new()).await;
        self.change(|picture| {
            picture.expect_call(provider, false);
            if let Some(call) = &call {
                picture.called(provider, call, clock::now());
            }
        });
        let error = call.and_then(|call| call.result.err());
        info!(provider = provider.wire(), error, "Provider validated");
    }

    /// Takes in what `doctor` or `pair` found out meanwhile.
    fn adopt(&self, provider: ProviderId) {
        let found = self.memory.as_ref().and_then(|memory| memory.known().remove(&provider));
        if let Some(found) = found {
            self.picture
                .send_if_modified(|picture| Arc::make_mut(picture).adopt(provider, found));
        }
    }

    /// Keeps what was found out for the next life, and for other programs on this host.
    async fn remember(&self) {
        let Some(memory) = &self.memory else { return };
        let mut picture = self.picture.subscribe();
        while picture.changed().await.is_ok() {
            let health = picture.borrow_and_update().health().clone();
            if let Err(error) = memory.keep(&health) {
                warn!(%error, "Failed to remember the health of the agent CLIs");
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Picture)) {
        self.picture.send_modify(|picture| change(Arc::make_mut(picture)));
    }

    fn cache(&self) -> MutexGuard<'_, ProbeCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, learnt: Learnt) {
        let mut cache = self.cache();
        if cache.learn(learnt)
            && let Err(error) = self.dir.replace(CACHE_FILE, &cache.to_json())
        {
            warn!(%error, "Failed to remember what the agent CLIs answered");
        }
    }
}

fn load(dir: &OwnerDir) -> ProbeCache {
    let stored = dir.read(CACHE_FILE).unwrap_or_default();
    ProbeCache::from_json(&stored.unwrap_or_default())
}
