//! Everything on one machine: from nothing to a command's output, and back to nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::eventually::eventually;
use crate::support::home::Home;

/// Every file and directory below the state directory that others could read.
fn loose(home: &Home) -> Vec<String> {
    let mut dirs = vec![home.path().join(".panorama")];
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                dirs.push(entry.path());
            }
            if meta.permissions().mode() & 0o077 != 0 {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[test]
fn one_command_from_nothing_and_one_back() {
    let home = Home::new();
    let done = home
        .gateway(&["exec", "--up", "--full-control", "--", "echo", "a  b", "$HOME"])
        .ok();
    assert_eq!(done.stdout, "a  b $HOME\n");
    assert_eq!(done.stderr, "");
    let again = home
        .gateway(&["exec", "--up", "--full-control", "--", "echo out; echo err >&2; exit 7"])
        .exits(7);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("out\n", "err\n"));
    let status = home.gateway(&["status", "--json"]).ok().json();
    let text = home.gateway(&["status", "-v"]).ok().stdout;
    assert!(text.starts_with("Gateway Status: Running\n"), "{text}");
    assert!(
        text.contains(&format!("State: {}\n", status["state"].as_str().unwrap())),
        "{text}"
    );
    assert!(text.contains(&format!("PID: {}\n", status["pid"])), "{text}");
    assert_eq!(loose(&home), Vec::<String>::new());
    let stopped = home.gateway(&["stop"]).ok().stdout;
    assert!(stopped.contains("OK Gateway stopped\n"), "{stopped}");
    assert!(stopped.contains("OK Control plane stopped\n"), "{stopped}");
    let after = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(
        (&after["running"], &after["embedded_control_plane"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!(loose(&home), Vec::<String>::new());
}

#[test]
fn the_address_is_kept_and_what_runs_is_used() {
    let home = Home::new();
    home.gateway(&["up", "--detach"]).ok();
    let first = home.gateway(&["status", "--json"]).ok().json();
    home.gateway(&["up", "--detach"]).ok();
    let same = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(first["pid"], same["pid"]);
    assert_eq!(first["embedded_control_plane"], same["embedded_control_plane"]);
    home.gateway(&["stop"]).ok();
    home.gateway(&["up", "--detach"]).ok();
    let later = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(
        first["embedded_control_plane"]["url"],
        later["embedded_control_plane"]["url"]
    );
    assert_ne!(first["pid"], later["pid"]);
}

#[test]
fn a_refusal_names_the_layer_and_the_command() {
    let home = Home::new();
    home.gateway(&["up", "--detach", "--full-control"]).ok();
    let on = home.gateway(&["exec", "--", "true"]).ok();
    assert_eq!((on.stdout.as_str(), on.stderr.as_str()), ("", ""));
    home.gateway(&["full-control", "disable"]).ok();
    let done = home.gateway(&["exec", "--", "id"]).exits(6);
    assert!(done.stderr.contains("Refused by the host layer"), "{done:?}");
    assert!(done.stderr.contains("gateway full-control enable"), "{done:?}");
    home.gateway(&["full-control", "enable"]).ok();
    let id = home
        .gateway(&["control-plane", "gateway", "list", "--json"])
        .ok()
        .json();
    let id = id[0]["id"].as_str().unwrap().to_owned();
    home.gateway(&["control-plane", "gateway", "full-control", &id, "off"])
        .ok();
    let done = home.gateway(&["exec", "--", "id"]).exits(6);
    assert!(done.stderr.contains("Refused by the team layer"), "{done:?}");
    let command = format!("gateway control-plane gateway full-control {id} on");
    assert!(done.stderr.contains(&command), "{done:?}");
    home.gateway(&["control-plane", "gateway", "full-control", &id, "on"])
        .ok();
    let resources = home
        .gateway(&["control-plane", "resource", "list", "--json"])
        .ok()
        .json();
    let resource = resources[0]["id"].as_str().unwrap();
    home.gateway(&["control-plane", "resource", "full-control", resource, "off"])
        .ok();
    let done = home.gateway(&["exec", "--", "id"]).exits(6);
    assert!(done.stderr.contains("Refused by the resource layer"), "{done:?}");
    let command = format!("gateway control-plane resource full-control {resource} on");
    assert!(done.stderr.contains(&command), "{done:?}");
    home.gateway(&["exec", "--full-control", "--", "true"]).ok();
}

#[test]
fn jobs_are_submitted_shown_watched_and_cancelled() {
    let home = Home::new();
    home.gateway(&["up", "--detach", "--full-control"]).ok();
    let job = home
        .gateway(&["job", "submit", "--json", "--", "echo hi; exit 3"])
        .ok()
        .json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(home.gateway(&["job", "watch", id]).exits(3).stdout, "hi\n");
    let shown = home.gateway(&["job", "show", id]).ok().stdout;
    for word in [
        "Status: completed",
        "Exit code: 3",
        "Ingress: p",
        "created ",
        "claimed ",
        "completed ",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let long = home.gateway(&["job", "submit", "--json", "--", "sleep 60"]).ok().json();
    let long = long["id"].as_str().unwrap();
    home.gateway(&["job", "cancel", long]).ok();
    let done = home.gateway(&["job", "cancel", long]).exits(1);
    assert!(done.stderr.contains("cancelled already"), "{done:?}");
    let listed = home
        .gateway(&["job", "list", "--json", "--status", "cancelled"])
        .ok()
        .json();
    assert_eq!(listed[0]["id"], long);
    home.gateway(&["job", "show", "00000000-0000-0000-0000-000000000000"])
        .exits(1);
    let timed_out = home
        .gateway(&["exec", "--timeout", "300ms", "--", "sleep 60 & sleep 60"])
        .exits(124);
    assert!(timed_out.stderr.contains("timed out"), "{timed_out:?}");
}

#[test]
fn an_interrupted_exec_cancels_its_job() {
    let home = Home::new();
    home.gateway(&["up", "--detach", "--full-control"]).ok();
    let mut child = home
        .command(&["exec", "--", "echo started; sleep 60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(eventually("the job runs", || async {
        let listed = home.gateway(&["job", "list", "--json"]).ok().json();
        (listed[0]["status"] == "running").then_some(())
    }));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let listed = home.gateway(&["job", "list", "--json"]).ok().json();
    assert_eq!(listed[0]["status"], "cancelled");
}

#[test]
fn without_a_daemon_nobody_takes_the_job() {
    let home = Home::new();
    home.gateway(&["up", "--detach", "--full-control"]).ok();
    let pid = home.gateway(&["status", "--json"]).ok().json()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    let done = home.gateway(&["exec", "--", "id"]).exits(5);
    assert!(done.stderr.contains("No gateway took the job."), "{done:?}");
    let listed = home.gateway(&["job", "list", "--json"]).ok().json();
    assert_eq!(listed[0]["status"], "cancelled");
}

#[test]
fn up_in_front_ends_both_on_an_interrupt() {
    let home = Home::new();
    let mut child = home
        .command(&["up"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines
        .find(|line| line.as_ref().unwrap().contains("Press Ctrl-C"))
        .unwrap()
        .unwrap();
    let running = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(running["state"], "ready");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // A closed terminal is no wish to end anything.
    kill(pid, Signal::SIGHUP).unwrap();
    kill(pid, Signal::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    let after = home.gateway(&["status", "--json"]).ok().json();
    assert_eq!(
        (&after["running"], &after["embedded_control_plane"]),
        (&false.into(), &serde_json::Value::Null)
    );
}
