//! Children as real processes: how they start, what is captured, how they and their groups end.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use gateway::process::daemon::{DetachedSpec, spawn_detached};
use gateway::process::env::ChildEnv;
use gateway::process::exit::{Ending, Exit, Pipes};
use gateway::process::failure::SpawnError;
use gateway::process::identity::{GroupKill, alive, kill_group_if_same};
use gateway::process::spawn::{Child, spawn};
use gateway::process::spec::{Spec, Stdin};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::eventually::{PATIENCE, eventually};

fn env() -> ChildEnv {
    ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())])
}

fn sh(script: &str) -> Spec {
    Spec::new("/bin/sh", env()).args(["-c", script])
}

/// Far less than the `sleep 300` of the scripts, far more than a loaded machine needs.
async fn end(child: Child, stop: &CancellationToken) -> Exit {
    timeout(PATIENCE, child.wait(stop.clone()))
        .await
        .expect("the child must end")
}

async fn run(spec: Spec) -> Exit {
    end(spawn(spec).unwrap(), &CancellationToken::new()).await
}

fn numbers(exit: &Exit) -> Vec<u32> {
    text(exit).split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn text(exit: &Exit) -> &str {
    std::str::from_utf8(&exit.stdout.bytes).unwrap()
}

async fn gone(pid: u32) {
    eventually("a process to be gone", || {
        std::future::ready((!alive(pid, None)).then_some(()))
    })
    .await;
}

/// Ends a process this test left in the background.
fn kill(pid: u32) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn code_and_both_streams_arrive() {
    let exit = run(sh("echo out; echo err >&2; exit 7")).await;
    assert_eq!(
        (exit.ending, exit.exit_code, exit.signal),
        (Ending::Exited, Some(7), None)
    );
    assert_eq!(
        (text(&exit), exit.stderr.bytes.as_slice()),
        ("out\n", b"err\n".as_slice())
    );
    assert_eq!(exit.pipes, Pipes::Closed);
    assert!(!exit.is_success() && run(sh("true")).await.is_success());
}

#[tokio::test]
async fn a_foreign_signal_is_named() {
    let exit = run(sh("kill -9 $$")).await;
    assert_eq!(
        (exit.ending, exit.exit_code, exit.signal),
        (Ending::Exited, None, Some(9))
    );
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let refused = |spec: Spec| spawn(spec).unwrap_err();
    let missing = refused(Spec::new("/nowhere/prog", env()));
    assert_eq!(missing.to_string(), "spawn /nowhere/prog ENOENT");
    assert!(matches!(missing, SpawnError::NotFound { .. }));

    let mut astray = sh("true");
    astray.cwd = PathBuf::from("/nowhere");
    assert!(
        refused(astray)
            .to_string()
            .starts_with("spawn /bin/sh ENOENT: there is no working directory /nowhere")
    );

    assert_eq!(
        refused(Spec::new("/etc/passwd", env())).to_string(),
        "spawn /etc/passwd EACCES"
    );
    let nul = refused(sh("echo \0"));
    assert_eq!(nul.to_string(), "spawn /bin/sh EINVAL: an argument contains a NUL byte");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let exit = run(sh("sleep 300 & echo $! $$; sleep 300").timeout(Duration::from_millis(300))).await;
    assert_eq!(
        (exit.ending, exit.signal),
        (Ending::TimedOut { killed: false }, Some(15))
    );
    // Awaited by the owner: nobody is left at the moment of the report.
    assert_eq!(numbers(&exit).into_iter().filter(|pid| alive(*pid, None)).count(), 0);
    assert_eq!(numbers(&exit).len(), 2);
}

#[tokio::test]
async fn a_stop_ends_the_whole_group() {
    let stop = CancellationToken::new();
    let child = spawn(sh("sleep 300 & echo $! $$; sleep 300")).unwrap();
    assert_eq!(child.identity().pid, child.identity().pgid);
    let ((), exit) = tokio::join!(async { stop.cancel() }, end(child, &stop));
    assert!(matches!(exit.ending, Ending::Stopped { .. }));
    assert_eq!(numbers(&exit).into_iter().filter(|pid| alive(*pid, None)).count(), 0);
}

#[tokio::test]
async fn who_ignores_the_polite_signal_is_killed() {
    let mut spec = sh("trap '' TERM; echo $$; while :; do sleep 1; done").timeout(Duration::from_millis(300));
    spec.grace = Duration::from_millis(200);
    let exit = run(spec).await;
    assert_eq!((exit.ending, exit.signal), (Ending::TimedOut { killed: true }, Some(9)));
    assert!(!alive(numbers(&exit)[0], None));
}

#[tokio::test]
async fn a_stubborn_member_does_not_survive_its_obedient_leader() {
    let script = "(trap '' TERM; while :; do sleep 1; done) & echo $!; sleep 300";
    let mut spec = sh(script).timeout(Duration::from_millis(300));
    spec.grace = Duration::from_millis(300);
    let exit = run(spec).await;
    assert_eq!(
        (exit.ending, exit.signal),
        (Ending::TimedOut { killed: true }, Some(15))
    );
    assert!(!alive(numbers(&exit)[0], None));
}

#[tokio::test]
async fn a_stopped_process_can_still_be_ended() {
    let exit = run(sh("kill -STOP $$; sleep 300").timeout(Duration::from_millis(300))).await;
    assert_eq!(exit.ending, Ending::TimedOut { killed: false });
}

#[tokio::test]
async fn the_exit_ends_the_work_and_background_work_goes_on() {
    let exit = run(sh("sleep 300 & echo $!")).await;
    let background = numbers(&exit)[0];
    let survives = alive(background, None);
    kill(background);
    assert!(survives && exit.is_success());
    assert_eq!(exit.pipes, Pipes::HeldOpen);
    assert!(exit.duration < Duration::from_secs(30));
}

#[tokio::test]
async fn quiet_background_work_holds_no_pipe() {
    let exit = run(sh("sleep 300 >/dev/null 2>&1 & echo $!")).await;
    kill(numbers(&exit)[0]);
    assert_eq!(exit.pipes, Pipes::Closed);
}

#[tokio::test]
async fn a_child_dropped_unawaited_takes_its_group_along() {
    let child = spawn(sh("sleep 300 & sleep 300")).unwrap();
    let pid = child.identity().pid;
    assert!(alive(pid, child.identity().start_ticks));
    drop(child);
    gone(pid).await;
}

#[tokio::test]
async fn output_is_cut_at_a_character() {
    let mut spec = sh("printf '€€€€€'; printf 'a\\000\\377' >&2");
    spec.limit_per_stream = 10;
    let exit = run(spec).await;
    assert_eq!(text(&exit), "€€€");
    assert_eq!((exit.stdout.truncated, exit.stdout.escaped), (true, false));
    assert_eq!(
        (exit.stderr.bytes.as_slice(), exit.stderr.escaped),
        (b"a\0\xff".as_slice(), true)
    );
}

#[tokio::test]
async fn stdin_is_empty_unless_given() {
    assert!(run(Spec::new("/bin/cat", env())).await.stdout.bytes.is_empty());
    let mut spec = Spec::new("/bin/cat", env());
    let sent = vec![b'x'; 1_000_000];
    spec.stdin = Stdin::Bytes(sent.clone());
    assert!(run(spec).await.stdout.bytes == sent);
    let mut deaf = sh("exec <&-; echo done");
    deaf.stdin = Stdin::Bytes(sent);
    assert_eq!(text(&run(deaf).await), "done\n");
}

#[tokio::test]
async fn the_environment_is_exactly_the_given_one() {
    let spec = Spec::new("/usr/bin/env", ChildEnv::default().with("A", "b c"));
    assert_eq!(text(&run(spec).await), "A=b c\n");
}

#[tokio::test]
async fn a_detached_process_writes_to_its_log_and_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "echo out; echo err >&2; read -r line || echo no input; exec sleep 300";
    let mut child = spawn_detached(DetachedSpec {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into()],
        env: env(),
        log: File::options().create_new(true).append(true).open(&log).unwrap(),
        cwd: PathBuf::from("/"),
    })
    .unwrap();
    eventually("the log", || {
        std::future::ready((std::fs::read_to_string(&log).unwrap() == "out\nerr\nno input\n").then_some(()))
    })
    .await;
    let pid = Pid::from_raw(child.identity().pid.try_into().unwrap());
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid, "leads its own session");
    assert_eq!(child.try_wait().unwrap(), None);
    child.terminate().unwrap();
    let status = eventually("its end", || std::future::ready(child.try_wait().unwrap())).await;
    assert_eq!(status.code(), None);
    child.terminate().unwrap();
}

