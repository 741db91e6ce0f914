//! A host whose way to the control plane can fail, with work whose effects are counted outside the daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use gateway::control_plane::auth::Lives;
use gateway::process::env::ChildEnv;
use gateway::process::spec::Spec;
use gateway::state::session::SessionStore;
use serde_json::{Value, json};

use crate::matrix::twins::{Ingress, Work};
#[cfg(target_os = "linux")]
use crate::support::bad_disk::BadDisk;
use crate::support::daemon::{Daemon, Host};
use crate::support::fault_proxy::FaultProxy;
use crate::support::stand_in::StandIns;

/// The turn of an agent: it runs the script whose path is its prompt, and says what that printed. It waits for the
/// script alone, not for what the script leaves behind.
const TURN: &str = r#"sh "$prompt" >"$prompt.said" || exit
say 0 "$(cat "$prompt.said")""#;

/// A job that ends when it is told to.
pub(super) const UNTIL_TOLD: &str = r#"until [ -e "$here/go" ]; do sleep 0.05; done; echo precious"#;

/// Whether a daemon may make cgroups.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cgroups {
    AsTheyAre,
    #[cfg(target_os = "linux")]
    None,
}

/// Control plane, proxy, host and stand-in agents.
pub(super) struct Scene {
    pub(super) host: Host,
    pub(super) proxy: FaultProxy,
    programs: StandIns,
    ingress: Ingress,
    codex: String,
}

impl Scene {
    pub(super) async fn new(ingress: Ingress) -> Self {
        Self::of(Host::new().await, ingress).await
    }

    /// The same with tokens that are replaced four seconds after they were made.
    pub(super) async fn with_short_tokens(ingress: Ingress) -> Self {
        let lives = Lives {
            access_seconds: 6,
            ..Lives::default()
        };
        Self::of(Host::whose_tokens_live(lives).await, ingress).await
    }

    /// The same with a host of one's own.
    pub(super) async fn of(host: Host, ingress: Ingress) -> Self {
        Self::built(host, ingress, TURN).await
    }

    /// The same with another turn for its agents.
    pub(super) async fn with_turn(ingress: Ingress, turn: &str) -> Self {
        Self::built(Host::new().await, ingress, turn).await
    }

    async fn built(mut host: Host, ingress: Ingress, turn: &str) -> Self {
        let programs = StandIns::new();
        let codex = programs.codex(turn);
        let proxy = FaultProxy::before(host.plane.address).await;
        host.url = proxy.url();
        host.write_session();
        Self {
            host,
            proxy,
            programs,
            ingress,
            codex,
        }
    }

    /// A daemon that takes jobs.
    pub(super) async fn start(&self) -> Daemon {
        let daemon = self.begin();
        daemon.ready().await;
        daemon
    }

