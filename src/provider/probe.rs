//! Asks agent CLIs who they are. The only place of this room that starts processes.
//!
//! Every question has a deadline and a bound on the answer, providers are asked independently of each other, and
//! nobody is asked twice while its file stays the same ([`ProbeCache`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::settings::ProviderCommands;
use crate::config::sources::Environment;
use crate::domain::text::cut;
use crate::process::env::ChildEnv;
use crate::process::exit::Ending;
use crate::process::spawn;
use crate::process::spec::Spec;
use crate::provider::ProviderId;
use crate::provider::capability::{Features, Finding};
use crate::provider::circumstances::Circumstances;
use crate::provider::discovery::Places;
use crate::provider::gemini;
use crate::provider::remembered::{Evidence, Learnt, ProbeCache, Remembered, Stamp};
use crate::provider::rhythm::Rhythm;
use crate::provider::version::Version;
use crate::state::provider_settings::ProviderSettingsFile;

/// Bytes kept of each stream of an answer.
const ANSWER_BYTES: usize = 1024 * 1024;
/// How long an answer that a run waits for may take.
const TELL_WITHIN: Duration = Duration::from_secs(10);
/// Characters of a version text or an error that travel with every heartbeat.
const MAX_TEXT_CHARS: usize = 500;
/// Candidates of one provider asked at the same time.
const ASKED_AT_ONCE: usize = 3;

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code; none when it did not start, was killed or ran out of time.
    pub exit_code: Option<i32>,
    /// How long it took.
    pub duration: Duration,
    /// Why it is no good answer.
    pub error: Option<String>,
}

/// Finds and examines agent CLIs.
#[derive(Debug, Clone)]
pub struct Prober {
    places: Places,
    commands: BTreeMap<ProviderId, String>,
    settings: Option<ProviderSettingsFile>,
    env: ChildEnv,
    rhythm: Rhythm,
}

impl Prober {
    /// A prober over these places; `commands` are what a person named instead of the search.
    #[must_use]
    pub fn new(places: Places, commands: BTreeMap<ProviderId, String>, env: ChildEnv) -> Self {
        let (name, value) = gemini::ONE_PROCESS;
        Self {
            places,
            commands,
            settings: None,
            env: env.with(name, value),
            rhythm: Rhythm::USUAL,
        }
    }

    /// A prober over this host, and over what its settings name instead of the search.
    #[must_use]
    pub fn of_host(env: &Environment, named: &ProviderCommands, child_env: ChildEnv) -> Self {
        let places = Places::from_environment(env.home().as_deref(), |name| env.get(name).map(str::to_owned));
        let commands = [
            (ProviderId::ClaudeCode, &named.claude),
            (ProviderId::Codex, &named.codex),
            (ProviderId::Gemini, &named.gemini),
        ];
        let commands = commands
            .into_iter()
            .filter_map(|(provider, command)| Some((provider, command.clone()?)));
        Self::new(places, commands.collect(), child_env)
    }

    /// The same, following the owner's settings: each look asks the command that is set then, unless one was named.
    #[must_use]
    pub fn with_settings(mut self, settings: ProviderSettingsFile) -> Self {
        self.settings = Some(settings);
        self
    }

    /// The same with other times.
    #[must_use]
    pub const fn with_rhythm(mut self, rhythm: Rhythm) -> Self {
        self.rhythm = rhythm;
        self
    }

    /// The times in force.
    #[must_use]
    pub const fn rhythm(&self) -> Rhythm {
        self.rhythm
    }

    /// What the next look at a provider would depend on. Reads files, starts nothing.
    #[must_use]
    pub fn circumstances(&self, provider: ProviderId) -> Circumstances {
        let programs = self.programs(provider).unwrap_or_default();
        let settings = self.settings.as_ref().and_then(|file| file.of(provider.wire()).ok());
        Circumstances::of(programs, settings, |program| self.evidence(provider, program))
    }

    /// Finds out what one provider is. Starts nothing when the memory still holds.
    pub async fn examine(&self, provider: ProviderId, cache: &ProbeCache, now: Timestamp) -> (Finding, Learnt) {
        let exam = Examination {
            prober: self,
            provider,
            cache,
            now,
        };
        match self.programs(provider) {
            Ok(programs) => exam.best_of(programs).await,
            Err(missing) => (*missing, Learnt::default()),
        }
    }

