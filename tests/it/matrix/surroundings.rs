//! X22, X23, X27 and X29: what a job finds around it.

use std::path::Path;

use gateway::process::env::ChildEnv;
use gateway::process::interactive::{Link, Size, spawn_interactive};
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::on_every_path;
use crate::support::registrar::Anybody;

/// Whoever started the daemon sits at its terminal, and has typed something.
#[tokio::test]
async fn x22_no_job_reads_the_stdin_or_the_terminal_of_the_daemon() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let size = Size { columns: 80, rows: 24 };
        let (mut daemon, mut streams) = spawn_interactive(&scene.spec(), Link::Terminal(size), &mut Anybody)
            .await
            .unwrap();
        streams.input.write(b"typed\n").await.unwrap();
        let script = r#"said=$(cat)
( exec 3</dev/tty ) 2>/dev/null && said="$said, a terminal"
echo "read: $said""#;
        let job = scene.work(work, script).await;
        assert_eq!(printed(&scene.done_once(&job).await), "read:");
        let pid = Pid::from_raw(daemon.identity().pid.try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(daemon.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn x23_no_descriptor_of_the_daemon_reaches_a_job() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        // The script itself is open in the shell that reads it.
        let job = scene.work(work, "sh -c 'ls /proc/$$/fd; :' | tr '\\n' ' '; echo").await;
        assert_eq!(printed(&scene.done_once(&job).await), "0 1 2");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// What is asked of a control plane.
const KNOCKS: [&str; 6] = [
    "GET /rest/v1/gateway_jobs?select=*",
    "GET /rest/v1/team_gateways?select=*",
    "PATCH /rest/v1/gateway_jobs?status=eq.queued",
    "POST /functions/v1/gateway-heartbeat",
    "POST /functions/v1/start-gateway-subagent-run",
    "GET /auth/v1/user",
];

/// The public key is no secret: whoever has it may look, and sees nothing.
#[tokio::test]
async fn x27_a_job_without_a_credential_gets_nowhere_on_the_control_plane() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let port = scene.host.plane.address.port();
        let key = format!("apikey: {}\\r\\n", scene.host.plane.anon_key);
        let knocks = ["", &key].map(|key| KNOCKS.map(|knock| knocking(port, knock, key)).concat());
        let job = scene.work(work, &(knocks.concat() + "\necho")).await;
        let said = "401 401 401 401 401 401 200[] 200[] 401 401 401 401";
        assert_eq!(printed(&scene.done_once(&job).await), said);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// Sends one request and prints the status of its answer, and its rows.
fn knocking(port: u16, knock: &str, key: &str) -> String {
    format!(
        r#"
bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}
printf "{knock} HTTP/1.1\r\nhost: h\r\n{key}content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}" >&3
read -r _ status _ <&3; printf "%s%s " "$status" "$(grep -o "^\[.*" <&3)"'"#,
    )
}

#[tokio::test]
async fn x29_a_child_outlives_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let spec = waiting_for(&go);
    let runtime = tokio::runtime::Handle::current();
    let child = std::thread::spawn(move || {
        let _entered = runtime.enter();
        spawn(spec).unwrap()
    });
    let child = child.join().unwrap();
    std::fs::create_dir(&go).unwrap();
    assert!(child.wait(CancellationToken::new()).await.is_success());
}

fn waiting_for(file: &Path) -> Spec {
    let env = ChildEnv::exactly([("PATH".into(), "/usr/bin:/bin".into())]);
    let script = format!("until [ -e {} ]; do sleep 0.02; done", file.display());
    Spec::new("/bin/sh", env).args(["-c", &script])
}
