//! P5 to P8 and X19 to X21: what a job starts ends with it, and what it leaves on purpose does not.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::matrix::family::{Family, SCRIPT};
use crate::matrix::scene::{Cgroups, Scene, printed};
use crate::matrix::twins::{Work, on_every_path};
use crate::support::eventually::{eventually, within};
use crate::support::pids::{gone, lives, pid_in};
#[cfg(target_os = "linux")]
use crate::support::process_list::any_runs_at_all;
use crate::support::state_dir::put;

/// A job with a second to live.
pub(super) async fn brief(scene: &Scene, work: Work, script: &str) -> String {
    scene.work_with(work, script, json!({"timeout_ms": 1_000})).await
}

/// The end of a job whose time was up.
pub(super) async fn timed_out(scene: &Scene, job: &str) -> Value {
    let row = scene.done_once(job).await;
    let agents_words = row["error"].as_str().unwrap_or_default();
    let said = row["result"]["timed_out"] == true || agents_words.contains("did not end within ");
    assert!(said, "{row}");
    row
}

/// From start to end, as the row tells.
fn lasted(row: &Value) -> Duration {
    let at = |name: &str| row["debug"][name].as_str().unwrap().parse::<Timestamp>().unwrap();
    Duration::try_from(at("finished_at") - at("started_at")).unwrap()
}

/// The job's own account of what held it.
fn held(row: &Value) -> &Value {
    let held = &row["debug"]["containment"];
    assert!(held["method"].is_string(), "{row}");
    held
}

#[tokio::test]
async fn p5_a_timeout_does_not_wait_for_who_holds_the_output() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = brief(&scene, work, r#"sleep 600 & echo $! >"$here/member"; sleep 600"#).await;
        let row = timed_out(&scene, &job).await;
        assert!(lasted(&row) < Duration::from_millis(4_500), "{row}");
        assert!(!lives(pid_in(&scene.path("member")).await));
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn p6_nobody_deaf_or_in_a_session_of_its_own_survives_a_timeout() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let script = r#"trap '' TERM
setsid sh -c 'echo $$ >"$0"; exec sleep 600' "$here/outside" &
echo $$ >"$here/leader"; sleep 600; sleep 600"#;
        let job = brief(&scene, work, script).await;
        timed_out(&scene, &job).await;
        for name in ["outside", "leader"] {
            assert!(!lives(pid_in(&scene.path(name)).await), "{name}");
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn p7_the_end_is_the_commands_own_and_what_it_left_goes_on() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let script = r#"sleep 600 >&2 & echo $! >"$here/left"; echo hi"#;
        // Only an agent with every right may leave something.
        let job = scene.work_with(work, script, json!({"full_control": true})).await;
        let row = scene.done_once(&job).await;
        assert_eq!(printed(&row), "hi");
        assert!(lasted(&row) < Duration::from_secs(2), "{row}");
        let left = pid_in(&scene.path("left")).await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert!(lives(left));
        kill(left, Signal::SIGKILL).unwrap();
    })
    .await;
}