#[tokio::test]
async fn a_group_of_an_earlier_run_is_ended_only_if_it_is_the_same() {
    let child = spawn(sh("sleep 300 & sleep 300")).unwrap();
    let identity = child.identity();
    assert!(identity.start_ticks.is_some_and(|ticks| ticks > 0));
    let mut stranger = identity;
    stranger.start_ticks = identity.start_ticks.map(|ticks| ticks + 1);
    assert_eq!(kill_group_if_same(stranger), GroupKill::NotProven);
    stranger.start_ticks = None;
    assert_eq!(kill_group_if_same(stranger), GroupKill::NotProven);
    assert_eq!(kill_group_if_same(identity), GroupKill::Killed);
    let exit = end(child, &CancellationToken::new()).await;
    assert_eq!((exit.ending, exit.signal), (Ending::Exited, Some(9)));
    assert_eq!(kill_group_if_same(identity), GroupKill::Gone);
}

/// What needs `/proc`, or limits of Linux.
#[cfg(target_os = "linux")]
mod linux {
    use gateway::process::capture::Captured;
    use nix::sys::signal::{SigHandler, SigSet};

    use super::*;
    use crate::support::alone::{alone, peak_rss_kb};

    #[tokio::test]
    async fn too_much_for_exec_names_the_limit() {
        let one = spawn(sh(&"x".repeat(200_000))).unwrap_err();
        assert_eq!(
            one.to_string(),
            "spawn /bin/sh E2BIG: one argument of 200000 bytes, the limit is 131071"
        );
        let many = spawn(sh("true").args(vec!["x".repeat(100_000); 100])).unwrap_err();
        assert!(
            many.to_string()
                .contains("E2BIG: arguments and environment together of 100"),
            "{many}"
        );
    }

