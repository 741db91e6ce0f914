//! Agent CLIs as people have them: good, slow, loud, moving and gone. Shell scripts stand in for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gateway::process::env::ChildEnv;
use gateway::provider::ProviderId;
use gateway::provider::capability::Finding;
use gateway::provider::discovery::Places;
use gateway::provider::probe::Prober;
use gateway::provider::remembered::ProbeCache;
use gateway::provider::rhythm::Rhythm;
use jiff::Timestamp;
use tempfile::TempDir;

const GOOD_CLAUDE: &str = r#"case "$1" in
--version) echo '2.1.0 (Claude Code)';;
--help) echo '--output-format stream-json --json-schema --allowedTools';;
esac"#;

/// A folder of fake CLIs, each of which notes in `asked` that it was started.
struct Fakes {
    dir: TempDir,
}

impl Fakes {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    fn add(&self, name: &str, script: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let asked = self.asked_file().display().to_string();
        let text = format!("#!/bin/sh\necho \"$0 $*\" >>'{asked}'\n{script}\n");
        // Written aside and renamed: a program that is open for writing cannot be started.
        let aside = path.with_extension("new");
        #[expect(clippy::disallowed_methods, reason = "a fake program of a test")]
        fs::write(&aside, text).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&aside, &path).unwrap();
        path
    }

    fn asked_file(&self) -> PathBuf {
        self.dir.path().join("asked")
    }

    fn times_asked(&self) -> usize {
        fs::read_to_string(self.asked_file()).map_or(0, |text| text.lines().count())
    }

    fn prober_over(&self, dirs: &[&str], commands: &[(ProviderId, &Path)]) -> Prober {
        let dirs = dirs.iter().map(|dir| self.dir.path().join(dir)).collect();
        let commands: BTreeMap<_, _> = commands
            .iter()
            .map(|(provider, path)| (*provider, path.display().to_string()))
            .collect();
        let env = ChildEnv::exactly([("PATH".into(), "/usr/bin:/bin".into())]);
        Prober::new(Places::only(dirs), commands, env)
    }

    fn prober(&self) -> Prober {
        self.prober_over(&["."], &[])
    }
}

async fn look(prober: &Prober, provider: ProviderId, cache: &mut ProbeCache) -> Finding {
    let (finding, learnt) = prober.examine(provider, cache, Timestamp::now()).await;
    cache.learn(learnt);
    finding
}

#[tokio::test]
async fn a_good_cli_is_described_and_never_asked_twice() {
    let fakes = Fakes::new();
    fakes.add("claude", GOOD_CLAUDE);
    let mut cache = ProbeCache::default();
    let finding = look(&fakes.prober(), ProviderId::ClaudeCode, &mut cache).await;
    assert_eq!(finding.version.as_deref(), Ok("2.1.0 (Claude Code)"));
    let supports = finding.features.supports(ProviderId::ClaudeCode);
    assert!(supports.output_schema && supports.stream_json && supports.tool_disable);
    assert_eq!(fakes.times_asked(), 2);

    // Also not after a restart.
    let mut stored = ProbeCache::from_json(&cache.to_json());
    assert_eq!(
        look(&fakes.prober(), ProviderId::ClaudeCode, &mut stored).await,
        finding
    );
    assert_eq!(fakes.times_asked(), 2);
}

#[tokio::test]
async fn a_changed_cli_is_asked_again() {
    let fakes = Fakes::new();
    let claude = fakes.add("claude", GOOD_CLAUDE);
    let mut cache = ProbeCache::default();
    let before = look(&fakes.prober(), ProviderId::ClaudeCode, &mut cache).await;

    let file = fs::File::open(&claude).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() + Duration::from_secs(1))
        .unwrap();
    assert_eq!(look(&fakes.prober(), ProviderId::ClaudeCode, &mut cache).await, before);
    assert_eq!(fakes.times_asked(), 4);

    fakes.add("claude", "echo 3.0.0");
    let after = look(&fakes.prober(), ProviderId::ClaudeCode, &mut cache).await;
    assert_eq!(after.version.as_deref(), Ok("3.0.0"));
}

#[tokio::test]
async fn a_hung_cli_delays_nobody_and_is_left_in_peace_afterwards() {
    let fakes = Fakes::new();
    fakes.add("claude", "trap '' TERM; sleep 60 & sleep 60");
    fakes.add("codex", "echo codex-cli 0.42.0");
    let prober = fakes.prober().with_rhythm(Rhythm::of(Duration::from_millis(4500)));
    let (mut cache, empty) = (ProbeCache::default(), ProbeCache::default());
    let ask = async |provider| {
        let (finding, learnt) = prober.examine(provider, &empty, Timestamp::now()).await;
        (provider, finding, learnt)
    };
    let looks: Vec<_> = FuturesUnordered::from_iter(ProviderId::ALL.map(ask)).collect().await;
    let order: Vec<_> = looks.iter().map(|(provider, ..)| *provider).collect();
    assert_eq!(order, [ProviderId::Gemini, ProviderId::Codex, ProviderId::ClaudeCode]);
    assert_eq!(looks[1].1.version.as_deref(), Ok("codex-cli 0.42.0"));
    let (_, finding, learnt) = looks.into_iter().next_back().unwrap();
    let error = finding.version.unwrap_err();
    assert!(error.ends_with("claude --version did not end within 1.5s"), "{error}");

    cache.learn(learnt);
    let asked = fakes.times_asked();
    assert!(look(&prober, ProviderId::ClaudeCode, &mut cache).await.version.is_err());
    assert_eq!(fakes.times_asked(), asked, "a failure is not repeated at once");
}

