//! One daemon per state directory, and a start that tells the truth.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use gateway::state::fs::OwnerDir;
use gateway::state::lock::StateLock;
use serde_json::Value;

use crate::support::home::Home;

/// A paired home whose control plane and daemon are stopped.
pub(crate) fn paired() -> Home {
    let home = Home::new();
    home.gateway(&["up", "--detach"]).ok();
    home
}

/// Of the daemon that runs there; null when none does.
pub(crate) fn pid(home: &Home) -> Value {
    home.gateway(&["status", "--json"]).ok().json()["pid"].clone()
}

/// Takes a lock as a running process of ours does. Let go after somebody asked and before an answer, it is the lock of
/// one that was killed with the question in its ear.
fn hold(dir: &Path, lock: &str) -> StateLock {
    StateLock::acquire(&OwnerDir::open(dir).unwrap().unwrap(), lock).unwrap()
}

#[test]
fn a_start_beside_a_dying_daemon_starts_another() {
    let home = paired();
    home.gateway(&["stop"]).ok();
    let plane = home.serve_again();
    let lock = hold(&home.state(), "gateway.lock");
    let socket = UnixListener::bind(home.state().join("gateway.sock")).unwrap();
    let mut start = home.command(&["start"]).stdout(Stdio::null()).spawn().unwrap();
    let asker = socket.accept().unwrap();
    drop((lock, socket, asker));
    assert!(start.wait().unwrap().success());
    assert!(pid(&home).is_u64());
    home.gateway(&["stop", "--now"]).ok();
    drop(plane);
}

#[test]
fn an_up_beside_a_dying_control_plane_starts_another() {
    let home = paired();
    home.gateway(&["stop"]).ok();
    let dir = home.state().join("control-plane");
    let file = dir.join("address.json");
    let mut address: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let listen = address["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .to_owned();
    address["pid"] = std::process::id().into();
    let owner_dir = OwnerDir::open(&dir).unwrap().unwrap();
    owner_dir
        .replace("address.json", address.to_string().as_bytes())
        .unwrap();
    let lock = hold(&dir, "serving.lock");
    let socket = TcpListener::bind(listen).unwrap();
    let mut up = home.command(&["up", "--detach"]).stdout(Stdio::null()).spawn().unwrap();
    let asker = socket.accept().unwrap();
    drop((lock, socket, asker));
    assert!(up.wait().unwrap().success());
    assert!(pid(&home).is_u64());
}

#[test]
fn a_start_during_an_outage_runs_and_waits() {
    let home = paired();
    home.gateway(&["stop"]).ok();
    let done = home.gateway(&["start"]).exits(3);
    assert!(done.stderr.contains("waiting for the control plane"), "{done:?}");
    let status = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(status["running"], true);
    assert_ne!(status["state"], "ready");
}

#[test]
fn stop_tells_that_work_was_cancelled() {
    let home = Home::new();
    home.gateway(&["up", "--detach", "--full-control"]).ok();
    let job = home.gateway(&["job", "submit", "--json", "--", "sleep 60"]).ok().json();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(crate::support::eventually::eventually("the job runs", || async {
        let row = home
            .gateway(&["job", "show", "--json", job["id"].as_str().unwrap()])
            .ok()
            .json();
        (row["status"] == "running").then_some(())
    }));
    let done = home.gateway(&["stop", "--drain", "100ms"]).exits(8);
    assert!(done.stderr.contains("running work was cancelled"), "{done:?}");
    assert!(pid(&home).is_null());
}
