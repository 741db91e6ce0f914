//! Commands about a host where nothing runs.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::home::Home;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A state directory as pairing leaves it, with this text as the session.
#[expect(clippy::disallowed_methods, reason = "a session file as somebody else left it")]
fn leave_session(home: &Home, text: &str) {
    std::fs::create_dir_all(home.state()).unwrap();
    std::fs::set_permissions(home.state(), Permissions::from_mode(0o700)).unwrap();
    let file = home.state().join("gateway.json");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
}

fn leave_paired(home: &Home) {
    let session = json!({
        "supabaseUrl": NOWHERE, "supabaseAnonKey": "key", "accessToken": "access", "refreshToken": "refresh",
        "gatewayId": "gateway", "teamId": "team", "full_control_enabled": false, "deviceName": "stored",
    });
    leave_session(home, &session.to_string());
}

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
fn whoever_cannot_say_no_is_told_how_to_stop_everything() {
    let home = Home::new();
    leave_paired(&home);
    std::fs::create_dir(home.state().join("session.lock")).unwrap();
    for (action, told) in [("enable", false), ("disable", true)] {
        let done = home.gateway(&["full-control", action]).exits(1);
        assert_eq!(done.stderr.contains("Next: gateway stop"), told, "{done:?}");
    }
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

#[test]
fn a_damaged_session_is_no_pairing_and_every_command_says_how_to_mend_it() {
    for (text, reason) in [("{", "corrupt"), (r#"{"supabaseUrl":"http://a"}"#, "incomplete")] {
        let home = Home::new();
        leave_session(&home, text);
        let status = home.gateway(&["status"]).ok();
        assert!(
            status
                .stdout
                .contains("\n  Paired: No (the session file cannot be used)\n"),
            "{status:?}"
        );
        assert!(
            status.stderr.contains(reason) && status.stderr.contains("  Next: "),
            "{status:?}"
        );
        let document = home.gateway(&["status", "--json"]).ok().json();
        assert_eq!(document["paired"], false);
        assert!(
            document["session_error"].as_str().unwrap().contains(reason),
            "{document}"
        );
        let doctor = home.gateway(&["doctor"]).exits(1);
        assert!(
            doctor
                .stdout
                .contains("\n  Paired: No (the session file cannot be used)\n"),
            "{doctor:?}"
        );
        for args in [&["doctor"][..], &["start"], &["full-control"]] {
            let done = home.gateway(args).exits(1);
            assert!(done.stderr.contains("Next: pair again"), "{args:?}: {done:?}");
        }
    }
}

#[test]
fn paths_come_from_the_flag_then_the_variable_then_the_default() {
    let mut home = Home::new();
    let state = home.state();
    let rows = [
        (
            "--config-path",
            "PANORAMA_GATEWAY_CONFIG_PATH",
            "config_path",
            "gateway.json",
        ),
        ("--log-path", "PANORAMA_GATEWAY_LOG_PATH", "log_path", "gateway.log"),
        ("--pid-path", "PANORAMA_GATEWAY_PID_PATH", "pid_path", "gateway.pid"),
    ];
    for (flag, variable, key, name) in rows {
        let shown = |home: &Home, args: &[&str]| home.gateway(&[&["status", "--json"], args].concat()).ok().json();
        home.set_env(variable, "");
        assert_eq!(shown(&home, &[])[key], json!(state.join(name)));
        assert_eq!(
            shown(&home, &["--config-dir", "/flag"])[key],
            json!(format!("/flag/{name}"))
        );
        home.set_env("PANORAMA_GATEWAY_CONFIG_DIR", "/variable");
        assert_eq!(shown(&home, &[])[key], json!(format!("/variable/{name}")));
        assert_eq!(
            shown(&home, &["--config-dir", "/flag"])[key],
            json!(format!("/flag/{name}"))
        );
        home.set_env(variable, "/variable/own");
        assert_eq!(shown(&home, &[])[key], json!("/variable/own"));
        assert_eq!(shown(&home, &[flag, "/flag/own"])[key], json!("/flag/own"));
        home.set_env(variable, "");
        home.set_env("PANORAMA_GATEWAY_CONFIG_DIR", "");
    }
}

#[test]
fn the_control_plane_to_pair_with_comes_from_the_flag_then_the_variables() {
    let mut home = Home::new();
    let named = |home: &Home, args: &[&str]| {
        home.gateway(&[&["pair", "CODE", "--anon-key", "k"], args].concat())
            .exits(4)
            .stderr
    };
    home.set_env("SUPABASE_URL", "http://127.0.0.1:7");
    assert!(named(&home, &[]).contains("http://127.0.0.1:7 "));
    home.set_env("PANORAMA_SUPABASE_URL", "http://127.0.0.1:8");
    assert!(named(&home, &[]).contains("http://127.0.0.1:8 "));
    assert!(named(&home, &["--supabase-url", NOWHERE]).contains("http://127.0.0.1:9 "));
    assert!(!home.state().join("gateway.json").exists());
}

#[test]
fn a_paired_host_says_whose_address_is_in_the_way() {
    let home = Home::new();
    leave_paired(&home);
    let done = home
        .gateway(&["start", "--supabase-url", "http://127.0.0.1:8"])
        .exits(1);
    assert!(
        done.stderr
            .starts_with("ERROR The pairing belongs to another control plane.\n"),
        "{done:?}"
    );
    for words in [
        NOWHERE,
        "http://127.0.0.1:8",
        "Next: drop --supabase-url\n    or pair again: gateway pair CODE",
    ] {
        assert!(done.stderr.contains(words), "{words}: {done:?}");
    }
    let done = home
        .gateway(&[
            "pair",
            "CODE",
            "--force",
            "--supabase-url",
            "ftp://x",
            "--anon-key",
            "k",
        ])
        .exits(1);
    assert!(
        done.stderr
            .starts_with("ERROR The address of the control plane cannot be used.\n"),
        "{done:?}"
    );
}

#[test]
fn full_control_answers_with_a_document_when_asked_for_one() {
    let home = Home::new();
    leave_paired(&home);
    for (action, on) in [("enable", true), ("enable", true), ("status", true), ("off", false)] {
        let document = home.gateway(&["full-control", action, "--json"]).ok().json();
        assert_eq!(
            document,
            json!({"full_control_enabled": on, "gateway_id": "gateway"}),
            "{action}"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a token file as somebody else left it")]
#[test]
fn login_says_what_it_lacks_and_warns_of_a_token_that_is_no_secret() {
    let home = Home::new();
    let to = ["login", "--url", NOWHERE, "--anon-key", "k"];
    let done = home.gateway(&to).exits(2);
    for way in [
        "No operator token",
        "--token-file FILE",
        "GATEWAY_TOKEN",
        "token create",
    ] {
        assert!(done.stderr.contains(way), "{done:?}");
    }
    let file = home.path().join("token");
    std::fs::write(&file, "gwop_x\n").unwrap();
    let with_mode = |mode| {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        home.gateway(&[&to[..], &["--token-file", "token"]].concat())
            .exits(4)
            .stderr
    };
    let loose = with_mode(0o640);
    assert!(
        loose.contains("WARN Other users of this machine may read the token file.\n"),
        "{loose}"
    );
    assert!(
        loose.contains("token (mode 0640)") && loose.contains("chmod 600 token"),
        "{loose}"
    );
    assert!(!with_mode(0o600).contains("WARN"));
    assert!(
        !home.state().join("operator.json").exists(),
        "a token that was not checked is not saved"
    );
}

#[expect(clippy::disallowed_methods, reason = "an end as an earlier version wrote it")]
#[test]
fn people_read_seconds() {
    let home = Home::new();
    leave_paired(&home);
    let last = json!({"at": "2026-11-21T07:08:28.847165961Z", "pid": 7, "code": 0, "reason": "stopped", "hint": null});
    let file = home.state().join("last_exit.json");
    std::fs::write(&file, last.to_string()).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let text = home.gateway(&["status"]).ok().stdout;
    assert!(text.contains("Last exit: stopped (2026-11-21T07:08:28Z)\n"), "{text}");
    let document = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(document["last_exit"]["at"], "2026-11-21T07:08:28.847Z");
    // What somebody else said is no word of one that was killed.
    std::fs::write(home.state().join("gateway.pid"), "4194304\n").unwrap();
    let text = home.gateway(&["status"]).ok().stdout;
    assert!(text.contains("Last exit: PID 4194304 was killed, or"), "{text}");
}

#[test]
fn a_foreground_gateway_says_that_it_waits() {
    let home = Home::new();
    leave_paired(&home);
    let mut command = home.command(&["start", "--foreground"]);
    let mut gateway = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let said = lines
        .map_while(Result::ok)
        .any(|line| line.starts_with("WARN Waiting for the control plane"));
    assert!(said, "it ended without a word");
    kill(Pid::from_raw(i32::try_from(gateway.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(gateway.wait().unwrap().code(), Some(0));
}
