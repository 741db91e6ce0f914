//! Commands about a host where nothing runs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::home::Home;

#[test]
fn status_says_the_same_as_text_and_as_json() {
    let home = Home::new();
    let text = home.gateway(&["status"]).ok().stdout;
    assert!(text.starts_with("Gateway Status: Stopped\n"), "{text}");
    assert!(text.contains("\n  Paired: No\n"), "{text}");
    let json = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(json["running"], false);
    assert_eq!(json["paired"], false);
    assert_eq!(json["state"], "stopped");
    assert!(!home.state().exists(), "status only looks");
}

#[test]
fn reading_commands_tell_what_is_missing() {
    let home = Home::new();
    for args in [&["start"][..], &["full-control"], &["unpair"]] {
        let done = home.gateway(args).exits(7);
        assert!(done.stderr.starts_with("ERROR Gateway config not found."), "{done:?}");
        assert!(done.stderr.contains("gateway pair CODE"), "{done:?}");
    }
    let done = home.gateway(&["exec", "--", "id"]).exits(7);
    assert!(done.stderr.contains("gateway login"), "{done:?}");
    let done = home.gateway(&["job", "list", "--json"]).exits(7);
    let error: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 7);
}

#[expect(clippy::disallowed_methods, reason = "a stranger's process")]
#[test]
fn a_strangers_process_in_the_pid_file_is_left_alone() {
    let home = Home::new();
    let mut stranger = Command::new("/bin/sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::create_dir_all(home.state()).unwrap();
    std::fs::set_permissions(home.state(), Permissions::from_mode(0o700)).unwrap();
    let pid_file = home.state().join("gateway.pid");
    std::fs::write(&pid_file, format!("{}\n", stranger.id())).unwrap();
    std::fs::set_permissions(&pid_file, Permissions::from_mode(0o600)).unwrap();
    let status = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(status["running"], false);
    assert_eq!(status["stale_pid"], stranger.id());
    let done = home.gateway(&["stop"]).ok();
    assert_eq!(done.stdout, "Gateway is not running (stale PID removed)\n");
    assert!(!pid_file.exists());
    assert_eq!(stranger.try_wait().unwrap(), None, "the stranger must live");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(home.gateway(&["stop"]).ok().stdout, "Gateway is not running\n");
}

#[test]
fn an_environment_file_that_was_asked_for_must_be_there() {
    let home = Home::new();
    let done = home.gateway(&["pair", "CODE", "--env-file", "none"]).exits(1);
    assert!(done.stderr.starts_with("ERROR Environment file not found."), "{done:?}");
}

#[test]
fn a_build_without_a_backend_says_how_to_name_one() {
    let home = Home::new();
    let done = home.gateway(&["pair", "CODE"]).exits(1);
    for word in ["--supabase-url", "PANORAMA_SUPABASE_URL", "gateway up"] {
        assert!(done.stderr.contains(word), "{done:?}");
    }
    let done = home.gateway(&["pair"]).exits(2);
    assert!(done.stderr.contains("Pairing code is required"), "{done:?}");
}

#[test]
fn an_open_state_directory_is_refused_with_the_command_that_mends_it() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join(".panorama")).unwrap();
    std::os::unix::fs::symlink("/tmp", home.state()).unwrap();
    let done = home.gateway(&["start"]).exits(1);
    assert!(done.stderr.contains("symbolic link"), "{done:?}");
    assert!(done.stderr.contains("Next: rm "), "{done:?}");
    std::fs::remove_file(home.state()).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a log as somebody else left it")]
#[test]
fn logs_of_a_pipe_do_not_follow_and_show_the_last_lines() {
    let home = Home::new();
    let log = home.path().join("some.log");
    let lines: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    let log = log.to_str().unwrap();
    let shown = |args: &[&str]| {
        let args = [&["logs", "--log-path", log], args].concat();
        home.gateway(&args).ok().stdout.lines().count()
    };
    assert_eq!(shown(&[]), 200);
    assert_eq!(shown(&["--lines", "5", "--no-follow"]), 5);
    assert_eq!(shown(&["--lines", "0"]), 300);
    assert_eq!(shown(&["--lines", "-1"]), 300);
    assert_eq!(shown(&["--lines", "x"]), 300);
    assert_eq!(shown(&["--no-follow", "--lines=7"]), 7);
}
