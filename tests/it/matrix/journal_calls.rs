//! Row X1 of the journal's file: every call that changes it goes wrong once.

use gateway::domain::ids::JobId;
use gateway::state::fs::OwnerDir;

use crate::journal::{Running, job, names};
use crate::matrix::journal::expected;
use crate::support::bad_disk::{BadDisk, Blow};
use crate::support::state_dir::{home, run_child_on};

const CALLS: &str = "openat,pwrite64,fsync,fdatasync,ftruncate,?unlink";

fn acknowledged(dir: &OwnerDir, word: &str) -> Vec<JobId> {
    let text = String::from_utf8(dir.read("acknowledged").unwrap().unwrap_or_default()).unwrap();
    let of_word = text
        .lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    of_word.map(job).collect()
}

/// One process works with the journal, and call `nth` goes wrong; whether there is such a call.
async fn goes_wrong(blow: Blow, nth: u32) -> bool {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let wal = paths.dir.join("journal.sqlite-wal");
    let disk = BadDisk::new(CALLS, blow).nth(nth).at(paths.journal()).at(wal);
    let struck = tokio::task::spawn_blocking(move || {
        run_child_on(&disk, "journal through_jobs", &paths).wait().unwrap();
        disk.has_struck()
    });
    let struck = struck.await.unwrap();
    let running = Running::open(&dir).await;
    assert_eq!(running.set_aside, None, "{blow:?} at {nth}");
    let (interrupted, unreported) = names(&running.journal).await;
    let mut all = [interrupted, unreported.clone()].concat();
    for id in acknowledged(&dir, "claimed") {
        assert!(all.contains(&id.to_string()), "{blow:?} at {nth}: {id} is lost");
    }
    for id in acknowledged(&dir, "finished") {
        assert!(
            unreported.contains(&id.to_string()),
            "{blow:?} at {nth}: the end of {id} is lost"
        );
        let (found, _) = running.journal.outcome(&id).await.unwrap().end().unwrap();
        assert_eq!(found, expected(), "{blow:?} at {nth}");
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{blow:?} at {nth}: doubled");
    running.close().await;
    struck
}

/// Tells how many calls there are.
async fn each_goes_wrong(blow: Blow, step: usize) -> u32 {
    for nth in (1..).step_by(step) {
        if !goes_wrong(blow, nth).await {
            return nth;
        }
    }
    unreachable!("there is no end to the calls")
}

#[tokio::test]
async fn x1_an_error_of_any_call_loses_and_doubles_nothing() {
    assert!(each_goes_wrong(Blow::Error("EIO"), 4).await > 50);
}

#[tokio::test]
async fn x1_a_death_at_any_call_loses_and_doubles_nothing() {
    assert!(each_goes_wrong(Blow::Kill, 4).await > 50);
}

mod nightly {
    use super::{Blow, each_goes_wrong};

    #[tokio::test]
    async fn x1_an_input_output_error_of_every_call_loses_and_doubles_nothing() {
        assert!(each_goes_wrong(Blow::Error("EIO"), 1).await > 50);
    }

    #[tokio::test]
    async fn x1_a_full_disk_at_every_call_loses_and_doubles_nothing() {
        assert!(each_goes_wrong(Blow::Error("ENOSPC"), 1).await > 50);
    }

    #[tokio::test]
    async fn x1_a_death_at_every_call_loses_and_doubles_nothing() {
        assert!(each_goes_wrong(Blow::Kill, 1).await > 50);
    }
}
