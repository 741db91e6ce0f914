//! A host whose way to the control plane can fail, with work whose effects are counted outside the daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use gateway::process::env::ChildEnv;
use gateway::process::spec::Spec;
use serde_json::{Value, json};

use crate::matrix::twins::{Ingress, Work};
use crate::support::daemon::{Daemon, Host};
use crate::support::fault_proxy::FaultProxy;
use crate::support::stand_in::StandIns;

/// The turn of an agent: it runs the script whose path is its prompt, and says every line that it prints.
const TURN: &str = r#"code="$prompt.code"
{ sh "$prompt"; echo $? >"$code"; } | while IFS= read -r line; do say 0 "$line"; done
[ "$(cat "$code")" = 0 ] || exit 1"#;

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
        Self::with_turn(ingress, TURN).await
    }

    /// The same with another turn for its agents.
    pub(super) async fn with_turn(ingress: Ingress, turn: &str) -> Self {
        let programs = StandIns::new();
        let codex = programs.codex(turn);
        let mut host = Host::new().await;
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
        let mut settings = vec![
            ("PANORAMA_CODEX_CLI", self.codex.as_str()),
            ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
            ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
        ];
        settings.extend(self.ingress.setting());
        self.host.start(&settings)
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
        .or_else(|| row.pointer("/result/output/content")?.as_str());
    let text = text.unwrap_or_else(|| panic!("no text in {row}"));
    text.lines().last().unwrap_or_default().trim_end()
}