#[tokio::test]
async fn gemini_is_asked_without_its_launcher() {
    let fakes = Fakes::new();
    fakes.add("gemini", r#"[ "$GEMINI_CLI_NO_RELAUNCH" = true ] && echo 0.61.0"#);
    let finding = look(&fakes.prober(), ProviderId::Gemini, &mut ProbeCache::default()).await;
    assert_eq!(finding.version.as_deref(), Ok("0.61.0"));
}

#[tokio::test]
async fn a_gigabyte_is_no_version() {
    let fakes = Fakes::new();
    fakes.add("gemini", "yes | head -c 1073741824");
    let finding = look(&fakes.prober(), ProviderId::Gemini, &mut ProbeCache::default()).await;
    let error = finding.version.unwrap_err();
    assert!(
        error.contains("--version printed more than 1048576 bytes") || error.contains("did not end"),
        "{error}"
    );
    assert!(error.len() < 600, "an error travels with every heartbeat");
}

#[tokio::test]
async fn a_cli_that_goes_away_is_missing_and_comes_back() {
    let fakes = Fakes::new();
    let claude = fakes.add("claude", GOOD_CLAUDE);
    let mut cache = ProbeCache::default();
    let prober = fakes.prober();
    assert!(look(&prober, ProviderId::ClaudeCode, &mut cache).await.version.is_ok());
    fs::remove_file(&claude).unwrap();
    let gone = look(&prober, ProviderId::ClaudeCode, &mut cache).await;
    assert_eq!(gone, Finding::unavailable("claude", "spawn claude ENOENT"));
    fakes.add("claude", GOOD_CLAUDE);
    assert!(look(&prober, ProviderId::ClaudeCode, &mut cache).await.version.is_ok());
}

#[tokio::test]
async fn a_script_whose_interpreter_is_gone_says_enoent() {
    let fakes = Fakes::new();
    let codex = fakes.add("codex", "");
    let text = fs::read_to_string(&codex)
        .unwrap()
        .replace("#!/bin/sh", "#!/gone/interpreter");
    #[expect(clippy::disallowed_methods, reason = "a fake program of a test")]
    fs::write(&codex, text).unwrap();
    let finding = look(&fakes.prober(), ProviderId::Codex, &mut ProbeCache::default()).await;
    assert_eq!(finding.version, Err(format!("spawn {} ENOENT", finding.command)));
}

#[tokio::test]
async fn the_newest_of_several_wins_and_a_broken_one_never() {
    let fakes = Fakes::new();
    fakes.add("a/codex", "echo 1.9.0");
    fakes.add("b/codex", "echo 9.9.9; exit 1");
    let newest = fakes.add("c/codex", "echo 1.10.0");
    let prober = fakes.prober_over(&["a", "b", "c"], &[]);
    let finding = look(&prober, ProviderId::Codex, &mut ProbeCache::default()).await;
    assert_eq!(
        (finding.command, finding.version),
        (newest.display().to_string(), Ok("1.10.0".to_owned()))
    );
}

#[tokio::test]
async fn a_named_command_is_taken_unless_it_is_a_wrapper_around_nothing() {
    let fakes = Fakes::new();
    let found = fakes.add("bin/claude", "echo 5.0.0");
    let named = fakes.add("own/my-claude", "echo 1.0.0");
    let wrapper = fakes.add("own/wrapper", "exec \"/gone/claude\" \"$@\"");
    for (command, expected) in [(&named, &named), (&wrapper, &found)] {
        let prober = fakes.prober_over(&["bin"], &[(ProviderId::ClaudeCode, command)]);
        let finding = look(&prober, ProviderId::ClaudeCode, &mut ProbeCache::default()).await;
        assert_eq!(finding.command, expected.display().to_string());
    }
    let gone = fakes.dir.path().join("gone");
    let prober = fakes.prober_over(&["bin"], &[(ProviderId::ClaudeCode, &gone)]);
    let finding = look(&prober, ProviderId::ClaudeCode, &mut ProbeCache::default()).await;
    assert_eq!(finding.version, Err(format!("spawn {} ENOENT", gone.display())));
}

#[tokio::test]
async fn a_failing_help_leaves_the_assumptions() {
    let fakes = Fakes::new();
    fakes.add("gemini", "[ \"$1\" = --version ] && echo 0.9.0");
    let finding = look(&fakes.prober(), ProviderId::Gemini, &mut ProbeCache::default()).await;
    assert_eq!(finding.version.as_deref(), Ok("0.9.0"));
    assert!(finding.features.flags["outputFormatFlag"]);
    assert_eq!(finding.features.extensions, None);
}