    /// How a person starts a daemon.
    pub(super) fn spec(&self) -> Spec {
        let codex = self.programs.path("codex");
        let mut env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())])
            .with("HOME", self.host.state.path())
            .with("PANORAMA_GATEWAY_TEST_VALIDATION", "off")
            .with("PANORAMA_CODEX_CLI", codex);
        if let Some((name, value)) = self.ingress.setting() {
            env = env.with(name, value);
        }
        let args = ["start", "--foreground", "--config-dir"].map(OsString::from);
        Spec::new(env!("CARGO_BIN_EXE_gateway"), env)
            .args(args)
            .args([self.host.paths().dir])
    }

    /// A daemon that takes jobs and was started with these settings as well.
    pub(super) async fn start_with(&self, more: &[(&str, &str)]) -> Daemon {
        let mut settings = vec![("PANORAMA_CODEX_CLI", self.codex.as_str())];
        settings.extend(self.ingress.setting());
        settings.extend(more);
        self.host.start_ready(&settings).await
    }

    /// A daemon, whatever becomes of it.
    pub(super) fn begin(&self) -> Daemon {
        self.host.start(&self.settings())
    }

    /// What a daemon of the scene is started with.
    pub(super) fn settings(&self) -> Vec<(&str, &str)> {
        let mut settings = vec![
            ("PANORAMA_CODEX_CLI", self.codex.as_str()),
            ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
            ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
        ];
        settings.extend(self.ingress.setting());
        settings
    }

    /// A daemon whose disk fails, whatever becomes of it.
    #[cfg(target_os = "linux")]
    pub(super) fn begin_on(&self, disk: &BadDisk) -> Daemon {
        self.host.start_on(disk, &self.settings())
    }

    /// A daemon that takes jobs, on a host with these cgroups.
    pub(super) async fn start_with_cgroups(&self, cgroups: Cgroups) -> Daemon {
        match cgroups {
            Cgroups::AsTheyAre => self.start().await,
            #[cfg(target_os = "linux")]
            Cgroups::None => {
                let daemon = self.host.start_without_cgroups(&self.settings());
                daemon.ready().await;
                let held = daemon.status().await.unwrap().containment.unwrap();
                assert_eq!(held.method, "process group and mark");
                daemon
            }
        }
    }

    /// The refresh token that lies on disk.
    pub(super) fn stored_token(&self) -> String {
        let session = SessionStore::new(&self.host.paths()).load().unwrap().unwrap();
        session.refresh_token.expose().to_owned()
    }

    /// What the daemon has logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.host.paths().log_file).unwrap_or_default()
    }

    /// A job that leaves its id in [`Scene::effects`] and then does what the script says; `$here` is a folder of the
    /// scene's own.
    pub(super) async fn work(&self, work: Work, script: &str) -> String {
        self.work_with(work, script, json!({})).await
    }

    /// The same with more members for the payload of the command, or for the configuration of the agent.
    pub(super) async fn work_with(&self, work: Work, script: &str, more: Value) -> String {
        let name = format!("work-{}", uuid::Uuid::new_v4());
        let (here, path) = (self.programs.path(""), self.programs.path(&name));
        let script = format!(
            "here={}\necho \"$GATEWAY_JOB_ID\" >> \"$here/effects\"\n{script}\n",
            here.display()
        );
        self.programs.put(&name, &script);
        let path = path.display().to_string();
        match work {
            Work::Shell => {
                let mut payload = json!({"resource_id": self.host.resource, "command": format!("exec sh {path}")});
                payload
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().cloned().unwrap());
                self.host.submit("shell_exec", payload, json!({})).await
            }
            Work::Agent => self.host.start_run_as(&path, more).await.job,
        }
    }

    /// A file in the scene's own folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.programs.path(name)
    }

    /// A file in the scene's own folder, for scripts to find.
    pub(super) fn put(&self, name: &str, text: &str) {
        self.programs.put(name, text);
    }

    /// Whether the text is in the daemon's journal; nobody else can open that while the daemon runs.
    pub(super) fn journal_holds(&self, text: &str) -> bool {
        let journal = self.host.paths().journal().display().to_string();
        let files = [journal.clone(), format!("{journal}-wal")];
        let holds = |bytes: Vec<u8>| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        files.iter().any(|file| std::fs::read(file).is_ok_and(holds))
    }

    /// Lets every job of [`UNTIL_TOLD`] end.
    pub(super) fn tell(&self) {
        self.put("go", "");
    }

    /// The ids of the jobs that ran, in the order in which they began, one entry per run.
    pub(super) fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("effects")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The row once it is final; its work ran exactly once.
    pub(super) async fn done_once(&self, job: &str) -> Value {
        let row = self.host.done(job).await;
        let runs = self.effects().iter().filter(|id| *id == job).count();
        assert_eq!(runs, 1, "{row}");
        row
    }
}

/// The last line that a completed job printed, whichever work it was.
pub(super) fn printed(row: &Value) -> &str {
    assert_eq!(row["status"], "completed", "{row}");
    let text = row["result"]["stdout"]
        .as_str()
        .or_else(|| row["result"]["output"]["content"].as_str());
    text.unwrap_or_else(|| panic!("no text in {row}")).trim_end()
}
