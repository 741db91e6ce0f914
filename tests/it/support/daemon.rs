//! The daemon as a process of its own, on a state directory of its own, against a control plane in this process.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use gateway::config::paths::Paths;
use gateway::control_plane::auth::Lives;
use gateway::domain::ids::{GatewayId, TeamId};
use gateway::domain::secret::Secret;
use gateway::process::env::ChildEnv;
use gateway::process::exit::Exit;
use gateway::process::identity::alive;
use gateway::process::spawn::{Child, spawn};
use gateway::process::spec::Spec;
use gateway::state::session::{Session, SessionStore};
use gateway::state::socket_path::SocketPath;
use gateway::wire::local::{DaemonStatus, LocalReply, LocalRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use super::bad_disk::BadDisk;
use super::eventually::eventually;
use super::home::Done;
use super::plane::{On, Paired, Plane, answer};
use super::recorder::Recorder;

/// A paired host: control plane, operator, state directory, and the resource its shell jobs name.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) plane: Plane,
    pub(crate) operator: String,
    pub(crate) paired: Paired,
    pub(crate) resource: String,
    pub(crate) state: TempDir,
    /// Where the daemon finds the control plane; a proxy may stand there.
    pub(crate) url: String,
}

/// A turn of an agent, as the control plane wrote it down.
#[derive(Debug)]
pub(crate) struct StartedRun {
    pub(crate) run: String,
    pub(crate) job: String,
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    paths: Paths,
}

impl Host {
    /// A host with all three layers of machine control on.
    pub(crate) async fn new() -> Self {
        Self::whose_tokens_live(Lives::default()).await
    }

    /// The same, with tokens that live so long.
    pub(crate) async fn whose_tokens_live(lives: Lives) -> Self {
        let plane = Plane::with(On::Sqlite, lives).await;
        let operator = plane.operator().await;
        let paired = plane.pair("host").await;
        plane.admin.set_full_control(&paired.gateway_id, true).await.unwrap();
        let resources = plane.admin.resources().await.unwrap();
        let resource = resources.first().expect("pairing makes a resource").id.clone();
        plane.admin.set_machine_control(&resource, true).await.unwrap();
        let url = plane.url("");
        let host = Self {
            plane,
            operator,
            paired,
            resource,
            state: TempDir::new().unwrap(),
            url,
        };
        host.write_session();
        host
    }

    /// A host whose every word is written down on its way to the control plane.
    pub(crate) async fn recorded() -> (Self, Recorder) {
        let mut host = Self::new().await;
        let recorder = Recorder::before(host.plane.address).await;
        host.url = recorder.url();
        host.write_session();
        (host, recorder)
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::in_dir(self.state.path().join("gateway"))
    }

    pub(crate) fn write_session(&self) {
        let session = Session {
            supabase_url: self.url.clone(),
            anon_key: Secret::new(self.plane.anon_key.as_str()),
            access_token: Secret::new(self.paired.access.as_str()),
            refresh_token: Secret::new(self.paired.refresh.as_str()),
            gateway_id: GatewayId::new(self.paired.gateway_id.as_str()).unwrap(),
            team_id: TeamId::new(self.paired.team_id.as_str()).unwrap(),
            full_control_enabled: true,
            device_name: Some("host".to_owned()),
            provider_health: Map::new(),
            other: Map::new(),
        };
        SessionStore::new(&self.paths()).create(session, false).unwrap();
    }

    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> Daemon {
        self.start_as(env!("CARGO_BIN_EXE_gateway"), &[""; 0], settings)
    }

    /// A daemon that a shell starts after these commands.
    pub(crate) fn start_after(&self, commands: &str, settings: &[(&str, &str)]) -> Daemon {
        let script = format!("{commands}; exec \"$@\"");
        let before = ["-c", &script, "bash", env!("CARGO_BIN_EXE_gateway")];
        self.start_as("/bin/bash", &before, settings)
    }

