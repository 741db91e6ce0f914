//! Rows S1 to S6: what lies on disk, and a disk that is full.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures_util::future::join_all;
use gateway::domain::secret::Secret;
use gateway::process::env::ChildEnv;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use gateway::state::session::SessionStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{Ingress, Work, on_both_ways_in};
use crate::support::bad_disk::{BadDisk, Blow};
use crate::support::eventually::eventually;
use crate::support::state_dir::{home, run_child_on, session};

const FULL: Blow = Blow::Error("ENOSPC");
/// Every call that changes what a file of ours holds, or its name.
const CHANGES: &str = "write,fchmod,fsync,renameat,?unlinkat";
/// One job of each kind.
async fn jobs(scene: &Scene, script: &str) -> Vec<String> {
    join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await
}

async fn all_done(scene: &Scene, jobs: &[String]) {
    for job in jobs {
        assert_eq!(printed(&scene.done_once(job).await), "did it");
    }
}

/// Both kinds of jobs are taken.
async fn work(scene: &Scene) {
    let jobs = jobs(scene, "echo did it").await;
    all_done(scene, &jobs).await;
}

/// A daemon on a good disk takes jobs.
async fn works_again(scene: &Scene) {
    let jobs = jobs(scene, "echo did it").await;
    let daemon = scene.start().await;
    all_done(scene, &jobs).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

async fn refuses_to_store(scene: &Scene) {
    eventually("a token that the disk refuses", || async {
        let refused = scene.log().contains("Failed to persist refreshed gateway session");
        refused.then_some(())
    })
    .await;
}

#[tokio::test]
async fn s1_a_rotated_token_that_a_full_disk_refuses_leaves_the_old_file() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::with_short_tokens(ingress).await;
        let disk = BadDisk::new("renameat", FULL).at("gateway.json");
        let waiting = jobs(&scene, "until [ -e $here/go ]; do sleep 0.1; done; echo did it").await;
        let daemon = scene.begin_on(&disk);
        refuses_to_store(&scene).await;
        assert_eq!(scene.stored_token(), scene.host.paired.refresh);
        std::fs::create_dir(scene.path("go")).unwrap();
        all_done(&scene, &waiting).await;
        daemon.crash().await;
        works_again(&scene).await;
        assert_ne!(scene.stored_token(), scene.host.paired.refresh);
    })
    .await;
}

#[tokio::test]
async fn s2_killed_while_a_token_is_stored_it_starts_again() {
    on_both_ways_in(async |ingress| {
        for name in ["gateway.json.previous", "gateway.json"] {
            let scene = Scene::with_short_tokens(ingress).await;
            let disk = BadDisk::new("renameat", Blow::Kill).at(name);
            let daemon = scene.begin_on(&disk);
            assert_eq!(daemon.ended().await.exit_code, None, "killed");
            assert_eq!(scene.stored_token(), scene.host.paired.refresh);
            works_again(&scene).await;
        }
    })
    .await;
}

/// One process writes new tokens, and another call goes wrong in each round, until none is left.
fn each_call_goes_wrong(task: &str, blow: Blow) {
    let expected = ["refresh", "refresh-two"].map(Secret::new);
    for nth in 1.. {
        let (_home, paths) = home();
        let store = SessionStore::new(&paths);
        store.create(session(), false).unwrap();
        let disk = BadDisk::new(CHANGES, blow).nth(nth);
        run_child_on(&disk, task, &paths).wait().unwrap();
        let found = store.load().unwrap().unwrap();
        assert!(
            expected.contains(&found.refresh_token),
            "{task}, {blow:?} at call {nth}"
        );
        store
            .update(|session| session.refresh_token = Secret::new("later"))
            .unwrap();
        if !disk.has_struck() {
            assert_eq!(found.refresh_token, expected[1]);
            assert!(nth > 4, "{task} has only {nth} calls");
            return;
        }
    }
}

#[test]
fn s2_wherever_the_write_of_a_token_fails_or_ends_one_whole_session_is_there() {
    for task in ["rotate_the_token", "pair_again"] {
        for blow in [Blow::Kill, FULL, Blow::Error("EIO")] {
            each_call_goes_wrong(task, blow);
        }
    }
}

