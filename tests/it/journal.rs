//! The journal: each job's way through it.

use std::fs;
use std::path::Path;

use gateway::domain::clock;
use gateway::domain::ids::{GatewayId, JobId, TeamId};
use gateway::domain::job::{Ingress, JobOutcome, JobResult, RawField, Timeline};
use gateway::state::fs::OwnerDir;
use gateway::state::journal::{ClaimedEntry, Counts, Journal, JournalError, Known, ProcessIdentityRecord};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually::eventually;
use crate::support::state_dir::{home, put};

/// An open journal whose writer runs; [`Running::close`] waits for its end.
pub(crate) struct Running {
    pub(crate) journal: Journal,
    writer: JoinSet<()>,
    pub(crate) set_aside: Option<std::path::PathBuf>,
}

impl Running {
    pub(crate) async fn open(dir: &OwnerDir) -> Self {
        let opened = Journal::open(dir).await.unwrap();
        let mut writer = JoinSet::new();
        writer.spawn(opened.writer.run());
        Self {
            journal: opened.journal,
            writer,
            set_aside: opened.set_aside,
        }
    }

    pub(crate) async fn close(self) {
        drop(self.journal);
        self.writer.join_all().await;
    }
}

pub(crate) fn job(name: impl std::fmt::Display) -> JobId {
    JobId::new(format!("job-{name}")).unwrap()
}

pub(crate) fn timeline() -> Timeline {
    let at = jiff::Timestamp::from_millisecond(clock::now().as_millisecond()).unwrap();
    Timeline::received(Ingress::Push, at)
}

fn process() -> ProcessIdentityRecord {
    ProcessIdentityRecord {
        pid: 4_194_303,
        start_ticks: u64::from(u32::MAX) * 9,
        pgid: 77,
        at: timeline().received_at,
    }
}

pub(crate) fn claim(id: &JobId) -> ClaimedEntry {
    ClaimedEntry {
        job_id: id.clone(),
        team_id: TeamId::new("team").unwrap(),
        gateway_id: GatewayId::new("gateway").unwrap(),
        job_type: "shell_exec".to_owned(),
        timeline: timeline(),
        requested_via: Some("cli".to_owned()),
    }
}

pub(crate) fn outcome(bytes: Vec<u8>) -> JobOutcome {
    let Value::Object(fields) = json!({"exit_code": 7, "note": "Größe"}) else {
        unreachable!()
    };
    let raw = [("stdout", bytes), ("stderr", Vec::new())].map(|(key, bytes)| RawField {
        key: key.to_owned(),
        bytes,
    });
    JobOutcome::Completed {
        result: JobResult {
            fields,
            raw: raw.into(),
            run: None,
        },
    }
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * at % 251).unwrap()).collect()
}

pub(crate) async fn names(journal: &Journal) -> (Vec<String>, Vec<String>) {
    let found = journal.recover().await.unwrap();
    (
        found
            .interrupted
            .into_iter()
            .map(|found| found.entry.job_id.to_string())
            .collect(),
        found
            .unreported
            .into_iter()
            .map(|entry| entry.job_id.to_string())
            .collect(),
    )
}

#[tokio::test]
async fn a_job_passes_through_every_state_and_a_restart_between_each() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let (id, entry) = (job(1), claim(&job(1)));
    let identity = process();

    let running = Running::open(&dir).await;
    assert_eq!(names(&running.journal).await, (vec![], vec![]));
    running.journal.claimed(&entry).await.unwrap();
    assert_eq!(running.journal.outcome(&id).await.unwrap(), Known::Open);
    running
        .journal
        .started(&id, identity, json!({"method": "cgroup"}))
        .await
        .unwrap();
    running.close().await;

    let running = Running::open(&dir).await;
    let found = running.journal.recover().await.unwrap();
    assert_eq!(found.interrupted.len(), 1);
    let mut begun = entry.clone();
    let held = ("containment".to_owned(), json!({"method": "cgroup"}));
    begun.timeline.details.extend([held]);
    assert_eq!(found.interrupted[0].entry, begun);
    assert_eq!(found.interrupted[0].process, Some(identity));
    let mut steps = timeline();
    steps.finished_at = Some(steps.received_at);
    let ended = outcome(noise(300_001));
    running.journal.finished(&id, &ended, &steps).await.unwrap();
    running.close().await;

    let running = Running::open(&dir).await;
    assert_eq!(names(&running.journal).await, (vec![], vec!["job-1".to_owned()]));
    assert_eq!(running.journal.outcome(&id).await.unwrap().end(), Some((ended, steps)));
    running.journal.reported(&id).await.unwrap();
    running.close().await;

    let running = Running::open(&dir).await;
    assert_eq!(names(&running.journal).await, (vec![], vec![]));
    assert_eq!(running.journal.outcome(&id).await.unwrap(), Known::Reported);
    assert_eq!(running.journal.outcome(&job(2)).await.unwrap(), Known::Nothing);
    let counts = running.journal.counts().await.unwrap();
    assert_eq!(
        counts,
        Counts {
            reported: 1,
            ..Counts::default()
        }
    );
    running.close().await;
}

