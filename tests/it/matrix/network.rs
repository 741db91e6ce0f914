//! N: what the way to the control plane may do.

use std::time::Duration;

use serde_json::Value;

use crate::matrix::scene::{Scene, UNTIL_TOLD, printed};
use crate::matrix::twins::{Ingress, Work, on_every_path};
use crate::support::eventually::{eventually, within};
use crate::support::fault_proxy::{Fault, On};

impl Scene {
    /// Claims of any job.
    pub(super) fn claims(&self) -> On<'_> {
        self.proxy
            .on(&["PATCH /rest/v1/gateway_jobs?id=eq.", "status=eq.queued"])
    }

    /// Ends of any job.
    pub(super) fn completions(&self) -> On<'_> {
        self.proxy
            .on(&["PATCH /rest/v1/gateway_jobs?id=eq.", "status=eq.running"])
    }

    /// Queries for queued jobs.
    pub(super) fn polls(&self) -> On<'_> {
        self.proxy.on(&[
            "GET /rest/v1/gateway_jobs?",
            "status=eq.queued",
            "job_type=neq.subagent_cancel",
        ])
    }

    /// Attempts to open a websocket.
    pub(super) fn openings(&self) -> On<'_> {
        self.proxy.on(&["GET /realtime/v1/websocket"])
    }

    /// The row, final within this time.
    pub(super) async fn final_within(&self, limit: Duration, job: &str) -> Value {
        within(limit, &format!("the end of job {job}"), || async {
            let row = self.host.row(job).await;
            let ended = !matches!(row["status"].as_str(), Some("queued" | "running"));
            ended.then_some(row)
        })
        .await
    }

    /// The same; its work ran exactly once.
    pub(super) async fn done_once_within(&self, limit: Duration, job: &str) -> Value {
        self.final_within(limit, job).await;
        self.done_once(job).await
    }

    /// The work of a job has begun.
    pub(super) async fn begun(&self, job: &str) {
        eventually("the work to begin", || async {
            self.effects().contains(&job.to_owned()).then_some(())
        })
        .await;
    }
}

/// One job on every path, the end of which meets a fault, with the time it may take.
async fn a_completion_meets(fault: Fault, limit: Duration) {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        scene.completions().next(1, fault.clone());
        let job = scene.work(work, "echo precious").await;
        assert_eq!(printed(&scene.done_once_within(limit, &job).await), "precious");
        eventually("nothing to report", || async {
            (daemon.status().await?.unreported_results == 0).then_some(())
        })
        .await;
        assert!(scene.proxy.has_lost_all());
        assert_eq!(scene.effects(), [job]);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// One job on every path, the claim of which meets a fault, with the time it may take.
async fn a_claim_meets(fault: Fault, limit: Duration) {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        scene.claims().next(1, fault.clone());
        let job = scene.work(work, "echo done").await;
        assert_eq!(printed(&scene.done_once_within(limit, &job).await), "done");
        assert!(scene.proxy.has_lost_all());
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn n2_ten_seconds_of_errors_while_a_job_ends_lose_nothing() {
    on_every_path(async |ingress, work| {
        let (scene, outage) = (Scene::new(ingress).await, Duration::from_secs(10));
        let daemon = scene.start().await;
        let job = scene.work(work, UNTIL_TOLD).await;
        scene.begun(&job).await;
        scene.proxy.on(&[]).during(outage, Fault::status(500));
        scene.tell();
        let row = scene.done_once_within(outage + Duration::from_secs(30), &job).await;
        assert_eq!(printed(&row), "precious");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn n3_a_completion_answered_500_is_repeated() {
    a_completion_meets(Fault::status(500), Duration::from_secs(30)).await;
}

#[tokio::test]
async fn n4_a_completion_reset_before_it_is_applied_is_repeated() {
    a_completion_meets(Fault::Reset, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn n5_a_completion_whose_answer_is_lost_stays_and_nothing_runs_again() {
    a_completion_meets(Fault::LoseAnswer, Duration::from_secs(30)).await;
    a_completion_meets(Fault::CutAnswer, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn n6_a_result_refused_for_its_size_is_shortened_and_says_so() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        scene.proxy.on(&[]).over(1_000_000).always(Fault::status(413));
        let job = scene.work(work, "head -c 2000000 /dev/zero | tr '\\0' x; echo").await;
        let row = scene.done_once(&job).await;
        let kept = printed(&row).len();
        assert!((10_000..1_000_000).contains(&kept), "{kept}");
        assert_eq!(row["result"]["result_shortened"], true);
        assert_eq!(row["result"]["output_truncated"], true);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn n7_a_claim_whose_answer_is_lost_is_found_again_and_run_once() {
    a_claim_meets(Fault::LoseAnswer, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn n8_a_claim_answered_500_is_repeated() {
    a_claim_meets(Fault::status(500), Duration::from_secs(12)).await;
}

#[tokio::test]
async fn n11_three_polls_that_answer_a_page_hide_no_job() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        scene.polls().next(3, Fault::page());
        let job = scene.work(work, "echo done").await;
        let row = scene.done_once_within(Duration::from_secs(20), &job).await;
        assert_eq!(printed(&row), "done");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn n12_a_websocket_that_is_reset_is_joined_again_and_no_job_missed() {
    let scene = Scene::new(Ingress::Push).await;
    let daemon = scene.start().await;
    eventually("the channel to be joined", || async {
        daemon.status().await?.realtime.then_some(())
    })
    .await;
    for opened in 2..4 {
        scene.proxy.cut_sockets();
        let mut jobs = Vec::new();
        for work in [Work::Shell, Work::Agent] {
            jobs.push(scene.work(work, "echo done").await);
        }
        within(Duration::from_secs(3), "the channel to be joined again", || async {
            let joined = daemon.status().await?.realtime && scene.openings().count() >= opened;
            joined.then_some(())
        })
        .await;
        for job in &jobs {
            assert_eq!(printed(&scene.done_once(job).await), "done");
        }
    }
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
