//! Rows X1, X5, X6 and X7 of a daemon whose journal is damaged, full or of another version.

use std::time::Duration;

use futures_util::future::join_all;
use gateway::process::env::ChildEnv;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{Ingress, Work, on_both_ways_in};
use crate::support::bad_disk::{BadDisk, Blow};
use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, within};
use crate::support::state_dir::put;

/// Rows of an earlier run are final so long after a start.
const FINAL_WITHIN: Duration = Duration::from_secs(15);

/// One job of each kind.
async fn jobs(scene: &Scene, script: &str) -> Vec<String> {
    join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await
}

async fn soon_final(scene: &Scene, job: &str) -> Value {
    within(FINAL_WITHIN, "the end of a job", || async {
        let row = scene.host.row(job).await;
        (row["status"] != "running").then_some(row)
    })
    .await
}

#[tokio::test]
async fn x5_with_a_journal_beyond_repair_the_rows_are_ended_all_the_same() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::new(ingress).await;
        let jobs = jobs(&scene, "sleep 600").await;
        let daemon = scene.start().await;
        eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
        daemon.crash().await;
        let paths = scene.host.paths();
        put(&paths.journal(), &[0xA5; 20_000]);
        put(&paths.dir.join("journal.sqlite-wal"), b"no log");
        for name in ["journal.sqlite", "journal.sqlite-wal"] {
            let disk = BadDisk::new("renameat", Blow::Kill).at(name);
            let killed = scene.begin_on(&disk).ended().await;
            assert_eq!(killed.exit_code, None, "killed while it set the journal aside");
        }
        let daemon = scene.begin();
        for job in &jobs {
            let row = soon_final(&scene, job).await;
            let ended = (row["status"].as_str(), &row["result"]["interrupted"]);
            assert_eq!(ended, (Some("failed"), &json!(true)), "{row}");
            scene.done_once(job).await;
        }
        daemon.ready().await;
        let aside = std::fs::read_dir(&paths.dir).unwrap().flatten();
        let mut names = aside.map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert!(names.any(|name| name.starts_with("journal.sqlite.corrupt-")));
        let another = scene.work(Work::Shell, "echo on").await;
        assert_eq!(printed(&scene.done_once(&another).await), "on");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// From now on the daemon cannot write beyond so many bytes of any file, and is told so by an error: a full disk.
async fn limit_files(daemon: &Daemon, bytes: &str) {
    let limit = ["--pid", &daemon.pid().to_string(), &format!("--fsize={bytes}:")].map(str::to_owned);
    let env = ChildEnv::exactly([("PATH".into(), "/usr/bin:/bin".into())]);
    let prlimit = spawn(Spec::new("prlimit", env).args(limit)).unwrap();
    assert_eq!(prlimit.wait(CancellationToken::new()).await.exit_code, Some(0));
}

