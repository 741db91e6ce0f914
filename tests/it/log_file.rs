//! The log: bounded, never in the way, read from its end and followed.

use std::fs;
use std::io::Write as _;

use gateway::config::paths::Paths;
use gateway::state::fs::OwnerDir;
use gateway::state::log_file::{Follower, Limits, RotatingLog, tail};

use crate::support::state_dir::{home, limit_file_size, put, run_child};

const SMALL: Limits = Limits {
    file_bytes: 1_000,
    files: 3,
};

fn small_log(paths: &Paths) -> RotatingLog {
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    RotatingLog::with_limits(dir, "gateway.log", SMALL).unwrap()
}

fn line(number: usize) -> String {
    format!("line {number:05} {}\n", "x".repeat(80))
}

fn write(log: &RotatingLog, numbers: std::ops::Range<usize>) {
    for number in numbers {
        log.clone().write_all(line(number).as_bytes()).unwrap();
    }
}

#[test]
fn it_rotates_in_whole_lines_and_never_holds_more_than_its_files() {
    let (_home, paths) = home();
    let log = small_log(&paths);
    write(&log, 0..200);
    let mut names: Vec<_> = OwnerDir::open(&paths.dir).unwrap().unwrap().names().unwrap();
    names.sort();
    assert_eq!(names, ["gateway.log", "gateway.log.1", "gateway.log.2"]);
    let mut expected = 200;
    for name in names {
        let text = fs::read_to_string(paths.dir.join(name)).unwrap();
        assert!(text.len() <= 1_000);
        for found in text.lines().rev() {
            expected -= 1;
            assert_eq!(found, line(expected).trim_end());
        }
    }
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_removed_file_is_made_again() {
    let (_home, paths) = home();
    let log = small_log(&paths);
    write(&log, 0..2);
    fs::remove_file(&paths.log_file).unwrap();
    write(&log, 2..3);
    assert_eq!(fs::read_to_string(&paths.log_file).unwrap(), line(2));
}

#[test]
fn a_tail_reads_whole_lines_from_the_end_and_across_a_rotation() {
    let (_home, paths) = home();
    assert_eq!(tail(&paths.log_file, Some(5)).unwrap().lines, Vec::<String>::new());
    write(&small_log(&paths), 0..25);
    let expected = |range: std::ops::Range<usize>| range.map(|at| line(at).trim_end().to_owned()).collect::<Vec<_>>();
    for wanted in [1, 3, 9] {
        assert_eq!(
            tail(&paths.log_file, Some(wanted)).unwrap().lines,
            expected(25 - wanted..25)
        );
    }
    assert_eq!(tail(&paths.log_file, Some(0)).unwrap().lines, Vec::<String>::new());

    let long: String = (0..5_000).map(line).collect();
    put(&paths.log_file, format!("{long}cut").as_bytes());
    let found = tail(&paths.log_file, Some(3)).unwrap().lines;
    assert_eq!(found[..2], expected(4_998..5_000));
    assert_eq!(found[2], "cut");
}

#[tokio::test]
async fn a_follower_goes_on_across_rotation_and_truncation() {
    let (_home, paths) = home();
    let log = small_log(&paths);
    write(&log, 0..3);
    let seen = tail(&paths.log_file, None).unwrap();
    assert_eq!(seen.lines.len(), 3);
    let mut follower = Follower::new(paths.log_file.clone(), seen.position);
    // The rotation happens before the follower looks for the first time, and again after.
    write(&log, 3..13);
    let mut text = String::new();
    while !text.contains("line 00012") {
        text.push_str(&String::from_utf8(follower.next().await.unwrap()).unwrap());
    }
    write(&log, 13..16);
    while !text.contains("line 00015") {
        text.push_str(&String::from_utf8(follower.next().await.unwrap()).unwrap());
    }
    assert_eq!(text, (3..16).map(line).collect::<String>());
    put(&paths.log_file, b"new\n");
    assert_eq!(follower.next().await.unwrap(), b"new\n");
}

#[test]
fn a_tail_reads_on_through_every_file_that_is_kept() {
    let (_home, paths) = home();
    let limits = Limits {
        files: Limits::default().files,
        ..SMALL
    };
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let log = RotatingLog::with_limits(dir, "gateway.log", limits).unwrap();
    write(&log, 0..200);
    let kept = |lines| tail(&paths.log_file, lines).unwrap().lines;
    let all = kept(None);
    assert!(all.len() > 40, "{}", all.len());
    let expected: Vec<_> = (200 - all.len()..200)
        .map(|number| line(number).trim_end().to_owned())
        .collect();
    assert_eq!(all, expected);
    assert_eq!(kept(Some(30)), expected[expected.len() - 30..]);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let (_home, paths) = home();
    fs::create_dir(&paths.dir).unwrap();
    assert!(run_child("fill_the_log", &paths).wait().unwrap().success());
    let text = fs::read_to_string(&paths.log_file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[..lines.len() - 2]
            .iter()
            .all(|found| found.len() == line(0).trim_end().len())
    );
    let note: serde_json::Value = serde_json::from_str(lines[lines.len() - 2]).unwrap();
    assert_eq!(note["count"], serde_json::json!(100 - (lines.len() - 2)));
    assert_eq!(lines.last(), Some(&"at last"));
}

/// The other process of the test above.
pub(crate) fn child(paths: &Paths) {
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let mut log = RotatingLog::with_limits(dir, "gateway.log", Limits::default()).unwrap();
    limit_file_size(3_000);
    write(&log, 0..100);
    assert!(log.dropped() > 0);
    limit_file_size(u64::MAX);
    log.write_all(b"at last\n").unwrap();
}
