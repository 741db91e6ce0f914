//! P10 to P12: one daemon per state directory, and no stranger is ever taken for it.

use std::process::Stdio;

use serde_json::Value;

use crate::cli_start::{paired, pid};

#[test]
fn p10_two_starts_at_once_give_one_daemon() {
    let home = paired();
    home.gateway(&["stop"]).ok();
    let plane = home.serve_again();
    let start = || {
        home.command(&["start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut one, mut other) = (start(), start());
    assert!(one.wait().unwrap().success());
    assert!(other.wait().unwrap().success());
    assert!(pid(&home).is_u64());
    home.gateway(&["stop", "--now"]).ok();
    assert!(pid(&home).is_null(), "a second daemon was left");
    drop(plane);
}

#[test]
fn p11_a_second_start_is_refused_names_the_holder_and_disturbs_nobody() {
    let home = paired();
    let holder = pid(&home);
    let done = home.gateway(&["start", "--foreground"]).exits(1);
    assert!(done.stderr.contains(&format!("PID {holder}")), "{done:?}");
    assert_eq!(home.gateway(&["start"]).ok().stdout, "Gateway already running\n");
    // Its jobs would look to the other like those of a dead one.
    let (other, session) = (home.path().join("other"), home.state().join("gateway.json"));
    let shared = ["start", "--foreground", "--config-dir", other.to_str().unwrap()];
    let shared = [&shared[..], &["--config-path", session.to_str().unwrap()]].concat();
    let done = home.gateway(&shared).exits(1);
    assert!(done.stderr.contains(&format!("PID {holder}")), "{done:?}");
    let status = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!((&status["pid"], &status["state"]), (&holder, &Value::from("ready")));
}

#[expect(clippy::disallowed_methods, reason = "a pid file and a stranger's process")]
#[test]
fn p12_a_strangers_process_in_the_pid_file_is_left_alone() {
    let home = paired();
    home.gateway(&["stop"]).ok();
    let plane = home.serve_again();
    let mut stranger = std::process::Command::new("/bin/sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = home.state().join("gateway.pid");
    let name_stranger = || std::fs::write(&pid_file, format!("{}\n", stranger.id())).unwrap();
    name_stranger();
    let status = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(
        (&status["running"], &status["stale_pid"]),
        (&false.into(), &stranger.id().into())
    );
    let done = home.gateway(&["stop"]).ok();
    assert_eq!(done.stdout, "Gateway is not running (stale PID removed)\n");
    assert!(!pid_file.exists());
    name_stranger();
    home.gateway(&["start"]).ok();
    assert!(pid(&home).is_u64() && pid(&home) != stranger.id());
    name_stranger();
    home.gateway(&["stop", "--now"]).ok();
    assert!(pid(&home).is_null());
    assert_eq!(stranger.try_wait().unwrap(), None, "the stranger must live");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    drop(plane);
}