#[tokio::test]
async fn a_job_waits_for_the_disk_twice() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let (id, journal) = (job(1), &running.journal);
    journal.claimed(&claim(&id)).await.unwrap();
    assert_eq!(journal.counts().await.unwrap().synced, 0);
    journal
        .started(&id, process(), json!({"method": "cgroup"}))
        .await
        .unwrap();
    journal.said(&id, 0, b"so far".to_vec()).await.unwrap();
    journal
        .finished(&id, &outcome(noise(300_001)), &timeline())
        .await
        .unwrap();
    journal.reported(&id).await.unwrap();
    assert_eq!(journal.counts().await.unwrap().synced, 2);
    running.close().await;
}

#[tokio::test]
async fn what_a_job_said_is_there_when_it_is_cut_off_and_only_then() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let journal = &running.journal;
    for name in 1..=2 {
        journal.claimed(&claim(&job(name))).await.unwrap();
        journal.said(&job(name), 0, b"first".to_vec()).await.unwrap();
        journal.said(&job(name), 0, b"first and second".to_vec()).await.unwrap();
        journal.said(&job(name), 1, b"aside".to_vec()).await.unwrap();
    }
    let whole = outcome(noise(10));
    journal.finished(&job(1), &whole, &timeline()).await.unwrap();
    running.close().await;

    let running = Running::open(&dir).await;
    let raw = ["stdout", "stderr"].map(|key| RawField {
        key: key.to_owned(),
        bytes: Vec::new(),
    });
    let mut ended = JobOutcome::failed("cut off", []);
    ended.result_mut().raw.extend(raw);
    running.journal.cut_off(&job(2), &ended, &timeline()).await.unwrap();
    let (kept, _) = running.journal.outcome(&job(1)).await.unwrap().end().unwrap();
    assert_eq!(kept, whole);
    let (kept, _) = running.journal.outcome(&job(2)).await.unwrap().end().unwrap();
    let said = kept.result().raw.iter().map(|raw| raw.bytes.as_slice());
    assert_eq!(said.collect::<Vec<_>>(), [b"first and second".as_slice(), b"aside"]);
    running.close().await;
}

#[tokio::test]
async fn every_ending_and_every_byte_comes_back() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let mut big = outcome(noise(5_000_000));
    if let JobOutcome::Completed { result } = &mut big {
        result.raw[1].bytes = vec![0; 5_000_000];
    }
    let endings = [
        big,
        outcome(Vec::new()),
        JobOutcome::failed("no", [("job_type", json!("x"))]),
        JobOutcome::cancelled("stopped", []),
    ];
    for (name, ending) in endings.into_iter().enumerate() {
        let id = job(name);
        running.journal.claimed(&claim(&id)).await.unwrap();
        running.journal.finished(&id, &ending, &timeline()).await.unwrap();
        let (found, _) = running.journal.outcome(&id).await.unwrap().end().unwrap();
        assert_eq!(found, ending);
        // Storing it again replaces it.
        running.journal.finished(&id, &ending, &timeline()).await.unwrap();
        assert_eq!(running.journal.outcome(&id).await.unwrap().end().unwrap().0, ending);
    }
    for name in 0..4 {
        running.journal.reported(&job(name)).await.unwrap();
    }
    running.close().await;
}

#[tokio::test]
async fn a_refused_result_is_kept_and_no_longer_tried() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let id = job(1);
    running.journal.claimed(&claim(&id)).await.unwrap();
    running
        .journal
        .finished(&id, &outcome(noise(10)), &timeline())
        .await
        .unwrap();
    running.journal.set_aside(&id, "403").await.unwrap();
    assert_eq!(names(&running.journal).await, (vec![], vec![]));
    let counts = running.journal.counts().await.unwrap();
    assert_eq!((counts.set_aside, counts.latest_reason.as_deref()), (1, Some("403")));
    assert!(running.journal.outcome(&id).await.unwrap().end().is_some());
    running.close().await;
}

#[tokio::test]
async fn a_row_given_out_again_starts_anew() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let id = job(1);
    running.journal.claimed(&claim(&id)).await.unwrap();
    running
        .journal
        .finished(&id, &outcome(noise(10)), &timeline())
        .await
        .unwrap();
    running.journal.reported(&id).await.unwrap();
    running.journal.claimed(&claim(&id)).await.unwrap();
    assert_eq!(names(&running.journal).await, (vec!["job-1".to_owned()], vec![]));
    running.close().await;
}

