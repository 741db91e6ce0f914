//! Children whose stdout is read line by line while they run.

use std::time::Duration;

use gateway::process::env::ChildEnv;
use gateway::process::exit::{Ending, Exit, Pipes};
use gateway::process::lines::{Lines, Reading};
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::eventually::PATIENCE;

/// Keeps short lines and lengths; asks for the end of the child when a line says so.
#[derive(Debug, Default)]
struct Seen {
    lines: Vec<String>,
    lengths: Vec<usize>,
    overlong: Vec<u64>,
    stop: CancellationToken,
}

impl Lines for Seen {
    fn line(&mut self, line: &[u8]) {
        self.lengths.push(line.len());
        if line.len() < 100 {
            self.lines.push(String::from_utf8_lossy(line).into_owned());
        }
        if line == b"stop me" {
            self.stop.cancel();
        }
    }

    fn overlong(&mut self, length: u64) {
        self.overlong.push(length);
    }
}

async fn read(script: &str, reading: Reading) -> (Exit, Seen) {
    let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]);
    let mut spec = Spec::new("/bin/sh", env).args(["-c", script]);
    spec.grace = Duration::from_millis(200);
    let mut seen = Seen::default();
    let child = spawn(spec).unwrap();
    let exit = timeout(
        PATIENCE,
        child.wait_lines(seen.stop.clone(), reading, &mut seen, &|_| ()),
    )
    .await
    .expect("the child must end");
    (exit, seen)
}

#[tokio::test]
async fn lines_come_while_the_child_runs() {
    let (exit, seen) = read(
        "echo one; echo stop me; trap '' TERM; while :; do sleep 1; done",
        Reading::default(),
    )
    .await;
    assert_eq!(seen.lines, ["one", "stop me"]);
    assert!(matches!(exit.ending, Ending::Stopped { .. }));
    assert!(exit.stdout.bytes.is_empty() && exit.stdout.total == 12);
}

/// A program that does not wait for its reader finds room for as much as Linux grants.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_megabyte_finds_room_at_once() {
    let script = "import fcntl, sys, time
while fcntl.fcntl(1, 1032) < 1 << 20: time.sleep(0.01)
print('wide')";
    let (exit, seen) = read(&format!("exec python3 -c \"{script}\""), Reading::default()).await;
    assert_eq!(
        (exit.exit_code, seen.lines.as_slice()),
        (Some(0), ["wide".to_owned()].as_slice())
    );
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_one_line_and_a_longer_one_is_counted() {
    let long = "head -c 10000000 /dev/zero | tr '\\0' x; echo; printf end";
    let (exit, seen) = read(long, Reading::default()).await;
    assert_eq!(
        (seen.lengths, seen.lines.as_slice()),
        (vec![10_000_000, 3], ["end".to_owned()].as_slice())
    );
    assert!(exit.is_success());
    let short = Reading {
        longest: 1_000_000,
        keep: 20,
    };
    let (exit, seen) = read(long, short).await;
    assert_eq!((seen.overlong, seen.lines), (vec![10_000_000], vec!["end".to_owned()]));
    assert_eq!(exit.stdout.bytes, b"xxxxxxxxxx\n[9999984 bytes left out]\nxxxxxx\nend");
    assert_eq!((exit.stdout.truncated, exit.stdout.total), (true, 10_000_004));
}

#[tokio::test]
async fn both_ends_of_a_long_stderr_are_kept() {
    let (exit, _) = read(
        "echo begin >&2; yes | head -c 9000000 >&2; echo end >&2",
        Reading::default(),
    )
    .await;
    let stderr = String::from_utf8(exit.stderr.bytes).unwrap();
    assert!(stderr.starts_with("begin\ny\n") && stderr.ends_with("y\nend\n"));
    assert!(exit.stderr.truncated && stderr.len() < 5_000_100 && exit.stderr.total == 9_000_010);
}

#[tokio::test]
async fn background_work_does_not_hold_up_the_last_line() {
    let (exit, seen) = read("sleep 300 & echo $!; printf last", Reading::default()).await;
    let background = nix::unistd::Pid::from_raw(seen.lines[0].parse().unwrap());
    nix::sys::signal::kill(background, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!((seen.lines[1].as_str(), exit.pipes), ("last", Pipes::HeldOpen));
}
