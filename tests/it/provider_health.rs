//! Providers in trouble, through daemon and control plane: what a job says then, that nobody else notices, and that the
//! trouble is forgotten when its cause is.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::daemon::{Daemon, Host};
use crate::support::eventually::eventually;
use crate::support::recorder::Recorder;
use crate::support::stand_in::StandIns;

/// A look every three seconds for half a minute's; what is a minute outside is six seconds here.
const LOOK: (&str, &str) = ("PANORAMA_GATEWAY_TEST_LOOK_MS", "3000");
const MINUTE: Duration = Duration::from_secs(6);
/// A heartbeat every 300 ms for half a minute's.
const HEARTBEAT: (&str, &str) = ("PANORAMA_GATEWAY_TEST_HEARTBEAT_MS", "300");
const BEAT: Duration = Duration::from_millis(300);

/// A host with a good Claude, and a Codex in trouble.
pub(crate) struct Stage {
    host: Host,
    recorder: Recorder,
    pub(crate) programs: StandIns,
    pub(crate) daemon: Daemon,
}

impl Stage {
    pub(crate) async fn new(prepare: impl FnOnce(&StandIns)) -> Self {
        let programs = StandIns::new();
        let claude = programs.claude();
        prepare(&programs);
        let mut host = Host::new().await;
        let recorder = Recorder::before(host.plane.address).await;
        host.url = recorder.url();
        host.write_session();
        let codex = programs.path("codex").display().to_string();
        let clis = [
            ("PANORAMA_CLAUDE_CLI", claude.as_str()),
            ("PANORAMA_CODEX_CLI", codex.as_str()),
            ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
        ];
        let daemon = host.start_ready(&[clis.as_slice(), &[LOOK, HEARTBEAT]].concat()).await;
        Self {
            host,
            recorder,
            programs,
            daemon,
        }
    }

    /// What the control plane knows of a provider.
    async fn known(&self, provider: &str) -> Value {
        let path = format!(
            "/rest/v1/team_gateways?select=capabilities&id=eq.{}",
            self.host.paired.gateway_id
        );
        let (_, rows) = self.host.plane.get(&path, &self.host.operator).await;
        rows[0]["capabilities"]["providers"][provider].clone()
    }

    pub(crate) async fn is(&self, provider: &str, status: &str) -> Value {
        eventually(&format!("{provider} to be {status}"), || async {
            let known = self.known(provider).await;
            (known["health"]["status"] == status).then_some(known)
        })
        .await
    }

    async fn ask(&self, provider: &str) -> Value {
        let payload = json!({"prompt": "hello", "provider": provider, "model": "__default__", "output_format": "text"});
        let job = self.host.submit("model_run", payload, json!({})).await;
        self.host.done(&job).await
    }

    /// A job of each kind for Codex; both fail with that cause and that fix, and Claude works beside them.
    pub(crate) async fn codex_fails(&self, cause: &str, fix: &str) {
        let (asked, run) = (self.ask("codex"), self.host.start_run("work"));
        let (asked, run, claude) = tokio::join!(asked, run, self.ask("claude_code"));
        assert_eq!(claude["status"], "completed", "{claude}");
        assert_eq!(asked["status"], "failed", "{asked}");
        assert!(
            asked["error"].as_str().unwrap().contains("\"gateway doctor\""),
            "{asked}"
        );
        assert!(asked["result"]["hint"].as_str().unwrap().contains(fix), "{asked}");
        let job = self.host.done(&run.job).await;
        let error = job["error"].as_str().unwrap();
        assert!(error.contains(cause) && error.contains(fix), "{error}");
        let path = format!("/rest/v1/subagent_runs?id=eq.{}", run.run);
        let (_, rows) = self.host.plane.get(&path, &self.host.operator).await;
        assert_eq!(
            (&rows[0]["status"], rows[0]["error"].as_str()),
            (&json!("failed"), Some(error))
        );
    }

    /// Codex works again within what stands for a minute, and the next job of it does.
    pub(crate) async fn codex_recovers(&self) {
        let mended = Instant::now();
        let known = eventually("Codex to be usable again", || async {
            let known = self.known("codex").await;
            let bad = ["unhealthy", "unavailable"].contains(&known["health"]["status"].as_str().unwrap());
            (known["available"] == true && !bad).then_some(known)
        })
        .await;
        assert!(mended.elapsed() < MINUTE, "{:?} {known}", mended.elapsed());
        let job = self.ask("codex").await;
        assert_eq!(job["status"], "completed", "{job}");
        let known = self.is("codex", "healthy").await;
        assert_eq!(known["health"].get("error"), None, "{known}");
    }

