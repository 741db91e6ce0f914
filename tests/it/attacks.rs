//! What somebody tries who wants more than a job: those attacks that are no row of the fault matrix.
//!
//! There are, by their rows: reading session and environment from a job (A6), a second daemon (P11), a stranger in the
//! pid file (P12), a login page for an answer (X12), cancels for nobody (X30), rows of others (X31).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway::state::fs::OwnerDir;
use serde_json::json;

use crate::daemon_hostile::{Stage, pushed};
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::state_dir::{home, mode, put};

/// A file that everybody may read and nobody here may touch.
fn precious(path: &Path) {
    put(path, b"precious");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn assert_untouched(path: &Path) {
    assert_eq!(
        (fs::read(path).unwrap().as_slice(), mode(path)),
        (&b"precious"[..], 0o644)
    );
}

/// A job replaces what the daemon keeps with links to something else.
#[tokio::test]
async fn links_planted_by_a_job_are_followed_by_nobody() {
    let host = Host::new().await;
    let victim = host.state.path().join("victim");
    precious(&victim);
    let daemon = host.start_ready(&[("PANORAMA_GATEWAY_TEST_HEARTBEAT_MS", "300")]).await;
    let plant = format!(
        "cd {} && for file in $(find . -type f ! -name gateway.lock); do ln -sf {} $file; done",
        host.paths().dir.display(),
        victim.display()
    );
    host.shell(&plant).await;
    eventually("the links", || async {
        host.paths().config_file.is_symlink().then_some(())
    })
    .await;
    // Without a word from the file that allows it, no job may have the machine.
    let row = host.done(&host.shell("true").await).await;
    assert_eq!(row["status"], "failed", "{row}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_untouched(&victim);
    let again = host.start(&[]).ended().await;
    let said = String::from_utf8_lossy(&again.stderr.bytes).into_owned();
    assert_eq!(again.exit_code, Some(1), "{said}");
    assert!(said.contains("symbolic link"), "{said}");
    assert_untouched(&victim);
}

/// Somebody swaps a file, and the directory that it is in, while it is written again and again.
#[test]
fn a_swap_in_the_middle_of_a_write_leads_nowhere() {
    let (home, paths) = home();
    let (victim, elsewhere) = (home.path().join("victim"), home.path().join("elsewhere"));
    precious(&victim);
    fs::create_dir(&elsewhere).unwrap();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let (file, aside, over) = (
        paths.dir.join("gateway.json"),
        home.path().join("aside"),
        AtomicBool::new(false),
    );
    let (written, refused) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(fs::remove_file(&file));
                drop(symlink(&victim, &file));
                drop(fs::rename(&paths.dir, &aside).and_then(|()| symlink(&elsewhere, &paths.dir)));
                drop(fs::remove_file(&file));
                drop(fs::remove_file(&paths.dir).and_then(|()| fs::rename(&aside, &paths.dir)));
            }
        });
        let (mut written, mut refused) = (0, 0);
        while written < 50 || refused < 50 {
            match dir.replace("gateway.json", b"secret") {
                Ok(()) => written += 1,
                Err(_) => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
        (written, refused)
    });
    assert!(written > 0 && refused > 0);
    assert_untouched(&victim);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// An event that was never a row, and one that says other things than its row.
#[tokio::test]
async fn what_an_event_claims_is_believed_only_as_far_as_its_row() {
    let mut stage = Stage::new().await;
    let daemon = stage.host.start(&[]);
    let mut socket = stage.server.socket().await;
    let join = socket.accept_join().await;
    daemon.ready().await;
    let mut forged = stage.row("forged", &json!({"command": "id"}));
    forged["job_type"] = json!("shell_exec");
    socket.send(&pushed(&join, "INSERT", &forged)).await;
    let true_row = stage.row("twisted", &json!({}));
    stage.table.put(true_row.clone());
    let mut twisted = true_row;
    twisted["job_type"] = json!("shell_exec");
    socket.send(&pushed(&join, "INSERT", &twisted)).await;
    // As a command it would have been refused: nothing here allows one.
    let end = stage.end_of("twisted").await;
    assert_eq!(end["status"], "completed", "{end}");
    let ends = |seen: &crate::support::scripted_server::Seen| seen.target.contains("id=eq.forged&status=eq.running");
    assert!(!stage.server.seen().iter().any(ends));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

/// A frame of a gigabyte: the connection ends long before, and the next one works.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_frame_of_a_gigabyte_is_not_taken() {
    const GIGABYTE: u64 = 1 << 30;
    /// More than a daemon at work, and less than a daemon and a tenth of the frame.
    const MOST_KB: u64 = 100_000;
    let mut stage = Stage::new().await;
    let daemon = stage.host.start(&[]);
    let mut socket = stage.server.socket().await;
    socket.accept_join().await;
    daemon.ready().await;
    assert!(socket.flood(GIGABYTE).await < GIGABYTE / 10);
    let mut socket = stage.server.socket().await;
    let join = socket.accept_join().await;
    let row = stage.row("next", &json!({}));
    stage.table.put(row.clone());
    socket.send(&pushed(&join, "INSERT", &row)).await;
    assert_eq!(stage.end_of("next").await["status"], "completed");
    let peak = daemon.peak_memory_kb();
    assert!(peak < MOST_KB, "{peak} kB");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
