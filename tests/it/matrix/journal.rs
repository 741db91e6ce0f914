//! Rows X1, X2, X4, X5 and X7 of the journal's file: what was acknowledged is there after any crash, and damage stops nobody.

use std::fs;
use std::path::Path;

use gateway::config::paths::Paths;
use gateway::domain::job::JobOutcome;
use gateway::state::fs::OwnerDir;
use gateway::state::journal::{Journal, JournalError, ProcessIdentityRecord};

use crate::journal::{Running, claim, copied, job, names, noise, outcome, timeline};
use crate::support::state_dir::{home, limit_file_size, put, run_child, wait_for};

fn cut(path: &Path, at: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(at).unwrap();
}

#[tokio::test]
async fn x4_a_log_cut_at_any_byte_loses_its_tail_only() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let mut sizes = Vec::new();
    let wal = paths.dir.join("journal.sqlite-wal");
    for name in 0..8 {
        let id = job(name);
        running.journal.claimed(&claim(&id)).await.unwrap();
        running
            .journal
            .finished(&id, &outcome(noise(2_000)), &timeline())
            .await
            .unwrap();
        sizes.push(fs::metadata(&wal).unwrap().len());
    }
    let whole = *sizes.last().unwrap();
    for step in 0..60_u64 {
        let at = step * 7_919 % whole;
        let (_copy_home, copy) = copied(&dir, |copy| cut(&copy.join("journal.sqlite-wal"), at));
        let running = Running::open(&copy).await;
        let acknowledged = sizes.iter().filter(|size| **size <= at).count();
        let (interrupted, unreported) = names(&running.journal).await;
        // A cut before the tables were made leaves an empty journal, never a refused one.
        assert!(unreported.len() >= acknowledged, "cut at {at}: {unreported:?}");
        let found = [unreported.clone(), interrupted].concat();
        let expected: Vec<_> = (0..found.len()).map(|name| format!("job-{name}")).collect();
        assert_eq!(found, expected, "cut at {at}");
        for (name, _) in unreported.iter().enumerate() {
            let (found, _) = running.journal.outcome(&job(name)).await.unwrap().end().unwrap();
            assert_eq!(found, outcome(noise(2_000)), "cut at {at}");
        }
        running.journal.claimed(&claim(&job("new"))).await.unwrap();
        running.close().await;
    }
    running.close().await;
}

#[tokio::test]
async fn x5_a_damaged_journal_is_set_aside_and_a_fresh_one_works() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    running.close().await;
    let size = fs::metadata(paths.journal()).unwrap().len();
    let damages: [&dyn Fn(&Path); 4] = [
        &|dir| put(&dir.join("journal.sqlite"), &noise(20_000)),
        &|dir| cut(&dir.join("journal.sqlite"), size - 4096 - 7),
        &|dir| cut(&dir.join("journal.sqlite"), 50),
        &|dir| {
            let mut bytes = fs::read(dir.join("journal.sqlite")).unwrap();
            bytes[4096..].fill(0xA5);
            put(&dir.join("journal.sqlite"), &bytes);
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let (_copy_home, copy) = copied(&dir, damage);
        let running = Running::open(&copy).await;
        let aside = running
            .set_aside
            .clone()
            .unwrap_or_else(|| panic!("damage {number} not seen"));
        let name = aside.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("journal.sqlite.corrupt-"), "{name}");
        assert!(aside.is_file());
        running.journal.claimed(&claim(&job(2))).await.unwrap();
        assert_eq!(names(&running.journal).await.0, ["job-2"]);
        running.close().await;
        let running = Running::open(&copy).await;
        assert_eq!(running.set_aside, None);
        running.close().await;
    }
}

/// Too large to be read through at a start, damaged where only the last of its open entries lie.
#[tokio::test]
async fn x5_a_large_journal_that_opens_but_cannot_be_used_is_set_aside_too() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    for name in 0..200 {
        running.journal.claimed(&claim(&job(name))).await.unwrap();
    }
    running.close().await;
    let mut bytes = fs::read(paths.journal()).unwrap();
    let page = bytes.chunks_mut(4096).rev().find(|page| {
        let holds = |text: &str| memchr::memmem::find(page, text.as_bytes()).is_some();
        holds("job-199") && holds("shell_exec")
    });
    page.unwrap().fill(0xA5);
    put(&paths.journal(), &bytes);
    // The rest of it is a hole.
    let file = fs::File::options().write(true).open(paths.journal()).unwrap();
    file.set_len(65 << 20).unwrap();
    let running = Running::open(&dir).await;
    assert!(running.set_aside.is_some());
    assert_eq!(names(&running.journal).await, (vec![], vec![]));
    running.close().await;
}

