//! `gateway workspace`: where the owner lets agents work.

use std::os::unix::fs::symlink;

use gateway::control_plane::registry::SUBAGENTS;
use gateway::control_plane::store::{Rows, Store};
use gateway::state::fs::OwnerDir;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::home::Home;
use crate::support::recorder::Recorder;
use crate::support::state_dir::mode;

#[test]
fn directories_are_allowed_listed_and_taken_back() {
    let home = Home::new();
    let none = home.gateway(&["workspace", "list"]).ok();
    assert!(none.stdout.contains("gateway workspace add DIR"), "{none:?}");
    let code = home.path().join("code");
    std::fs::create_dir(&code).unwrap();
    symlink(&code, home.path().join("link")).unwrap();
    let real = std::fs::canonicalize(&code).unwrap();
    let added = home.gateway(&["workspace", "add", "link"]).ok();
    assert!(added.stdout.starts_with("OK Agents may work in "), "{added:?}");
    let again = home.gateway(&["workspace", "add", "code", "--json"]).ok().json();
    assert_eq!(again["workspaces"], serde_json::json!([real]));
    assert_eq!(
        home.gateway(&["workspace", "list"]).ok().stdout,
        format!("{}\n", real.display())
    );
    assert_eq!(mode(&home.state().join("workspaces.json")), 0o600);
    std::fs::remove_dir(&code).unwrap();
    home.gateway(&["workspace", "remove", real.to_str().unwrap()]).ok();
    let gone = home.gateway(&["workspace", "remove", "code"]).exits(1);
    assert!(gone.stderr.contains("gateway workspace list"), "{gone:?}");
    let missing = home.gateway(&["workspace", "add", "code"]).exits(1);
    assert!(
        missing.stderr.contains("ERROR No agent can work in code"),
        "{missing:?}"
    );
}

#[test]
fn who_allows_everything_is_told_so() {
    let home = Home::new();
    let added = home.gateway(&["workspace", "add", "/"]).ok();
    assert_eq!(added.stdout, "OK Agents may work in /\n");
    assert!(
        added.stderr.starts_with("WARN That is every directory of this host."),
        "{added:?}"
    );
}

#[test]
fn two_who_allow_at_once_both_count() {
    let home = Home::new();
    let names: Vec<String> = (0..8).map(|number| format!("d{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            std::fs::create_dir(home.path().join(name)).unwrap();
            home.command(&["workspace", "add", name]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = home.gateway(&["workspace", "list", "--json"]).ok().json();
    assert_eq!(list["workspaces"].as_array().unwrap().len(), names.len());
}

/// A host with directories of two subagents: one that its control plane has, and one that it had.
async fn left_over(since: &str) -> (Host, Store, [std::path::PathBuf; 2]) {
    let host = Host::new().await;
    let store = Store::open(&host.plane.database).await.unwrap();
    let [here, gone] = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    let row = json!({
        "id": here, "team_id": host.paired.team_id, "gateway_id": host.paired.gateway_id,
        "subagent_type": "codex_gateway", "status": "failed", "config": {}, "metadata": {},
    });
    store.insert_row(&SUBAGENTS, &row).await.unwrap();
    let state = OwnerDir::open_or_create(&host.paths().dir).unwrap();
    let parent = state.sub("workspaces").unwrap();
    let directories = [&here, &gone].map(|id| parent.sub(id).unwrap().path().to_path_buf());
    let known = json!({"gateway_id": host.paired.gateway_id, "missing_since": since});
    let notes = json!({here: known, gone: known}).to_string();
    state.replace("subagents.json", notes.as_bytes()).unwrap();
    (host, store, directories)
}

fn notes(host: &Host) -> Value {
    serde_json::from_slice(&std::fs::read(host.paths().dir.join("subagents.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn what_was_long_missing_is_removed_and_what_is_there_is_kept() {
    let (host, _store, [here, gone]) = left_over("2026-01-01T00:00:00Z").await;
    let daemon = host.start_ready(&[]).await;
    eventually("the directory to go", || async { (!gone.exists()).then_some(()) }).await;
    assert!(here.is_dir(), "a failed subagent can be resumed");
    let id = here.file_name().unwrap().to_str().unwrap();
    assert_eq!(notes(&host)[id], json!({"gateway_id": host.paired.gateway_id}));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn what_went_lately_waits_for_its_week_or_its_owner() {
    let (host, store, [here, gone]) = left_over("2999-01-01T00:00:00Z").await;
    let rows = Rows::of(&SUBAGENTS).eq("id", here.file_name().unwrap().to_str().unwrap());
    let daemon = host.start_ready(&[]).await;
    eventually("a look", || async {
        let id = here.file_name().unwrap().to_str().unwrap().to_owned();
        notes(&host)[&id].get("missing_since").is_none().then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    store.delete_rows(&rows).await.unwrap();
    assert!(gone.is_dir() && here.is_dir());
    let home = Home::new();
    let dir = host.paths().dir.display().to_string();
    let prune = ["workspace", "prune", "--config-dir", &dir];
    let shown = home.gateway(&[&prune[..], &["--dry-run"]].concat()).ok();
    assert!(shown.stdout.contains(gone.to_str().unwrap()), "{shown:?}");
    assert!(gone.is_dir(), "shown, not removed");
    let removed = home.gateway(&[&prune[..], &["--json"]].concat()).ok().json();
    assert_eq!(removed["directories"].as_array().unwrap().len(), 1, "{removed}");
    assert!(!gone.exists());
    assert!(here.is_dir(), "nobody said yet that this one is gone");
    let none = home.gateway(&prune).ok();
    assert!(none.stdout.contains("No agent's directory is left over."), "{none:?}");
}

#[tokio::test]
async fn a_control_plane_that_does_not_answer_costs_no_directory() {
    let (mut host, _store, directories) = left_over("2026-01-01T00:00:00Z").await;
    let proxy = Recorder::before(host.plane.address).await;
    proxy.refuse(|seen| seen.target.starts_with("/rest/v1/subagents?"), 503);
    host.url = proxy.url();
    host.write_session();
    let daemon = host.start_ready(&[]).await;
    eventually("a failed look", || async {
        let log = std::fs::read_to_string(host.paths().log_file).unwrap_or_default();
        log.contains("Failed to look for directories").then_some(())
    })
    .await;
    assert!(directories.iter().all(|directory| directory.is_dir()));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