    /// Asks one command for its version now, memory or not.
    pub async fn version_now(&self, command: &str) -> Answer {
        match self.places.named(command) {
            Some(program) => self.ask(&program, &["--version"], self.rhythm.question).await,
            None => Answer::none(not_found(command)),
        }
    }

    /// The programs that may be this provider, or the finding that there is none.
    fn programs(&self, provider: ProviderId) -> Result<Vec<PathBuf>, Box<Finding>> {
        let missing = |command: &str| Box::new(Finding::unavailable(command, not_found(command)));
        let programs = match self.command(provider) {
            Some(command) => vec![self.places.named(&command).ok_or_else(|| missing(&command))?],
            None => self.places.candidates(provider),
        };
        if programs.is_empty() {
            return Err(missing(provider.program()));
        }
        let working = |program| self.places.around_broken_wrapper(provider, program);
        Ok(programs.into_iter().map(working).collect())
    }

    /// The command that somebody chose. Settings that cannot be read choose none; a run will say what is wrong there.
    fn command(&self, provider: ProviderId) -> Option<String> {
        let named = self.commands.get(&provider).cloned();
        named.or_else(|| self.settings.as_ref()?.of(provider.wire()).ok()?.command)
    }

    fn evidence(&self, provider: ProviderId, program: &Path) -> Option<Evidence> {
        let extensions = match provider {
            ProviderId::Gemini => self.places.home().map(|home| home.join(".gemini/extensions")),
            ProviderId::ClaudeCode | ProviderId::Codex => None,
        };
        Some(Evidence {
            program: Stamp::of(program)?,
            extensions: extensions.and_then(|folder| Stamp::of(&folder)),
        })
    }

    /// What a CLI prints when it is asked in the surroundings of a run.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn tell(&self, command: &str, args: &[&str], env: &ChildEnv, cwd: &Path) -> Result<Vec<u8>, String> {
        let mut spec = Spec::new(command, env.clone()).args(args).timeout(TELL_WITHIN);
        spec.cwd = cwd.to_path_buf();
        let answer = answer(spec, command, args, TELL_WITHIN).await;
        match answer.error {
            Some(error) => Err(short(&error)),
            None => Ok(answer.stdout),
        }
    }

    async fn ask(&self, program: &Path, args: &[&str], deadline: Duration) -> Answer {
        let spec = Spec::new(program, self.env.clone()).args(args).timeout(deadline);
        answer(spec, &program.display().to_string(), args, deadline).await
    }
}

async fn answer(mut spec: Spec, command: &str, args: &[&str], deadline: Duration) -> Answer {
    spec.limit_per_stream = ANSWER_BYTES;
    spec.grace = Duration::from_millis(500);
    let child = match spawn::spawn(spec) {
        Ok(child) => child,
        Err(error) => return Answer::none(error.to_string()),
    };
    let exit = child.wait(CancellationToken::new()).await;
    let asked = format!("{command} {}", args.join(" "));
    let said = text(&exit.stderr.bytes);
    let error = match exit.ending {
        Ending::TimedOut { .. } => Some(format!("{asked} did not end within {deadline:?}")),
        Ending::Stopped { .. } => Some(format!("{asked} was stopped")),
        Ending::Exited if exit.exit_code != Some(0) => Some(format!("Command failed: {asked}\n{said}")),
        Ending::Exited if exit.stdout.truncated || exit.stderr.truncated => {
            Some(format!("{asked} printed more than {ANSWER_BYTES} bytes"))
        }
        Ending::Exited => None,
    };
    Answer {
        stdout: exit.stdout.bytes,
        stderr: exit.stderr.bytes,
        exit_code: exit.exit_code.filter(|_| exit.ending == Ending::Exited),
        duration: exit.duration,
        error,
    }
}

impl Answer {
    fn none(error: String) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            exit_code: None,
            duration: Duration::ZERO,
            error: Some(error),
        }
    }

    /// The version text, or a short reason why there is none.
    ///
    /// # Errors
    /// The reason, short enough to travel with every heartbeat.
    pub fn version(&self) -> Result<String, String> {
        match &self.error {
            Some(error) => Err(short(error)),
            None => Ok(short(&text(&self.stdout))),
        }
    }
}

fn not_found(command: &str) -> String {
    format!("spawn {command} ENOENT")
}

/// Text that any backend stores: a NUL would make a whole heartbeat unacceptable.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\0")
}

fn short(text: &str) -> String {
    cut(text.trim(), MAX_TEXT_CHARS)
}