#[tokio::test]
async fn x1_wherever_the_disk_fills_up_claims_are_refused_and_none_that_was_acknowledged_is_lost() {
    // The first file to grow is the write-ahead log, so each limit fails another write of it.
    for limit in (60_000_u64..220_000).step_by(13_001) {
        let (_home, paths) = home();
        let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
        let task = format!("journal {limit}");
        let child = tokio::task::spawn_blocking(move || run_child(&task, &paths).wait());
        assert!(child.await.unwrap().unwrap().success(), "limit {limit}");
        let acknowledged = String::from_utf8(dir.read("acknowledged").unwrap().unwrap()).unwrap();
        let running = Running::open(&dir).await;
        assert_eq!(running.set_aside, None);
        let mut expected: Vec<_> = acknowledged.lines().map(str::to_owned).collect();
        let (mut found, _) = names(&running.journal).await;
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "limit {limit}");
        running.close().await;
    }
}

#[tokio::test]
async fn x2_killed_at_any_moment_it_keeps_what_it_acknowledged() {
    use std::io::{BufRead as _, BufReader};
    for round in 0..5_u32 {
        let (_home, paths) = home();
        let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
        drop(dir.append("acknowledged").unwrap());
        let (file, wanted) = (paths.dir.join("acknowledged"), 10 + round as usize * 17);
        let killing = tokio::task::spawn_blocking(move || {
            let mut child = run_child("journal for_ever", &paths);
            wait_for(|| BufReader::new(fs::File::open(&file).unwrap()).lines().count() >= wanted);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        killing.await.unwrap();
        let text = String::from_utf8(dir.read("acknowledged").unwrap().unwrap()).unwrap();
        let running = Running::open(&dir).await;
        assert_eq!(running.set_aside, None);
        let (found, _) = names(&running.journal).await;
        for name in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            assert!(found.iter().any(|found| found == name), "{name} is lost");
        }
        running.close().await;
    }
}

/// A journal of format 1, as the first version left it.
#[tokio::test]
async fn x7_a_journal_of_the_first_format_is_read() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(paths.journal());
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    let old = include_str!("../../fixtures/state/journal-1.sql");
    sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let running = Running::open(&dir).await;
    assert_eq!(running.set_aside, None);
    let found = running.journal.recover().await.unwrap();
    assert_eq!(found.interrupted.len(), 1);
    assert_eq!(found.interrupted[0].entry.job_id, job(1));
    assert_eq!(found.interrupted[0].process.unwrap().start_ticks, 77);
    assert_eq!(found.unreported[0].job_id, job(2));
    let (result, _) = running.journal.outcome(&job(2)).await.unwrap().end().unwrap();
    assert_eq!(result, outcome(noise(40)));
    let counts = running.journal.counts().await.unwrap();
    assert_eq!((counts.reported, counts.set_aside), (1, 1));
    running.journal.claimed(&claim(&job(5))).await.unwrap();
    running.close().await;
}

#[tokio::test]
async fn x7_a_newer_journal_is_refused_and_left_alone() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    running.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(paths.journal());
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = Journal::open(&dir).await.unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("newer version"));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(paths.journal());
    let mut connection = options.connect().await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT user_version FROM pragma_user_version, entries WHERE job_id = 'job-1'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 99);
}

/// How the jobs of [`through_jobs`] end.
pub(super) fn expected() -> JobOutcome {
    outcome(noise(3_000))
}

/// The other process of the tests above.
pub(crate) fn child(task: &str, paths: &Paths) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    runtime.block_on(async {
        let running = Running::open(&dir).await;
        match task.split_once(' ').unwrap().1 {
            "through_jobs" => through_jobs(&dir, &running.journal).await,
            "for_ever" => for_ever(&dir, &running.journal).await,
            limit => fill(&dir, &running.journal, limit.parse().unwrap()).await,
        }
        running.close().await;
    });
}

async fn for_ever(dir: &OwnerDir, journal: &Journal) {
    for name in 0.. {
        acknowledge(dir, journal, name).await.unwrap();
    }
}

async fn fill(dir: &OwnerDir, journal: &Journal, limit: u64) {
    limit_file_size(limit);
    let mut refused = 0;
    for name in 0..60 {
        refused += u32::from(acknowledge(dir, journal, name).await.is_err());
    }
    assert!(refused > 0, "the limit was never met");
    limit_file_size(u64::MAX);
    acknowledge(dir, journal, 1_000).await.unwrap();
}

async fn acknowledge(dir: &OwnerDir, journal: &Journal, name: u32) -> Result<(), JournalError> {
    journal.claimed(&claim(&job(name))).await?;
    note(dir, &job(name).to_string());
    Ok(())
}

fn note(dir: &OwnerDir, line: &str) {
    use std::io::Write as _;
    writeln!(dir.append("acknowledged").unwrap(), "{line}").unwrap();
}

/// Jobs that pass through every state as far as the journal lets them.
async fn through_jobs(dir: &OwnerDir, journal: &Journal) {
    for name in 0..4 {
        let id = job(name);
        if journal.claimed(&claim(&id)).await.is_err() {
            continue;
        }
        note(dir, &format!("claimed {name}"));
        let process = ProcessIdentityRecord {
            pid: 4_194_303,
            start_ticks: 1,
            pgid: 4_194_303,
            at: timeline().received_at,
        };
        if journal
            .started(&id, process, serde_json::json!({"method": "cgroup"}))
            .await
            .is_ok()
            && journal.finished(&id, &expected(), &timeline()).await.is_ok()
        {
            note(dir, &format!("finished {name}"));
        }
    }
}