async fn works_through_a_full_disk(ingress: Ingress) {
    let scene = Scene::new(ingress).await;
    let running = jobs(&scene, "until [ -e $here/go ]; do sleep 0.1; done; echo done").await;
    let daemon = scene.host.start_after("trap '' XFSZ", &scene.settings());
    eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
    limit_files(&daemon, "4096").await;
    let first = scene.host.done(&scene.host.shell("true").await).await;
    assert_eq!(first["error"], "Gateway journal cannot be written", "{first}");
    let reason = daemon.reaches("degraded").await.reason.unwrap_or_default();
    assert!(reason.starts_with("the journal cannot be written"), "{reason}");
    let waiting = jobs(&scene, "echo late").await;
    std::fs::create_dir(scene.path("go")).unwrap();
    for job in &running {
        assert_eq!(printed(&scene.done_once(job).await), "done");
    }
    eventually("the wire to say error", || async {
        (scene.host.wire_status().await == "error").then_some(())
    })
    .await;
    for job in &waiting {
        assert_eq!(scene.host.row(job).await["status"], "queued");
    }
    limit_files(&daemon, "unlimited").await;
    for job in &waiting {
        assert_eq!(printed(&scene.done_once(job).await), "late");
    }
    daemon.ready().await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn x6_with_a_full_disk_nothing_is_claimed_and_what_runs_is_reported() {
    works_through_a_full_disk(Ingress::Push).await;
}

#[tokio::test]
async fn x6_a_start_on_a_full_disk_takes_nothing_and_says_why() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::new(ingress).await;
        let left = jobs(&scene, "sleep 600").await;
        let daemon = scene.start().await;
        eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
        daemon.crash().await;
        let waiting = jobs(&scene, "echo late").await;
        let disk = BadDisk::new("pwrite64", Blow::Error("ENOSPC"));
        assert_eq!(scene.begin_on(&disk).ended().await.exit_code, Some(1));
        let last = std::fs::read_to_string(scene.host.paths().last_exit()).unwrap();
        assert!(last.contains("the journal takes no more"), "{last}");
        for job in &waiting {
            assert_eq!(scene.host.row(job).await["status"], "queued");
        }
        let daemon = scene.begin();
        for job in &left {
            assert_eq!(soon_final(&scene, job).await["result"]["interrupted"], true);
        }
        for job in &waiting {
            assert_eq!(printed(&scene.done_once(job).await), "late");
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn x7_a_daemon_refuses_what_a_newer_one_wrote_and_says_so() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let scene = Scene::new(Ingress::Push).await;
    let daemon = scene.start().await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(scene.host.paths().journal());
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let exit = scene.begin().ended().await;
    assert_eq!(exit.exit_code, Some(1));
    let last = std::fs::read_to_string(scene.host.paths().last_exit()).unwrap();
    assert!(last.contains("was written by a newer version (format 99"), "{last}");
}

mod nightly {
    //! Every call that changes the journal's files fails once under a working daemon, or ends it.

    use super::{BadDisk, Blow, Daemon, Ingress, Scene, jobs, join_all, works_through_a_full_disk};
    use crate::support::eventually::eventually;

    const CALLS: &str = "pwrite64,fsync,fdatasync,ftruncate,?unlink";
    const AT_ONCE: u32 = 6;

    /// A daemon that is there until it ends by itself or everything is done.
    async fn at_work(daemon: &Daemon, scene: &Scene, jobs: &[String]) {
        eventually("the end of the jobs, or of the daemon", || async {
            if !daemon.is_alive() {
                return Some(());
            }
            let rows = join_all(jobs.iter().map(|job| scene.host.row(job))).await;
            let open = |row: &serde_json::Value| ["queued", "running"].contains(&row["status"].as_str().unwrap());
            (!rows.iter().any(open)).then_some(())
        })
        .await;
    }

    /// Whether there is such a call.
    async fn goes_wrong(ingress: Ingress, blow: Blow, nth: u32) -> bool {
        let scene = Scene::new(ingress).await;
        let jobs = jobs(&scene, "echo did it").await;
        let (journal, wal) = (
            scene.host.paths().journal(),
            scene.host.paths().dir.join("journal.sqlite-wal"),
        );
        let disk = BadDisk::new(CALLS, blow).nth(nth).at(journal).at(wal);
        let daemon = scene.begin_on(&disk);
        at_work(&daemon, &scene, &jobs).await;
        drop(if daemon.is_alive() {
            daemon.stop().await
        } else {
            daemon.ended().await
        });
        let daemon = scene.start().await;
        for job in &jobs {
            let row = scene.host.done(job).await;
            let runs = scene.effects().iter().filter(|id| *id == job).count();
            let completed = usize::from(row["status"] == "completed");
            assert!(
                completed <= runs && runs <= 1,
                "{blow:?} at {nth}: ran {runs} times: {row}"
            );
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        disk.has_struck()
    }

    async fn each_goes_wrong(ingress: Ingress, blow: Blow) {
        let mut nth = 1;
        loop {
            let some = (nth..nth + AT_ONCE).map(|nth| goes_wrong(ingress, blow, nth));
            if join_all(some).await.contains(&false) {
                break;
            }
            nth += AT_ONCE;
        }
        assert!(nth > 10, "only {nth} calls");
    }

    #[tokio::test]
    async fn x6_with_a_full_disk_nothing_is_found_by_polling_and_what_runs_is_reported() {
        works_through_a_full_disk(Ingress::Poll).await;
    }

    #[tokio::test]
    async fn x1_a_call_of_the_journal_fails_under_a_daemon_that_is_pushed_to() {
        each_goes_wrong(Ingress::Push, Blow::Error("EIO")).await;
    }

    #[tokio::test]
    async fn x1_a_call_of_the_journal_fails_under_a_daemon_that_polls() {
        each_goes_wrong(Ingress::Poll, Blow::Error("ENOSPC")).await;
    }

    #[tokio::test]
    async fn x1_a_daemon_that_is_pushed_to_dies_at_a_call_of_the_journal() {
        each_goes_wrong(Ingress::Push, Blow::Kill).await;
    }

    #[tokio::test]
    async fn x1_a_daemon_that_polls_dies_at_a_call_of_the_journal() {
        each_goes_wrong(Ingress::Poll, Blow::Kill).await;
    }
}