    /// A daemon for which every signal was blocked by whoever started it.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_deaf(&self, settings: &[(&str, &str)]) -> Daemon {
        let before = ["--block-signal", env!("CARGO_BIN_EXE_gateway")];
        self.start_as("/usr/bin/env", &before, settings)
    }

    /// A daemon that finds names in this file only.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_with_names_of(&self, hosts: &Path, settings: &[(&str, &str)]) -> Daemon {
        let mounts = r#"mount --bind "$1" /etc/hosts && mount --bind /dev/null /etc/resolv.conf"#;
        self.start_behind(mounts, hosts.to_str().unwrap(), settings)
    }

    /// A daemon that can make no cgroups.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_without_cgroups(&self, settings: &[(&str, &str)]) -> Daemon {
        self.start_behind(r#"mount -t tmpfs none "$1""#, "/sys/fs/cgroup", settings)
    }

    /// A daemon that sees other mounts.
    #[cfg(target_os = "linux")]
    fn start_behind(&self, mounts: &str, argument: &str, settings: &[(&str, &str)]) -> Daemon {
        let script = format!(r#"{mounts} && shift && exec "$@""#);
        let alone = if nix::unistd::Uid::effective().is_root() {
            "-m"
        } else {
            "-rm"
        };
        let before = [
            alone,
            "sh",
            "-c",
            &script,
            "sh",
            argument,
            env!("CARGO_BIN_EXE_gateway"),
        ];
        self.start_as("/usr/bin/unshare", &before, settings)
    }

    /// A daemon whose disk fails.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_on(&self, disk: &BadDisk, settings: &[(&str, &str)]) -> Daemon {
        let program = env!("CARGO_BIN_EXE_gateway").to_owned();
        let before = [vec!["-D".to_owned()], disk.before(), vec![program]].concat();
        self.start_as("strace", &before, settings)
    }

    fn start_as<B: AsRef<str>>(&self, program: &str, before: &[B], settings: &[(&str, &str)]) -> Daemon {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("HOME".into(), self.state.path().into()),
            // A model is asked by tests that say so.
            ("PANORAMA_GATEWAY_TEST_VALIDATION".into(), "off".into()),
        ];
        env.extend(settings.iter().map(|(name, value)| (name.into(), value.into())));
        let spec = Spec::new(program, ChildEnv::exactly(env))
            .args(before.iter().map(AsRef::as_ref))
            .args::<OsString>([
                "start".into(),
                "--foreground".into(),
                "--config-dir".into(),
                self.paths().dir.into_os_string(),
            ]);
        Daemon {
            child: spawn(spec).unwrap(),
            paths: self.paths(),
        }
    }

    /// A daemon that takes jobs.
    pub(crate) async fn start_ready(&self, settings: &[(&str, &str)]) -> Daemon {
        let daemon = self.start(settings);
        daemon.ready().await;
        daemon
    }

    /// The program run to its end on this host's state.
    pub(crate) async fn cli(&self, args: &[&str]) -> Done {
        let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())])
            .with("HOME", self.state.path())
            .with("PANORAMA_GATEWAY_TEST_VALIDATION", "off");
        let spec = Spec::new(env!("CARGO_BIN_EXE_gateway"), env)
            .args(args)
            .args([OsString::from("--config-dir"), self.paths().dir.into_os_string()]);
        let exit = spawn(spec).unwrap().wait(CancellationToken::new()).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done {
            code: exit.exit_code.unwrap_or(-1),
            stdout: text(&exit.stdout.bytes),
            stderr: text(&exit.stderr.bytes),
        }
    }

    pub(crate) async fn submit(&self, job_type: &str, payload: Value, more: Value) -> String {
        let mut row = json!({
            "team_id": self.paired.team_id, "gateway_id": self.paired.gateway_id,
            "job_type": job_type, "payload": payload,
        });
        row.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap_or_default());
        let row = self.plane.insert("gateway_jobs", &self.operator, &row).await;
        row["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn shell(&self, command: &str) -> String {
        let payload = json!({"resource_id": self.resource, "command": command});
        self.submit("shell_exec", payload, json!({})).await
    }

    /// A turn of a new Codex subagent.
    pub(crate) async fn start_run(&self, prompt: &str) -> StartedRun {
        self.start_run_as(prompt, json!({})).await
    }

    /// The same with a configuration.
    pub(crate) async fn start_run_as(&self, prompt: &str, config: Value) -> StartedRun {
        let asked = json!({
            "gateway_id": self.paired.gateway_id, "subagent_type": "codex_gateway", "prompt": prompt, "config": config,
        });
        let path = "/functions/v1/start-gateway-subagent-run";
        let (status, started) = self.plane.post(path, &self.operator, &asked).await;
        assert_eq!(status, 200, "{started}");
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        StartedRun {
            run: text("run_id"),
            job: text("job_id"),
        }
    }

    /// `(sequence, type, payload)` of every event of a run, in order.
    pub(crate) async fn events_of(&self, run: &str) -> Vec<(i64, String, Value)> {
        let mut all: Vec<(i64, String, Value)> = Vec::new();
        loop {
            let after = all.last().map_or(-1, |(last, ..)| *last);
            let path = format!(
                "/rest/v1/subagent_run_events?run_id=eq.{run}&sequence=gt.{after}&order=sequence.asc&limit=500"
            );
            let (status, rows) = self.plane.get(&path, &self.operator).await;
            assert_eq!(status, 200, "{rows}");
            let rows = rows.as_array().unwrap();
            if rows.is_empty() {
                return all;
            }
            all.extend(rows.iter().map(|row| {
                let word = row["event_type"].as_str().unwrap().to_owned();
                (row["sequence"].as_i64().unwrap(), word, row["payload"].clone())
            }));
        }
    }

    pub(crate) async fn row(&self, id: &str) -> Value {
        let path = format!("/rest/v1/gateway_jobs?select=*&id=eq.{id}");
        let (status, rows) = self.plane.get(&path, &self.operator).await;
        assert_eq!(status, 200, "{rows}");
        rows[0].clone()
    }

    /// Every job in one of these states, without what it was asked to do.
    pub(crate) async fn rows_in(&self, states: &[&str]) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let path = format!(
                "/rest/v1/gateway_jobs?select=id,job_type,status,result,error&status=in.({})&order=id&limit=500&offset={}",
                states.join(","),
                all.len()
            );
            let (status, rows) = self.plane.get(&path, &self.operator).await;
            assert_eq!(status, 200, "{rows}");
            let rows = rows.as_array().unwrap();
            if rows.is_empty() {
                return all;
            }
            all.extend(rows.iter().cloned());
        }
    }

    /// The row once it is in one of these states.
    pub(crate) async fn reaches(&self, id: &str, states: &[&str]) -> Value {
        eventually(&format!("job {id} to be one of {states:?}"), || async {
            let row = self.row(id).await;
            states.contains(&row["status"].as_str().unwrap()).then_some(row)
        })
        .await
    }

    pub(crate) async fn done(&self, id: &str) -> Value {
        self.reaches(id, &["completed", "failed", "cancelled"]).await
    }

    pub(crate) async fn cancel(&self, id: &str) {
        let path = format!("/rest/v1/gateway_jobs?id=eq.{id}");
        let body = json!({"status": "cancelled", "error": "by hand"});
        let (status, reply) = self.plane.patch(&path, &self.operator, &body).await;
        assert!(status < 300, "{status} {reply}");
    }

    /// What the gateway told about itself, once it is that much.
    pub(crate) async fn told(&self, events: usize) -> Vec<Value> {
        eventually(&format!("{events} events"), || async {
            let rows = self.events().await;
            (rows.len() >= events).then_some(rows)
        })
        .await
    }

    pub(crate) async fn events(&self) -> Vec<Value> {
        let path = "/rest/v1/gateway_events?select=*&order=provider.asc";
        let (status, rows) = self.plane.get(path, &self.operator).await;
        assert_eq!(status, 200, "{rows}");
        rows.as_array().unwrap().clone()
    }

    /// Ends the gateway's sessions on the control plane.
    pub(crate) async fn revoke(&self) {
        let path = "/auth/v1/logout?scope=global";
        let (status, reply) = self.plane.post(path, &self.paired.access, &json!({})).await;
        assert!(status < 300, "{status} {reply}");
    }

    pub(crate) async fn wire_status(&self) -> String {
        let path = format!("/rest/v1/team_gateways?select=status&id=eq.{}", self.paired.gateway_id);
        let (_, rows) = answer(self.plane.request(reqwest::Method::GET, &path, &self.operator)).await;
        rows[0]["status"].as_str().unwrap_or_default().to_owned()
    }
}