/// One look at one provider.
struct Examination<'a> {
    prober: &'a Prober,
    provider: ProviderId,
    cache: &'a ProbeCache,
    now: Timestamp,
}

impl Examination<'_> {
    /// Asks all candidates for their version and the best of them for the rest.
    async fn best_of(&self, programs: Vec<PathBuf>) -> (Finding, Learnt) {
        // One of several is given half the time.
        let deadline = if programs.len() == 1 {
            self.prober.rhythm.question
        } else {
            self.prober.rhythm.question / 2
        };
        let asked = programs.into_iter().map(|program| self.version_of(program, deadline));
        let mut candidates: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        let best = best(candidates.iter().map(|candidate| &candidate.answers.version));
        if let Some(chosen) = candidates.get_mut(best)
            && chosen.answers.version.is_ok()
            && chosen.answers.features.is_none()
        {
            self.ask_features(chosen).await;
        }
        let finding = candidates.get(best).map_or_else(
            || Finding::unavailable(self.provider.program(), not_found(self.provider.program())),
            |chosen| Finding {
                command: chosen.program.display().to_string(),
                version: chosen.answers.version.clone(),
                features: chosen.answers.features.clone().unwrap_or_default(),
            },
        );
        let news = candidates.into_iter().filter(|candidate| candidate.is_news);
        (
            finding,
            Learnt(news.map(|candidate| (candidate.program, candidate.answers)).collect()),
        )
    }

    /// The remembered answers, or the version asked for now.
    async fn version_of(&self, program: PathBuf, deadline: Duration) -> Candidate {
        // Taken before the question: a change meanwhile is seen the next time.
        let evidence = self.prober.evidence(self.provider, &program);
        if let Some(known) = evidence.and_then(|evidence| self.recall(&program, evidence)) {
            return Candidate {
                program,
                answers: known.clone(),
                is_news: false,
            };
        }
        let answer = self.prober.ask(&program, &["--version"], deadline).await;
        let failures = evidence.map_or(0, |evidence| self.cache.failures(&program, evidence));
        let version = answer.version();
        Candidate {
            answers: Remembered {
                evidence: evidence.unwrap_or_default(),
                asked_at: self.now,
                failures: if version.is_ok() { 0 } else { failures.saturating_add(1) },
                version,
                features: None,
            },
            // A program that vanished has no state under which anything could hold.
            is_news: evidence.is_some(),
            program,
        }
    }

    fn recall(&self, program: &Path, evidence: Evidence) -> Option<&Remembered> {
        self.cache
            .recall(program, evidence, self.now, self.prober.rhythm.believe)
    }

    async fn ask_features(&self, chosen: &mut Candidate) {
        let ask = |args| self.prober.ask(&chosen.program, args, self.prober.rhythm.question);
        let help = match self.provider {
            ProviderId::Codex => ask(&["exec", "--help"]).await,
            ProviderId::ClaudeCode | ProviderId::Gemini => ask(&["--help"]).await,
        };
        let extensions = match self.provider {
            ProviderId::Gemini => Some(ask(&["--list-extensions"]).await),
            ProviderId::ClaudeCode | ProviderId::Codex => None,
        };
        let help_text = help
            .error
            .is_none()
            .then(|| format!("{}\n{}", text(&help.stdout), text(&help.stderr)));
        let list = extensions.as_ref().filter(|list| list.error.is_none());
        let features = Features::read(
            self.provider,
            help_text.as_deref(),
            list.map(|list| text(&list.stdout)).as_deref(),
        );
        let failed = help_text.is_none() || (extensions.is_some() && list.is_none());
        let evidence = chosen.answers.evidence;
        let failures = self.cache.failures(&chosen.program, evidence);
        chosen.is_news = true;
        chosen.answers.asked_at = self.now;
        chosen.answers.failures = if failed { failures.saturating_add(1) } else { 0 };
        chosen.answers.features = Some(features);
    }
}

struct Candidate {
    program: PathBuf,
    answers: Remembered,
    is_news: bool,
}

/// The first that works; any with a readable version before one without; the higher version before the lower.
fn best<'a>(versions: impl Iterator<Item = &'a Result<String, String>>) -> usize {
    let rank = |version: &Result<String, String>| (version.is_ok(), version.as_deref().ok().and_then(Version::find));
    let mut best = (0, (false, None));
    for (index, version) in versions.enumerate() {
        let rank = rank(version);
        if rank > best.1 {
            best = (index, rank);
        }
    }
    best.0
}
