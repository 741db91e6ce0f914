//! X30 and X31: cancels and rows that are none of this gateway's business.

use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon_hostile::{Stage, pushed};
use crate::matrix::scene::Scene;
use crate::matrix::twins::{INGRESSES, Ingress, Work};
use crate::support::eventually::within;
use crate::support::scripted_server::{Seen, ServerSocket};

/// A word that only rows of others hold.
const THEIRS: &str = "none-of-your-business";

/// What the job table was asked to change.
fn changed(seen: &Seen) -> bool {
    seen.method == "PATCH" && seen.target.starts_with("/rest/v1/gateway_jobs")
}

/// A row of somebody else, for each kind of work.
fn theirs(stage: &Stage, column: &str, work: Work) -> Value {
    let mut row = stage.row(
        &format!("{THEIRS}-{column}-{work:?}"),
        &json!({"command": THEIRS, "prompt": THEIRS}),
    );
    row["job_type"] = match work {
        Work::Shell => "shell_exec".into(),
        Work::Agent => "subagent_run".into(),
    };
    row[column] = json!(uuid::Uuid::new_v4());
    row
}

#[tokio::test]
async fn x31_a_row_of_another_team_or_gateway_is_neither_claimed_nor_shown() {
    for ingress in INGRESSES {
        let mut stage = Stage::new().await;
        let rows: Vec<Value> = ["team_id", "gateway_id"]
            .into_iter()
            .flat_map(|column| [Work::Shell, Work::Agent].map(|work| theirs(&stage, column, work)))
            .collect();
        let daemon = stage.host.start(&ingress.setting().into_iter().collect::<Vec<_>>());
        match ingress {
            Ingress::Poll => rows.into_iter().for_each(|row| stage.table.put(row)),
            Ingress::Push => {
                let mut socket = stage.server.socket().await;
                let join = socket.accept_join().await;
                daemon.ready().await;
                for row in &rows {
                    socket.send(&pushed(&join, "INSERT", row)).await;
                }
            }
        }
        stage.table.put(stage.row("good", &json!({})));
        assert_eq!(stage.end_of("good").await["status"], "completed");
        let seen = stage.server.seen();
        assert!(
            !seen.iter().any(|seen| changed(seen) && seen.target.contains(THEIRS)),
            "{ingress:?}"
        );
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        let log = std::fs::read_to_string(stage.host.paths().log_file).unwrap();
        assert!(!log.contains(THEIRS), "{log}");
    }
}

/// A daemon with a session, and the socket over which it is told.
async fn joined(stage: &mut Stage) -> (ServerSocket, gateway::wire::phoenix::Frame) {
    let mut socket = stage.server.socket().await;
    let join = socket.accept_join().await;
    (socket, join)
}

#[tokio::test]
async fn x30_a_thousand_cancels_of_unknown_jobs_end_nothing_and_fill_no_log() {
    let mut stage = Stage::new().await;
    let daemon = stage.host.start(&[]);
    let (mut socket, join) = joined(&mut stage).await;
    daemon.ready().await;
    for number in 0..1_000 {
        let mut row = stage.row(&format!("{THEIRS}-{number}"), &json!({}));
        row["status"] = json!("cancelled");
        if number % 2 == 0 {
            row["gateway_id"] = json!(uuid::Uuid::new_v4());
        }
        socket.send(&pushed(&join, "UPDATE", &row)).await;
    }
    let good = stage.row("good", &json!({}));
    stage.table.put(good.clone());
    socket.send(&pushed(&join, "INSERT", &good)).await;
    assert_eq!(stage.end_of("good").await["status"], "completed");
    assert!(
        !stage
            .server
            .seen()
            .iter()
            .any(|seen| changed(seen) && seen.target.contains(THEIRS))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    let log = std::fs::read_to_string(stage.host.paths().log_file).unwrap();
    assert!(log.matches(THEIRS).count() <= 1, "{log}");
}

/// As rows, before one that somebody waits for.
async fn behind(unknown: usize, ingress: Ingress) {
    let scene = Scene::new(ingress).await;
    let daemon = scene.start().await;
    let jobs = [
        scene.work(Work::Agent, "sleep 600").await,
        scene.work(Work::Shell, "sleep 600").await,
    ];
    for job in &jobs {
        scene.host.reaches(job, &["running"]).await;
    }
    for _ in 0..unknown {
        let nobody = json!({"subagent_id": uuid::Uuid::new_v4(), "run_id": uuid::Uuid::new_v4()});
        scene.host.submit("subagent_cancel", nobody, json!({})).await;
    }
    let [agent, shell] = &jobs;
    let known = scene.host.row(agent).await["payload"].clone();
    scene.host.submit("subagent_cancel", known, json!({})).await;
    // What no poll brings sooner, and a thousand of them.
    let bound = Duration::from_secs(10) + Duration::from_millis(50) * u32::try_from(unknown).unwrap();
    within(bound, "the run to end", || async {
        (scene.host.row(agent).await["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(scene.host.row(shell).await["status"], "running");
    scene.host.cancel(shell).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn x30_a_cancel_behind_a_hundred_for_nobody_is_not_kept_waiting() {
    tokio::join!(behind(100, Ingress::Push), behind(100, Ingress::Poll));
}

mod nightly {
    use super::*;

    #[tokio::test]
    async fn x30_a_thousand_cancels_for_nobody_end_nothing_else() {
        for ingress in INGRESSES {
            behind(1_000, ingress).await;
        }
    }
}