    #[tokio::test]
    async fn no_descriptor_but_the_three_reaches_a_child() {
        // Without close-on-exec, as a careless library or our own parent might leave one.
        let _leaky = nix::unistd::pipe().unwrap();
        let exit = run(sh("ls /proc/$$/fd; :")).await;
        assert_eq!(text(&exit), "0\n1\n2\n");
    }

    #[tokio::test]
    #[expect(unsafe_code, reason = "ignoring a signal is the fact under test")]
    async fn no_signal_is_blocked_or_ignored_in_a_child() {
        // SAFETY: ignoring installs no handler, and nothing in this program uses the signal.
        unsafe { nix::sys::signal::signal(Signal::SIGUSR2, SigHandler::SigIgn) }.unwrap();
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGUSR1);
        mask.thread_block().unwrap();
        let child = spawn(Spec::new("/bin/grep", env()).args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"])).unwrap();
        assert!(
            SigSet::thread_get_mask().unwrap().contains(Signal::SIGUSR1),
            "our own mask is restored"
        );
        let exit = end(child, &CancellationToken::new()).await;
        let sets: Vec<u64> = text(&exit)
            .lines()
            .map(|line| u64::from_str_radix(&line[8..], 16).unwrap())
            .collect();
        // The standard signals: libc keeps 32 and 33 to itself, so nobody can reset those.
        assert_eq!(sets.iter().map(|set| set & 0x7fff_ffff).collect::<Vec<_>>(), [0, 0]);
    }

    /// In a process of its own, so that the peak is that of the captures alone.
    #[tokio::test]
    async fn a_hundred_megabytes_leave_a_small_trace() {
        if !alone("process::linux::a_hundred_megabytes_leave_a_small_trace").await {
            return;
        }
        let before = peak_rss_kb();
        for source in ["yes aeiouäöü", "cat /dev/zero", "cat /dev/urandom"] {
            let exit = run(sh(&format!("{source} | head -c 100000000"))).await;
            check(source, &exit.stdout, &exit.stderr);
            drop(exit);
            let exit = run(sh(&format!("{source} | head -c 100000000 >&2"))).await;
            check(source, &exit.stderr, &exit.stdout);
        }
        let growth = peak_rss_kb() - before;
        // The limit, once more while the allocator moves the growing buffer, and the code that is paged in meanwhile.
        // An unbounded capture would grow by 100,000 kB.
        assert!(growth < 20_000, "grew by {growth} kB");
    }

    fn check(source: &str, full: &Captured, empty: &Captured) {
        assert!(full.truncated && full.bytes.len() > 4_999_990 && full.bytes.len() <= 5_000_000);
        assert_eq!(full.escaped, !source.starts_with("yes"));
        assert!(!empty.truncated && empty.bytes.is_empty());
    }
}
