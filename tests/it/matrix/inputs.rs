//! I: rows, events and outputs that nobody expects.

use std::future::ready;
use std::time::Duration;

use serde_json::{Value, json};

use crate::matrix::scene::{Scene, UNTIL_TOLD, printed};
use crate::matrix::twins::{INGRESSES, Ingress, Work, on_every_path};
use crate::support::eventually::eventually;
use crate::support::fault_proxy::Fault;

/// What a job may take that was not pushed.
const SOON: Duration = Duration::from_secs(12);

fn error(row: &Value) -> &str {
    row["error"].as_str().unwrap_or_default()
}

impl Scene {
    /// The event that told of a job's row.
    async fn event_of(&self, job: &str) -> String {
        eventually("the job's event", || ready(self.proxy.heard(&["INSERT", job]))).await
    }

    /// Brings a job twenty times on its way in, ends it, and brings it twenty times more.
    async fn bring_twenty_times_and_again(&self, ingress: Ingress, work: Work) -> String {
        let job;
        match ingress {
            Ingress::Push => {
                job = self.work(work, UNTIL_TOLD).await;
                let event = self.event_of(&job).await;
                let twenty_times = || (0..20).for_each(|_| self.proxy.slip_in(&event));
                twenty_times();
                self.tell();
                self.done_once(&job).await;
                twenty_times();
            }
            Ingress::Poll => {
                self.polls().always(Fault::json(200, &json!([])));
                job = self.work(work, UNTIL_TOLD).await;
                let twenty = Fault::json(200, &json!(vec![self.host.row(&job).await; 20]));
                self.proxy.heal();
                self.polls().next(1, twenty.clone());
                self.begun(&job).await;
                self.tell();
                self.done_once(&job).await;
                self.polls().next(1, twenty);
            }
        }
        job
    }
}

#[tokio::test]
async fn i1_a_job_that_is_brought_forty_times_runs_once() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = scene.bring_twenty_times_and_again(ingress, work).await;
        eventually("the last of them", || ready(scene.proxy.has_lost_all().then_some(()))).await;
        let next = scene.work(work, "echo next").await;
        scene.done_once(&next).await;
        assert_eq!(scene.effects(), [job, next]);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn i2_a_malformed_row_is_failed_and_holds_up_none_of_five() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let bad = scene.host.submit("shell_exec", json!({}), json!({"attempt": -1})).await;
        let mut good = Vec::new();
        for _ in 0..5 {
            good.push(scene.work(work, "echo done").await);
        }
        for job in &good {
            assert_eq!(printed(&scene.done_once_within(SOON, job).await), "done");
        }
        let row = scene.host.done(&bad).await;
        assert_eq!(row["status"], "failed", "{row}");
        assert!(error(&row).ends_with("1 schema issue at $.attempt"), "{row}");
        assert_eq!(daemon.status().await.unwrap().malformed_rows, 1);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn i3_frames_that_make_no_sense_are_counted_told_once_and_survived() {
    let scene = Scene::new(Ingress::Push).await;
    let daemon = scene.start().await;
    let job = scene.work(Work::Shell, "echo done").await;
    scene.done_once(&job).await;
    let event: Value = serde_json::from_str(&scene.event_of(&job).await).unwrap();
    let with = |place: &str, value: Value| {
        let mut event = event.clone();
        *event.pointer_mut(place).unwrap() = value;
        event.to_string()
    };
    let nonsense = [
        "no JSON at all".to_owned(),
        "{}".to_owned(),
        "[1, 2]".to_owned(),
        "\u{0}".repeat(70_000),
        with("/4", json!("no object")),
        with("/4/data", json!(null)),
        with("/4/data/record", json!([])),
        with("/4/data/type", json!(7)),
    ];
    for text in &nonsense {
        scene.proxy.slip_in(text);
    }
    eventually("each to be counted", || async {
        (daemon.status().await?.malformed_rows == nonsense.len() as u64).then_some(())
    })
    .await;
    for work in [Work::Shell, Work::Agent] {
        let row = scene.done_once(&scene.work(work, "echo done").await).await;
        assert_eq!((printed(&row), &row["debug"]["ingress"]), ("done", &json!("push")));
    }
    assert_eq!(scene.openings().count(), 1, "it is the same websocket");
    let log = std::fs::read_to_string(scene.host.paths().log_file).unwrap();
    assert_eq!(log.matches("makes no sense").count(), 1, "{log}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn i4_an_unknown_type_of_job_is_failed_with_the_reason() {
    for ingress in INGRESSES {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let row = scene
            .host
            .done(&scene.host.submit("dance", json!({}), json!({})).await)
            .await;
        assert_eq!(
            (&row["status"], error(&row)),
            (&json!("failed"), "Unsupported job type: dance")
        );
        assert_eq!(
            row["result"],
            json!({"message": "Unsupported job type", "job_type": "dance"})
        );
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

#[tokio::test]
async fn i5_a_large_payload_is_served_and_a_command_over_the_limit_names_it() {
    for ingress in INGRESSES {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let payload = json!({
            "resource_id": scene.host.resource, "command": "echo done", "ballast": "x".repeat(8_000_000),
        });
        let large = scene.host.submit("shell_exec", payload, json!({})).await;
        assert_eq!(printed(&scene.final_within(SOON, &large).await), "done");
        let long = scene.host.shell(&format!(": {}", "x".repeat(300_000))).await;
        let row = scene.final_within(SOON, &long).await;
        let why = row["result"]["error"].as_str().unwrap();
        assert!(why.contains("E2BIG") && why.contains("the limit is "), "{why}");
        assert_eq!(row["result"]["success"], false);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

#[tokio::test]
async fn i6_a_nul_in_the_output_is_shown_and_loses_nothing() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        // An agent says it in JSON.
        let script = match work {
            Work::Shell => r"printf 'a\0b'",
            Work::Agent => r"echo 'a\u0000b'",
        };
        let row = scene.done_once(&scene.work(work, script).await).await;
        assert_eq!(printed(&row), r"a\0b");
        if work == Work::Shell {
            assert_eq!(row["result"]["output_escaped"], true);
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}
