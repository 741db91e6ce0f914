//! Agent CLIs of this host, examined: by `pair`, `doctor` and `providers list`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::telling;
use crate::cli::context::Context;
use crate::cli::interrupt::interrupted;
use crate::cli::output::Details;
use crate::config::settings::Settings;
use crate::domain::clock;
use crate::job::agent::Agents;
use crate::job::validation::Validator;
use crate::process::env::ChildEnv;
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::driver::Known;
use crate::provider::health;
use crate::provider::health_memory::{self, HealthMemory};
use crate::provider::home::Homes;
use crate::provider::probe::Prober;
use crate::provider::remembered::ProbeCache;
use crate::provider::rhythm::Rhythm;
use crate::state::fs::OwnerDir;
use crate::state::provider_settings::ProviderSettingsFile;
use crate::state::session::Session;
use crate::wire::heartbeat::ProviderHealth;

/// How far an examination goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Depth {
    /// Asks the programs only; what was found out last about their models stands
    Light,
    /// Asks the models that were never asked
    Auto,
    /// Asks every model one small question, which costs a few tokens
    #[default]
    Full,
}

/// What was found, in the order of the wire.
#[derive(Debug)]
pub(crate) struct Examined(pub(super) Vec<Examination>);

/// One provider.
#[derive(Debug)]
pub(super) struct Examination {
    pub(super) provider: ProviderId,
    pub(super) finding: Finding,
    pub(super) health: ProviderHealth,
    pub(super) duration: Duration,
}

/// Examines every provider and prints a line for each.
pub(crate) async fn examine_and_print(depth: Depth, context: &'static str, cx: &Context) -> Examined {
    cx.out.info("Validating providers...", &Details::new());
    let examined = examine(depth, context, cx).await;
    for found in &examined.0 {
        cx.out.line(&format!("  {}", found.result_line()));
    }
    examined
}

/// Examines every provider, all at once; slow ones do not hold up the others. What models said is remembered, and told
/// to the control plane as found in that `context`.
pub(crate) async fn examine(depth: Depth, context: &'static str, cx: &Context) -> Examined {
    let session = cx.sessions().load().ok().flatten();
    let examiner = Examiner::new(depth, session.as_ref(), cx);
    let stop = CancellationToken::new();
    let looks = join_all(ProviderId::ALL.map(|provider| examiner.examine(provider, &stop)));
    let interrupt = async {
        if let Ok(interrupted) = interrupted() {
            interrupted.await;
            stop.cancel();
        }
        std::future::pending::<Infallible>().await
    };
    let examined = Examined(match examiner.validator {
        Some(_) => tokio::select! {
            examined = looks => examined,
            never = interrupt => match never {},
        },
        None => looks.await,
    });
    if let Some(session) = session.filter(|_| depth != Depth::Light) {
        examined.remember(&session, cx);
        telling::tell(&session, context, examined.health()).await;
    }
    examined
}

struct Examiner {
    prober: Prober,
    depth: Depth,
    /// None asks no model.
    validator: Option<Validator>,
    known: health_memory::Known,
}

impl Examiner {
    fn new(depth: Depth, session: Option<&Session>, cx: &Context) -> Self {
        let settings = cx.settings(None);
        let variables = cx.env.vars().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = ChildEnv::for_user(variables, cx.env.names_from_file(), &std::env::temp_dir());
        let asks = depth != Depth::Light && settings.validation;
        Self {
            prober: prober(&settings, env.clone(), cx),
            depth,
            validator: if asks { validator(env, cx) } else { None },
            known: session.map(health_memory::of_session).unwrap_or_default(),
        }
    }

    async fn examine(&self, provider: ProviderId, stop: &CancellationToken) -> Examination {
        let began = tokio::time::Instant::now();
        let cache = ProbeCache::default();
        let (finding, _) = self.prober.examine(provider, &cache, clock::now()).await;
        let known = self.known.get(&provider);
        let light = health::light(known, &finding, clock::now(), Rhythm::USUAL.believe);
        let asked = known.is_some_and(ProviderHealth::was_asked);
        let due = finding.version.is_ok() && !(asked && self.depth == Depth::Auto);
        let call = match &self.validator {
            Some(validator) if due => validator.call(provider, &finding, stop).await,
            Some(_) | None => None,
        };
        Examination {
            provider,
            finding,
            health: call.map_or(light, |call| health::full(known, &call, clock::now())),
            duration: began.elapsed(),
        }
    }
}

fn prober(settings: &Settings, env: ChildEnv, cx: &Context) -> Prober {
    let prober = Prober::of_host(&cx.env, &settings.providers, env);
    // Nothing is made for a look: without a state directory nothing is set either.
    match OwnerDir::open(&cx.paths.dir) {
        Ok(Some(dir)) => prober.with_settings(ProviderSettingsFile::new(&Arc::new(dir))),
        Ok(None) | Err(_) => prober,
    }
}

/// Whoever cannot have a state directory is told so elsewhere.
fn validator(env: ChildEnv, cx: &Context) -> Option<Validator> {
    let dir = Arc::new(cx.state_dir().ok()?);
    let agents = Agents::new(&dir, Arc::new(Known)).ok()?;
    Some(Validator::new(agents, Homes::new(&dir), env))
}

impl Examined {
    fn health(&self) -> health_memory::Known {
        self.iter()
            .map(|(provider, _, health)| (provider, health.clone()))
            .collect()
    }

    fn remember(&self, session: &Session, cx: &Context) {
        let memory = HealthMemory::new(cx.sessions(), session.gateway_id.clone());
        if let Err(error) = memory.keep(&self.health()) {
            let details = Details::new().add("Details", error);
            cx.out.warn("What was found out could not be remembered.", &details);
        }
    }
}
