//! The daemon is killed with -9: nothing goes on, nothing is lost, nothing runs twice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{Ingress, TWINS, Work};
use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, within};
use crate::support::process_list::with_variable;

/// From a kill to the last process of a job, with no restart.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// From the next start to the last row.
const FINAL_WITHIN: Duration = Duration::from_secs(15);

async fn nobody_works_at(job: &str) {
    let mark = format!("GATEWAY_JOB_ID={job}");
    within(GONE_WITHIN, "everybody to be gone", || async {
        with_variable(&mark).is_empty().then_some(())
    })
    .await;
}

/// The row, final in time after the next start.
async fn settled(scene: &Scene, job: &str) -> (Daemon, Value) {
    let daemon = scene.begin();
    let row = within(FINAL_WITHIN, "the row to be final", || async {
        let row = scene.host.row(job).await;
        (row["status"] != "running").then_some(row)
    })
    .await;
    (daemon, row)
}

fn assert_interrupted(row: &Value) {
    assert_eq!(row["status"], "failed", "{row}");
    assert_eq!(row["result"]["interrupted"], true, "{row}");
    assert_eq!(row["error"], "Gateway was interrupted while the job ran");
}

/// Waits until the script has made a file.
async fn made(scene: &Scene, name: &str) {
    let path = scene.path(name);
    eventually(name, || async { path.exists().then_some(()) }).await;
}

#[tokio::test]
async fn c1_a_kill_while_a_job_runs_leaves_nobody_and_the_row_final() {
    for (ingress, work) in TWINS {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let held = daemon.status().await.unwrap().containment.unwrap();
        let tree = r#"sleep 600 & setsid sleep 600 & touch "$here/up"; wait"#;
        let job = scene.work(work, tree).await;
        made(&scene, "up").await;
        daemon.crash().await;
        nobody_works_at(&job).await;
        let (daemon, row) = settled(&scene, &job).await;
        assert_interrupted(&row);
        let cgroup = held.cgroup.map(|tree| format!("{tree}/job-{job}"));
        let held = json!({"method": held.method, "cgroup": cgroup});
        assert_eq!(row["debug"]["containment"], held, "{row}");
        assert_eq!(scene.effects(), [job.as_str()], "{ingress:?} {work:?}");
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

#[tokio::test]
async fn c2_a_kill_between_claim_and_run_leaves_the_row_final() {
    for (ingress, work) in TWINS {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        scene
            .proxy
            .lose_answer_to(&["PATCH /rest/v1/gateway_jobs?id=eq.", "status=eq.queued"]);
        let job = scene.work(work, "true").await;
        scene.host.reaches(&job, &["running"]).await;
        daemon.crash().await;
        assert!(scene.proxy.has_lost_all());
        let (daemon, row) = settled(&scene, &job).await;
        let ran = scene.effects();
        match row["status"].as_str() {
            // The daemon was quick to ask again, and the job had run when it was killed.
            Some("completed") => assert_eq!(ran, [job.as_str()]),
            _ => assert_interrupted(&row),
        }
        assert!(ran.len() <= 1, "{ran:?}");
        daemon.ready().await;
        assert_eq!(scene.effects(), ran, "{ingress:?} {work:?}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

#[tokio::test]
async fn c3_a_result_that_was_not_sent_is_reported_after_the_kill() {
    for (ingress, work) in TWINS {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let wait = r#"touch "$here/up"; until [ -e "$here/go" ]; do sleep 0.02; done; echo precious"#;
        let job = scene.work(work, wait).await;
        made(&scene, "up").await;
        scene.proxy.blackout(true);
        scene.put("go", "");
        eventually("the result to wait", || async {
            (daemon.status().await?.unreported_results == 1).then_some(())
        })
        .await;
        daemon.crash().await;
        scene.proxy.blackout(false);
        let (daemon, row) = settled(&scene, &job).await;
        assert_eq!(printed(&row), "precious", "{ingress:?} {work:?}");
        scene.done_once(&job).await;
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

/// The turn of an agent that says every line of its script at once.
const TALKING: &str = r#"sh "$prompt" | while IFS= read -r line; do say 0 "$line"; done"#;

#[tokio::test]
async fn c4_a_kill_after_a_thousand_lines_keeps_them() {
    for work in [Work::Shell, Work::Agent] {
        let scene = Scene::with_turn(Ingress::Push, TALKING).await;
        let daemon = scene.start().await;
        let talk = r#"n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo "line $n."; done; sleep 600"#;
        let job = scene.work(work, talk).await;
        eventually("the last line in the journal", || async {
            scene.journal_holds("line 1000.").then_some(())
        })
        .await;
        daemon.crash().await;
        let (daemon, row) = settled(&scene, &job).await;
        assert_interrupted(&row);
        let field = match work {
            Work::Shell => "stdout",
            Work::Agent => "partial_output",
        };
        let lines: Vec<String> = (1..=1000).map(|n| format!("line {n}.")).collect();
        let said: Vec<&str> = row["result"][field].as_str().unwrap().lines().collect();
        assert_eq!(json!(said), json!(lines), "{work:?}");
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}