impl Daemon {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.identity().pid).unwrap())
    }

    /// Highest memory use so far, in kilobytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) async fn ask(&self, request: LocalRequest) -> Option<LocalReply> {
        ask(&self.paths.socket(), &request).await
    }

    pub(crate) async fn status(&self) -> Option<DaemonStatus> {
        match self.ask(LocalRequest::Status).await? {
            LocalReply::Status(status) => Some(*status),
            LocalReply::Ok | LocalReply::Error { .. } => None,
        }
    }

    /// Waits for a state word, such as `ready`.
    pub(crate) async fn reaches(&self, state: &str) -> DaemonStatus {
        eventually(&format!("daemon to be {state}"), || async {
            let status = self.status().await?;
            (json!(status.state) == json!(state)).then_some(status)
        })
        .await
    }

    pub(crate) async fn ready(&self) -> DaemonStatus {
        self.reaches("ready").await
    }

    pub(crate) async fn stop(self) -> Exit {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    /// How it ended, within a bound.
    pub(crate) async fn ended(self) -> Exit {
        let wait = self.child.wait(CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(40), wait)
            .await
            .expect("the daemon ends")
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        alive(self.child.identity().pid, None)
    }

    /// kill -9.
    pub(crate) async fn crash(self) {
        self.signal(Signal::SIGKILL);
        drop(self.ended().await);
    }
}

async fn ask(socket: &Path, request: &LocalRequest) -> Option<LocalReply> {
    let mut stream = UnixStream::connect(SocketPath::of(socket).ok()?.as_path()).await.ok()?;
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    stream.write_all(&line).await.ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.ok()?;
    serde_json::from_slice(&reply).ok()
}
