//! What every job that runs an agent CLI does with it: finds it, equips it, and reads what it says about its provider.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::time::timeout;

use crate::domain::clock;
use crate::job::agent::{How, Report, environment};
use crate::job::handler::Context;
use crate::process::env::ChildEnv;
use crate::provider::capability::Finding;
use crate::provider::cause::Cause;
use crate::provider::claude;
use crate::provider::codex::servers;
use crate::provider::document::Picture;
use crate::provider::gemini;
use crate::provider::health::Verdict;
use crate::provider::remembered::ProbeCache;
use crate::provider::{ProviderId, Providers};

/// How long a job that is over waits for what is said beside it.
pub(super) const ASIDE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a job waits for the first look at the agent CLIs after a start.
const FIRST_LOOK: Duration = Duration::from_secs(45);

/// Whether this account is root, and whether the owner lets agents act freely although it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Root {
    pub(super) is_root: bool,
    pub(super) allowed: bool,
}

impl Root {
    /// Why an agent may not act freely for this account, if it may not.
    pub(super) fn bars(self, provider: ProviderId) -> Option<&'static str> {
        match provider {
            ProviderId::ClaudeCode => claude::barred(self.is_root, self.allowed),
            ProviderId::Codex | ProviderId::Gemini => None,
        }
    }
}

/// What an agent finds around it.
#[derive(Debug)]
pub(super) struct Equipment {
    pub(super) env: ChildEnv,
    pub(super) root: Root,
    /// Home of the CLI, where the owner gave it one.
    home: Option<PathBuf>,
}

/// Environment and settings for one run, from the owner's settings as they are now.
///
/// # Errors
/// What cannot be made ready; the user's own login is no substitute for it.
pub(super) fn equip(cx: &Context, provider: ProviderId) -> Result<Equipment, String> {
    let setup = cx.homes.prepare(provider).map_err(|error| error.to_string())?;
    if let Some(key) = &setup.key {
        cx.outgoing.needles().hold(key);
    }
    Ok(Equipment {
        env: environment(&cx.child_env, &setup),
        root: Root {
            is_root: geteuid().is_root(),
            allowed: setup.allow_root,
        },
        home: setup.home,
    })
}

impl Equipment {
    /// Checks that the prompt reaches the model as it is, as far as that depends on files.
    ///
    /// # Errors
    /// What in it would be replaced.
    pub(super) fn check(&self, provider: ProviderId, prompt: &str, cwd: &Path) -> Result<(), String> {
        match provider {
            ProviderId::ClaudeCode | ProviderId::Codex => Ok(()),
            ProviderId::Gemini => {
                let home = self.home.clone().or_else(|| self.env.get("HOME").map(PathBuf::from));
                let home = home.unwrap_or_default().join(".gemini");
                gemini::surroundings::check(prompt, cwd, &home).map_err(|failure| failure.message)
            }
        }
    }
}

/// What the owner has set up for their own use of a CLI, and a run that may not do everything does not get.
///
/// # Errors
/// That it cannot be told; the run must not be started then.
pub(super) async fn withheld(
    (providers, provider): (&Providers, ProviderId),
    command: &str,
    env: &ChildEnv,
    cwd: Option<&Path>,
) -> Result<Vec<String>, String> {
    let cwd = cwd.unwrap_or(Path::new("/"));
    match provider {
        ProviderId::Codex => {
            let home = env.get("CODEX_HOME").map(PathBuf::from);
            let home = home.or_else(|| Some(PathBuf::from(env.get("HOME")?).join(".codex")));
            if !servers::may_be_any(home.as_deref(), cwd) {
                return Ok(Vec::new());
            }
            servers::named(providers.prober.tell(command, &servers::LIST, env, cwd).await)
        }
        // Flags keep it away, whatever its name: `--strict-mcp-config`, `--allowed-mcp-server-names`.
        ProviderId::ClaudeCode | ProviderId::Gemini => Ok(Vec::new()),
    }
}

/// The provider's CLI. One that was missing or broken when it was last looked at is asked again: it may be mended.
pub(super) async fn found(providers: &Providers, provider: ProviderId) -> Finding {
    let picture = providers.picture();
    match picture.finding(provider) {
        Some(finding) if finding.version.is_ok() => finding.clone(),
        Some(_) | None => {
            let nothing_known = ProbeCache::default();
            let (finding, _) = providers.prober.examine(provider, &nothing_known, clock::now()).await;
            providers.see(provider, finding.clone());
            finding
        }
    }
}

/// Waits until enough of the providers was looked at, but not for ever.
pub(super) async fn looked_at(providers: &Providers, enough: impl Fn(&Picture) -> bool) {
    let mut picture = providers.watch();
    let looked = picture.wait_for(|picture| enough(picture));
    drop(timeout(FIRST_LOOK, looked).await);
}

/// What is the matter with a program that could not be asked or started, and what to do about it.
pub(super) fn unusable(provider: ProviderId, why: &str) -> String {
    let (label, cause) = (provider.label(), Cause::of_probe(why));
    let fix = cause.fix(provider).unwrap_or_default();
    format!("{label}: {}. {fix}", cause.tell(why))
}

/// What a run says about its provider, if anything.
pub(super) fn verdict(report: &Report) -> Option<Verdict> {
    match (&report.answer, report.how) {
        (Ok(_), _) => Some(Verdict::Works),
        (Err(failure), How::NotStarted) => Some(Verdict::Absent(failure.message.clone())),
        (Err(_), How::Cancelled | How::TimedOut(_) | How::TooMuch(_)) => None,
        (Err(failure), How::Ended | How::Refused | How::Silent(_)) => {
            let concerns = failure.kind.concerns_provider();
            concerns.then(|| Verdict::Fails(Cause::of_failure(failure.kind).tell(&failure.message)))
        }
    }
}