#[tokio::test]
async fn s4_a_log_on_a_full_disk_costs_lines_and_no_job() {
    const LOST: u32 = 12;
    on_both_ways_in(async |ingress| {
        let scene = Scene::new(ingress).await;
        let disk = BadDisk::new("write", FULL).at(scene.host.paths().log_file).first(LOST);
        let daemon = scene.begin_on(&disk);
        daemon.ready().await;
        let note = eventually("the log to say what it lost", || async {
            work(&scene).await;
            let text = scene.log();
            let note = text.lines().find(|line| line.contains("log lines were dropped"))?;
            Some(serde_json::from_str::<Value>(note).unwrap())
        })
        .await;
        assert_eq!(note["count"], LOST);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn s5_a_start_in_the_background_with_a_log_on_a_full_disk_works() {
    let scene = Scene::new(Ingress::Push).await;
    let paths = scene.host.paths();
    let dir = paths.dir.display().to_string();
    let env = || {
        let settings = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", &dir)];
        let all = settings.into_iter().chain(scene.settings());
        ChildEnv::exactly(all.map(|(name, value)| (name.into(), value.into())))
    };
    let program = env!("CARGO_BIN_EXE_gateway");
    let disk = BadDisk::new("write", FULL).at(&paths.log_file);
    let strace = Spec::new("strace", env()).args(["-D"]).args(disk.before());
    let started = spawn(strace.args([program, "start", "--config-dir", &dir])).unwrap();
    let started = started.wait(CancellationToken::new()).await;
    let said = String::from_utf8_lossy(&started.stderr.bytes).into_owned();
    assert_eq!(started.exit_code, Some(0), "{said}");
    work(&scene).await;
    assert_eq!(scene.log(), "");
    let stop = spawn(Spec::new(program, env()).args(["stop", "--config-dir", &dir])).unwrap();
    assert_eq!(stop.wait(CancellationToken::new()).await.exit_code, Some(0));
}

/// It would be found by no command, and ended by none.
#[tokio::test]
async fn x6_a_control_plane_that_cannot_write_where_it_is_ends() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]).with("HOME", dir.path());
    let disk = BadDisk::new("renameat", FULL).at("address.json");
    let serve = ["control-plane", "serve", "--listen", "127.0.0.1:0", "--started-by-up"];
    let strace = Spec::new("strace", env).args(["-D"]).args(disk.before());
    let strace = strace.args([env!("CARGO_BIN_EXE_gateway")]).args(serve);
    let served = spawn(strace.args(["--config-dir", &state])).unwrap();
    let served = served.wait(CancellationToken::new()).await;
    let said = String::from_utf8_lossy(&served.stderr.bytes).into_owned();
    assert_eq!(served.exit_code, Some(1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

/// Every path below `dir` that somebody else may use.
fn loose(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let about = entry.metadata().unwrap();
        if about.permissions().mode() & 0o077 != 0 {
            found.push(entry.path().display().to_string());
        }
        if about.is_dir() {
            found.extend(loose(&entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn s6_under_a_umask_of_zero_everything_is_still_the_owners() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.host.start_after("umask 0", &scene.settings());
        daemon.ready().await;
        work(&scene).await;
        let dir = scene.host.paths().dir;
        assert_eq!(loose(&dir), [""; 0]);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert_eq!(loose(&dir), [""; 0]);
    })
    .await;
}

mod nightly {
    use super::{BadDisk, FULL, Scene, refuses_to_store, work};
    use crate::matrix::twins::INGRESSES;
    use crate::support::eventually::within;
    use std::time::Duration;

    /// Half a minute after the disk refused a token it is asked again.
    const AGAIN_WITHIN: Duration = Duration::from_secs(45);

    #[tokio::test]
    async fn s3_a_disk_that_has_room_again_gets_the_token_that_it_refused() {
        for ingress in INGRESSES {
            let scene = Scene::with_short_tokens(ingress).await;
            // No other write than that of a token begins with this file.
            let disk = BadDisk::new("renameat", FULL).at("gateway.json.previous").first(1);
            let daemon = scene.begin_on(&disk);
            refuses_to_store(&scene).await;
            assert_eq!(scene.stored_token(), scene.host.paired.refresh);
            within(AGAIN_WITHIN, "the token to be stored", || async {
                (scene.stored_token() != scene.host.paired.refresh).then_some(())
            })
            .await;
            work(&scene).await;
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    }
}