#[tokio::test]
async fn what_was_never_claimed_cannot_end() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let error = running
        .journal
        .finished(&job(1), &outcome(noise(10)), &timeline())
        .await;
    assert!(matches!(error, Err(JournalError::Unknown(_))), "{error:?}");
    let error = running.journal.set_aside(&job(1), "x").await;
    assert!(matches!(error, Err(JournalError::Unknown(_))), "{error:?}");
    running.close().await;
}

#[tokio::test]
async fn one_bad_write_takes_no_other_of_its_group_with_it() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let opened = Journal::open(&dir).await.unwrap();
    let (good, bad, journal) = (job(1), job(2), &opened.journal);
    let entry = claim(&good);
    // All three wait before the writer runs, so they share a transaction.
    let work = async {
        let writes = async {
            tokio::join!(
                journal.claimed(&entry),
                journal.set_aside(&bad, "x"),
                journal.set_aside(&good, "y")
            )
        };
        writes.await
    };
    let mut writer = JoinSet::new();
    let mut work = std::pin::pin!(work);
    assert!(futures_util::poll!(work.as_mut()).is_pending());
    writer.spawn(opened.writer.run());
    let (first, second, third) = work.await;
    first.unwrap();
    assert!(matches!(second, Err(JournalError::Unknown(id)) if id == bad));
    third.unwrap();
    assert_eq!(journal.counts().await.unwrap().set_aside, 1);
}

#[tokio::test]
async fn many_jobs_at_once_are_each_there_once() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let mut jobs = JoinSet::new();
    for name in 0..300 {
        let journal = running.journal.clone();
        jobs.spawn(async move {
            let id = job(name);
            journal.claimed(&claim(&id)).await.unwrap();
            journal.finished(&id, &outcome(noise(100)), &timeline()).await.unwrap();
            if name % 2 == 0 {
                journal.reported(&id).await.unwrap();
            }
        });
    }
    jobs.join_all().await;
    running.close().await;
    let running = Running::open(&dir).await;
    let counts = running.journal.counts().await.unwrap();
    let expected = Counts {
        unreported: 150,
        reported: 150,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    running.close().await;
}

#[tokio::test]
async fn a_confirmation_nobody_waits_for_reaches_the_disk_soon() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    running.journal.reported(&job(1)).await.unwrap();
    eventually("the confirmation in a copy of the files", || async {
        let (_other, copy) = copied(&dir, |_| {});
        let running = Running::open(&copy).await;
        let counts = running.journal.counts().await.unwrap();
        running.close().await;
        (counts.reported == 1).then_some(())
    })
    .await;
    running.close().await;
}

#[tokio::test]
async fn old_confirmed_entries_go_and_the_file_shrinks() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    for name in 0..4 {
        let id = job(name);
        running.journal.claimed(&claim(&id)).await.unwrap();
        let ended = outcome(noise(1_000_000));
        running.journal.finished(&id, &ended, &timeline()).await.unwrap();
        if name < 3 {
            running.journal.reported(&id).await.unwrap();
        }
    }
    running.close().await;
    assert!(fs::metadata(paths.journal()).unwrap().len() < 2_000_000);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(paths.journal());
    let mut connection = options.connect().await.unwrap();
    let aged = "UPDATE entries SET reported_at = 1000 WHERE job_id IN ('job-0', 'job-1')";
    sqlx::raw_sql(aged).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(9))).await.unwrap();
    let counts = running.journal.counts().await.unwrap();
    let expected = Counts {
        running: 1,
        unreported: 1,
        reported: 1,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    let (kept, _) = running.journal.outcome(&job(3)).await.unwrap().end().unwrap();
    assert_eq!(kept, outcome(noise(1_000_000)));
    running.close().await;
}

#[tokio::test]
async fn a_journal_has_one_owner() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    let error = Journal::open(&dir).await.unwrap_err();
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
    for name in dir.names().unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(paths.dir.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", name.display());
    }
    running.close().await;
}

#[tokio::test]
async fn a_linked_journal_is_not_opened() {
    let (home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let victim = home.path().join("victim");
    put(&victim, b"precious");
    std::os::unix::fs::symlink(&victim, paths.journal()).unwrap();
    assert!(matches!(Journal::open(&dir).await, Err(JournalError::File(_))));
    fs::remove_file(paths.journal()).unwrap();
    std::os::unix::fs::symlink(&victim, paths.dir.join("journal.sqlite-wal")).unwrap();
    assert!(matches!(Journal::open(&dir).await, Err(JournalError::File(_))));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

/// A copy of the journal's files as a crash would leave them, changed by `damage`.
pub(crate) fn copied(dir: &OwnerDir, damage: impl FnOnce(&Path)) -> (tempfile::TempDir, OwnerDir) {
    let (home, paths) = home();
    let copy = OwnerDir::open_or_create(&paths.dir).unwrap();
    for name in ["journal.sqlite", "journal.sqlite-wal"] {
        if let Some(bytes) = dir.read(name).unwrap() {
            put(&paths.dir.join(name), &bytes);
        }
    }
    damage(&paths.dir);
    (home, copy)
}