#[tokio::test]
async fn p8_a_job_cancelled_on_the_control_plane_ends_with_its_tree() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = scene.work(work, r#"sleep 600 & echo $! >"$here/member"; wait"#).await;
        let member = pid_in(&scene.path("member")).await;
        scene.host.cancel(&job).await;
        within(Duration::from_secs(10), "the tree to end", || {
            std::future::ready((!lives(member)).then_some(()))
        })
        .await;
        within(Duration::from_secs(10), "no job to run", || async {
            let status = daemon.status().await?;
            (status.running_jobs == 0 && status.unreported_results == 0).then_some(())
        })
        .await;
        let row = scene.done_once(&job).await;
        assert_eq!(
            (&row["status"], &row["error"]),
            (&json!("cancelled"), &json!("by hand"))
        );
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// Five chains of processes without end, each of which starts its successor in a session of its own and is gone:
/// nobody who looks for pids catches up with them. They end when they have lost their folder, should nobody end them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn x19_a_fork_bomb_is_ended_and_the_daemon_answers_meanwhile() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        // Nothing else catches up with it.
        let held = daemon.status().await.unwrap().containment.unwrap().cgroup.is_some();
        let word = format!("bomb-{}", uuid::Uuid::new_v4());
        let link = format!(
            r#": {word}; : >"$1.burns"; [ -e "$1" ] && env -i setsid /bin/sh -c "$0" "$0" "$1" </dev/null >/dev/null 2>&1 &"#
        );
        let script = format!(
            r#"touch "$here/fuse"; for i in $(seq 5); do /bin/sh -c '{link}' '{link}' "$here/fuse"; done; sleep 600"#
        );
        let job = scene.work_with(work, &script, json!({"timeout_ms": 3_000})).await;
        eventually("the bomb", || {
            std::future::ready(scene.path("fuse.burns").exists().then_some(()))
        })
        .await;
        assert!(daemon.status().await.is_some());
        timed_out(&scene, &job).await;
        let left = any_runs_at_all(&word);
        std::fs::remove_file(scene.path("fuse")).unwrap();
        assert_eq!(left, !held);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// Also a host that holds less says so.
pub(super) async fn nobody_hides(cgroups: Cgroups) {
    on_every_path(async |ingress, work| {
        for cancelled in [false, true] {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start_with_cgroups(cgroups).await;
            let limit = if cancelled { 600_000 } else { 3_000 };
            let job = scene.work_with(work, SCRIPT, json!({"timeout_ms": limit})).await;
            let family = Family::born(&scene).await;
            if cancelled {
                scene.host.cancel(&job).await;
            }
            let row = scene.done_once(&job).await;
            family.gone().await;
            if !cancelled {
                let now = daemon.status().await.unwrap().containment.unwrap();
                assert_eq!(held(&row), &json!({"method": now.method}), "{row}");
            }
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    })
    .await;
}

#[tokio::test]
async fn x20_nobody_hides_from_a_timeout_or_a_cancel() {
    nobody_hides(Cgroups::AsTheyAre).await;
}

#[tokio::test]
async fn x21_who_stops_itself_holds_no_slot_beyond_its_time() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start_with(&[("PANORAMA_GATEWAY_CONCURRENCY", "1")]).await;
        // The one above the script is the agent, or the daemon itself.
        let whom = match work {
            Work::Shell => "$$",
            Work::Agent => "$PPID $$",
        };
        let job = brief(&scene, work, &format!(r#"echo $$ >"$here/stopped"; kill -STOP {whom}"#)).await;
        let stopped = pid_in(&scene.path("stopped")).await;
        let next = scene.work(work, "echo next").await;
        timed_out(&scene, &job).await;
        assert!(!lives(stopped));
        assert_eq!(printed(&scene.done_once(&next).await), "next");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

mod nightly {
    use super::*;

    /// Where the old freezer is: who sits in it hears not even SIGKILL, like who waits for a dead disk.
    const FREEZER: &str = "/sys/fs/cgroup/freezer";

    #[tokio::test]
    async fn x21_who_cannot_be_killed_holds_no_slot_and_is_reported() {
        on_every_path(async |ingress, work| {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start_with(&[("PANORAMA_GATEWAY_CONCURRENCY", "1")]).await;
            let ice = std::path::Path::new(FREEZER).join(format!("gateway-test-{}", uuid::Uuid::new_v4()));
            let freezes = std::fs::create_dir(&ice).is_ok();
            let script = format!(
                r#"sleep 600 & echo $! >"$here/frozen"
echo $! >{0}/cgroup.procs && echo FROZEN >{0}/freezer.state
wait"#,
                ice.display()
            );
            let job = brief(&scene, work, &script).await;
            let next = scene.work(work, "echo next").await;
            let row = timed_out(&scene, &job).await;
            let frozen = pid_in(&scene.path("frozen")).await;
            assert_eq!(lives(frozen), freezes);
            assert_eq!(printed(&scene.done_once(&next).await), "next");
            if freezes {
                assert_eq!(held(&row)["survivors"], 1, "{row}");
                put(&ice.join("freezer.state"), b"THAWED");
                gone(frozen).await;
                std::fs::remove_dir(&ice).unwrap();
            }
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }
}
