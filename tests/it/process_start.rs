//! Which program a child becomes, and that we take the status of every child.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gateway::process::env::ChildEnv;
use gateway::process::exit::Exit;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::eventually::eventually;

#[expect(clippy::disallowed_methods, reason = "a program that somebody else installed")]
fn file(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Programs named `tool` in several places.
fn places() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    file(&at("closed/tool"), "#!/bin/sh\necho closed", 0o644);
    fs::create_dir_all(at("dir/tool")).unwrap();
    file(&at("near/tool"), "#!/bin/sh\necho near $0 $1", 0o755);
    file(&at("far/tool"), "#!/bin/sh\necho far", 0o755);
    home
}

fn tool(home: &TempDir, path: &str) -> Spec {
    let env = ChildEnv::exactly([("PATH".into(), path.into())]);
    let mut spec = Spec::new("tool", env).args(["argument"]);
    spec.cwd = home.path().to_owned();
    spec
}

async fn run(spec: Spec) -> Exit {
    spawn(spec).unwrap().wait(CancellationToken::new()).await
}

async fn said(spec: Spec) -> String {
    String::from_utf8(run(spec).await.stdout.bytes).unwrap()
}

#[tokio::test]
async fn a_name_is_looked_up_in_the_path_of_the_child() {
    let home = places();
    let near = home.path().join("near");
    let near = near.to_str().unwrap();
    let found = said(tool(&home, &format!("/nowhere:closed:dir:{near}:far"))).await;
    assert_eq!(found, format!("near {near}/tool argument\n"));
    assert_eq!(said(tool(&home, "far:near")).await, "far\n");
    assert!(said(tool(&home, "near")).await.starts_with("near "));
}

#[tokio::test]
async fn a_name_that_names_no_program_says_why() {
    let home = places();
    let refused = |path: &str| spawn(tool(&home, path)).unwrap_err().to_string();
    assert_eq!(refused("/nowhere"), "spawn tool ENOENT");
    assert_eq!(refused("closed"), "spawn tool EACCES");
}

#[tokio::test]
async fn a_script_without_an_interpreter_is_one_of_the_shell() {
    let home = places();
    file(&home.path().join("plain/tool"), "echo plain $1", 0o755);
    assert_eq!(said(tool(&home, "plain")).await, "plain argument\n");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_end_by_a_real_time_signal_is_told() {
    let spec = Spec::new("/bin/bash", ChildEnv::default()).args(["-c", "kill -s RTMIN+1 $$"]);
    let exit = run(spec).await;
    assert_eq!((exit.exit_code, exit.signal), (None, Some(35)));
}

#[tokio::test]
async fn a_child_that_nobody_awaits_leaves_no_zombie() {
    let spec = Spec::new("/bin/sleep", ChildEnv::default()).args(["300"]);
    let child = spawn(spec).unwrap();
    let pid = child.identity().pid;
    drop(child);
    let stat = format!("/proc/{pid}/stat");
    eventually("its status to be taken", || {
        std::future::ready((!Path::new(&stat).exists()).then_some(()))
    })
    .await;
}