    /// Does that; heartbeats go out meanwhile as they should.
    pub(crate) async fn while_it_beats(&self, doing: impl Future<Output = ()>) {
        let (began, before) = (Instant::now(), self.heartbeats());
        doing.await;
        let (beats, due) = (
            self.heartbeats() - before,
            began.elapsed().as_millis() / BEAT.as_millis(),
        );
        assert!(beats as u128 * 2 >= due, "{beats} heartbeats of {due}");
    }

    fn heartbeats(&self) -> usize {
        let seen = self.recorder.seen();
        seen.iter()
            .filter(|seen| seen.target.contains("gateway-heartbeat"))
            .count()
    }

    pub(crate) async fn end(self) {
        assert_eq!(self.is("claude_code", "healthy").await["available"], true);
        assert_eq!(self.daemon.stop().await.exit_code, Some(0));
    }
}

pub(crate) const GOOD: &str = "say 0 hello";

#[tokio::test]
async fn a_missing_provider_is_named_and_found_when_it_is_installed() {
    let stage = Stage::new(|_| ()).await;
    stage.is("codex", "unavailable").await;
    stage.codex_fails("not installed", "Install Codex").await;
    stage.programs.codex(GOOD);
    stage.codex_recovers().await;
    stage.programs.remove("codex");
    let gone = stage.is("codex", "unavailable").await;
    assert!(gone["error"].as_str().unwrap().ends_with("ENOENT"), "{gone}");
    stage.end().await;
}

#[tokio::test]
async fn a_provider_that_does_not_start_is_asked_again() {
    let stage = Stage::new(|programs| {
        programs.put("broken", "");
        let mood = r#"[ ! -e "$here/broken" ] || { echo 'Illegal instruction' >&2; exit 132; }"#;
        programs.moody_codex(mood, GOOD);
    })
    .await;
    stage.codex_fails("does not start", "install Codex again").await;
    let known = stage.known("codex").await;
    assert!(
        known["error"].as_str().unwrap().contains("Illegal instruction"),
        "{known}"
    );
    stage.programs.remove("broken");
    stage.codex_recovers().await;
    stage.end().await;
}

/// Ends a turn as Codex does while `$here/NAME` is there.
fn refusing(name: &str, message: &str) -> String {
    format!(
        r#"if [ -e "$here/{name}" ]; then
echo '{{"type":"turn.failed","error":{{"message":"{message}"}}}}'; exit 1
fi
{GOOD}"#
    )
}

#[tokio::test]
async fn a_provider_nobody_is_logged_in_to_says_how_to_log_in_and_is_tried_again() {
    let stage = Stage::new(|programs| {
        programs.put("out", "");
        programs.codex(&refusing("out", "unexpected status 401 Unauthorized: no"));
    })
    .await;
    stage
        .codex_fails("not logged in", "Run `codex` on the gateway host")
        .await;
    let known = stage.is("codex", "unhealthy").await;
    assert_eq!(
        known["health"]["error"],
        "not logged in: unexpected status 401 Unauthorized: no"
    );
    stage.programs.remove("out");
    stage.codex_recovers().await;
    stage.end().await;
}

#[tokio::test]
async fn a_provider_over_its_quota_is_tried_again() {
    let stage = Stage::new(|programs| {
        programs.put("over", "");
        programs.codex(&refusing(
            "over",
            "exceeded retry limit, last status: 429 Too Many Requests",
        ));
    })
    .await;
    stage.codex_fails("over quota", "Wait until Codex grants more").await;
    stage.is("codex", "unhealthy").await;
    stage.programs.remove("over");
    stage.codex_recovers().await;
    stage.end().await;
}

/// The only provider of a host has failed: its next run is tried all the same.
#[tokio::test]
async fn a_failure_of_the_only_provider_refuses_no_run() {
    let programs = StandIns::new();
    programs.put("out", "");
    let codex = programs.codex(&refusing("out", "unexpected status 401 Unauthorized: no"));
    let host = Host::new().await;
    // Believed for longer than this test takes.
    let clis = [
        ("PANORAMA_CODEX_CLI", codex.as_str()),
        ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
        ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
    ];
    let daemon = host.start_ready(&clis).await;
    let path = format!(
        "/rest/v1/team_gateways?select=capabilities&id=eq.{}",
        host.paired.gateway_id
    );
    let ready = async || {
        let (_, rows) = host.plane.get(&path, &host.operator).await;
        rows[0]["capabilities"]["services"]["model_execution"]["ready"].clone()
    };
    eventually("models on offer", || async { (ready().await == true).then_some(()) }).await;
    assert_eq!(host.done(&host.start_run("work").await.job).await["status"], "failed");
    eventually("no models on offer", || async {
        (ready().await == false).then_some(())
    })
    .await;
    programs.remove("out");
    let job = host.done(&host.start_run("work").await.job).await;
    assert_eq!(job["status"], "completed", "{job}");
    eventually("models on offer", || async { (ready().await == true).then_some(()) }).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
