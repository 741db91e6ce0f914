//! N: the rows that take their time. Most of it is spent by a fault that lasts.

use std::time::Duration;

use tokio::time::Instant;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{Ingress, Work, on_every_path};
use crate::support::eventually::{eventually, within};
use crate::support::fault_proxy::Fault;

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

mod nightly {
    use super::*;

    #[tokio::test]
    async fn n1_twenty_seconds_of_errors_delay_the_queued_and_are_not_hammered() {
        on_every_path(async |ingress, work| {
            let (scene, outage) = (Scene::new(ingress).await, seconds(20));
            let daemon = scene.start().await;
            scene.proxy.on(&[]).during(outage, Fault::status(500));
            let began = Instant::now();
            let mut jobs = Vec::new();
            for _ in 0..3 {
                jobs.push(scene.work(work, "echo done").await);
            }
            let back = |after: Duration| (outage + after).saturating_sub(began.elapsed());
            within(back(seconds(6)), "a heartbeat after the outage", || async {
                let beats = scene.proxy.on(&["POST /functions/v1/gateway-heartbeat"]).times();
                beats.iter().any(|at| *at > began + outage).then_some(())
            })
            .await;
            for job in &jobs {
                assert_eq!(printed(&scene.done_once_within(back(seconds(6)), job).await), "done");
            }
            let meanwhile = scene.proxy.lines(began, began + outage);
            assert!(meanwhile.len() as u64 <= outage.as_secs(), "{meanwhile:#?}");
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }

    #[tokio::test]
    async fn n9_ten_claims_that_are_never_answered_block_nobody_for_long() {
        on_every_path(async |ingress, work| {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start().await;
            scene.claims().next(10, Fault::Silence);
            let (mut stuck, mut fresh) = (Vec::new(), Vec::new());
            for _ in 0..10 {
                stuck.push(scene.work(work, "echo done").await);
            }
            eventually("ten claims on their way", || async {
                scene.proxy.has_lost_all().then_some(())
            })
            .await;
            let began = Instant::now();
            let left = |limit: Duration| limit.saturating_sub(began.elapsed());
            for _ in 0..5 {
                fresh.push(scene.work(work, "echo done").await);
            }
            let fresh = fresh.into_iter().map(|job| (job, seconds(30)));
            for (job, limit) in fresh.chain(stuck.into_iter().map(|job| (job, seconds(60)))) {
                assert_eq!(printed(&scene.done_once_within(left(limit), &job).await), "done");
            }
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }

    #[tokio::test]
    async fn n10_a_completion_that_is_never_answered_is_repeated() {
        on_every_path(async |ingress, work| {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start().await;
            scene.completions().next(1, Fault::Silence);
            let job = scene.work(work, "echo precious").await;
            let row = scene.done_once_within(seconds(60), &job).await;
            assert_eq!(printed(&row), "precious");
            assert!(scene.proxy.has_lost_all());
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }

    #[tokio::test]
    async fn n13_a_silent_websocket_is_replaced_and_jobs_come_by_polling() {
        let scene = Scene::new(Ingress::Push).await;
        let daemon = scene.start().await;
        eventually("the channel to be joined", || async {
            daemon.status().await?.realtime.then_some(())
        })
        .await;
        scene.proxy.freeze_sockets();
        let began = Instant::now();
        for work in [Work::Shell, Work::Agent] {
            let job = scene.work(work, "echo done").await;
            let row = scene.done_once_within(Duration::from_millis(5_500), &job).await;
            assert_eq!((printed(&row), &row["debug"]["ingress"]), ("done", &"poll".into()));
        }
        within(seconds(37).saturating_sub(began.elapsed()), "a new channel", || async {
            (daemon.status().await?.realtime && scene.openings().count() == 2).then_some(())
        })
        .await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }

    #[tokio::test]
    async fn n14_a_refused_websocket_costs_no_job_its_turn_and_comes_back() {
        let (scene, outage) = (Scene::new(Ingress::Push).await, seconds(16));
        let daemon = scene.start().await;
        let began = Instant::now();
        scene.openings().during(outage, Fault::status(503));
        scene.proxy.cut_sockets();
        for work in [Work::Shell, Work::Agent] {
            let job = scene.work(work, "echo done").await;
            let row = scene.done_once_within(Duration::from_millis(5_500), &job).await;
            assert_eq!(printed(&row), "done");
        }
        let limit = (outage + Duration::from_millis(8_300)).saturating_sub(began.elapsed());
        within(limit, "a new channel", || async {
            (daemon.status().await?.realtime && began.elapsed() > outage).then_some(())
        })
        .await;
        let tried = scene.openings().times();
        let tried = tried.iter().filter(|at| (began..began + outage).contains(*at)).count();
        assert!((2..=16).contains(&tried), "{tried} attempts");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }

    #[tokio::test]
    async fn n15_a_start_before_the_network_waits_for_it() {
        on_every_path(async |ingress, work| {
            let (scene, outage) = (Scene::new(ingress).await, seconds(12));
            scene.proxy.on(&[]).during(outage, Fault::status(503));
            let daemon = scene.begin();
            let job = scene.work(work, "echo done").await;
            within(outage + seconds(15), "a daemon that is ready", || async {
                let status = daemon.status().await?;
                (status.last_heartbeat_at.is_some() && status.last_reconcile_at.is_some()).then_some(())
            })
            .await;
            assert_eq!(printed(&scene.done_once(&job).await), "done");
            daemon.ready().await;
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }
}
