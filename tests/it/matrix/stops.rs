//! P1 to P4: how a daemon that is told to stop ends what it does.

use std::time::Duration;

use gateway::process::env::ChildEnv;
use gateway::process::exit::Exit;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::matrix::family::{Family, SCRIPT};
use crate::matrix::scene::{Scene, UNTIL_TOLD, printed};
use crate::matrix::twins::{Ingress, Work, on_every_path};
use crate::support::eventually::eventually;
use crate::support::fault_proxy::{Fault, On};

/// A heartbeat every 300 ms for half a minute's.
const HEARTBEAT: (&str, &str) = ("PANORAMA_GATEWAY_TEST_HEARTBEAT_MS", "300");
const ONE_AT_A_TIME: (&str, &str) = ("PANORAMA_GATEWAY_CONCURRENCY", "1");
/// Within which a daemon that was told twice has ended.
const TOLD_TWICE: Duration = Duration::from_secs(15);
/// Within which `gateway stop` is documented to be over.
const STOPPED: Duration = Duration::from_secs(30);

impl Scene {
    /// When the control plane last heard of the host.
    pub(super) async fn last_seen(&self) -> serde_json::Value {
        let id = &self.host.paired.gateway_id;
        let path = format!("/rest/v1/team_gateways?select=last_seen_at&id=eq.{id}");
        let (_, rows) = self.host.plane.get(&path, &self.host.operator).await;
        rows[0]["last_seen_at"].clone()
    }

    /// Reconciles of any kind.
    fn queries(&self) -> On<'_> {
        self.proxy.on(&["GET /rest/v1/gateway_jobs?", "status=eq.queued"])
    }
}

#[tokio::test]
async fn p1_a_drain_lets_what_runs_end_and_leaves_what_waits() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start_with(&[ONE_AT_A_TIME]).await;
        let job = scene.work(work, UNTIL_TOLD).await;
        scene.host.reaches(&job, &["running"]).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(scene.work(work, "echo never").await);
        }
        daemon.signal(Signal::SIGHUP);
        daemon.signal(Signal::SIGTERM);
        daemon.reaches("draining").await;
        scene.tell();
        assert_eq!(printed(&scene.done_once(&job).await), "precious");
        assert_eq!(daemon.ended().await.exit_code, Some(0));
        for job in &waiting {
            assert_eq!(scene.host.row(job).await["status"], "queued");
        }
        assert_eq!(scene.host.wire_status().await, "offline");
    })
    .await;
}

/// A query that asked for them travelled when the drain began.
#[tokio::test]
async fn p1_rows_that_come_too_late_for_a_drain_are_left() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = scene.work(work, UNTIL_TOLD).await;
        scene.host.reaches(&job, &["running"]).await;
        let asked = async || {
            // A channel that is gone is reason enough to ask at once.
            scene.proxy.cut_sockets();
            let before = scene.queries().count();
            eventually("a query", || {
                std::future::ready((scene.queries().count() > before).then_some(()))
            })
            .await;
        };
        scene.polls().always(Fault::Held);
        let before = scene.polls().count();
        while scene.polls().count() == before {
            asked().await;
        }
        daemon.signal(Signal::SIGTERM);
        daemon.reaches("draining").await;
        let late = scene.work(work, "echo never").await;
        scene.proxy.heal();
        // The next is asked when the answer to the last was read.
        asked().await;
        assert_eq!(scene.host.row(&late).await["status"], "queued");
        scene.tell();
        scene.done_once(&job).await;
        assert_eq!(daemon.ended().await.exit_code, Some(0));
        assert_eq!(scene.host.row(&late).await["status"], "queued");
    })
    .await;
}

#[tokio::test]
async fn p2_heartbeats_go_on_in_a_drain() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start_with(&[HEARTBEAT]).await;
        let job = scene.work(work, UNTIL_TOLD).await;
        scene.host.reaches(&job, &["running"]).await;
        daemon.signal(Signal::SIGTERM);
        daemon.reaches("draining").await;
        eventually("the wire to say pending", || async {
            (scene.host.wire_status().await == "pending").then_some(())
        })
        .await;
        let mut last = scene.last_seen().await;
        for _ in 0..5 {
            last = eventually("another heartbeat", || async {
                let now = scene.last_seen().await;
                (now != last).then_some(now)
            })
            .await;
        }
        assert_eq!(scene.host.wire_status().await, "pending");
        scene.tell();
        assert_eq!(printed(&scene.done_once(&job).await), "precious");
        assert_eq!(daemon.ended().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn p1_a_goodbye_follows_a_heartbeat_that_is_on_its_way() {
    let scene = Scene::new(Ingress::Push).await;
    let daemon = scene.start_with(&[HEARTBEAT]).await;
    let beats = || scene.proxy.on(&["POST /functions/v1/gateway-heartbeat"]);
    beats().always(Fault::Held);
    let before = beats().count();
    eventually("a heartbeat that is on its way", || {
        std::future::ready((beats().count() > before).then_some(()))
    })
    .await;
    daemon.signal(Signal::SIGTERM);
    // Nobody is there any more who would hear how it went.
    eventually("the end of the local socket", || async {
        daemon.status().await.is_none().then_some(())
    })
    .await;
    scene.proxy.heal();
    assert_eq!(daemon.ended().await.exit_code, Some(0));
    assert_eq!(scene.host.wire_status().await, "offline");
}

#[tokio::test]
async fn p3_the_second_signal_ends_everything() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = scene.work(work, SCRIPT).await;
        let family = Family::born(&scene).await;
        daemon.signal(Signal::SIGTERM);
        daemon.reaches("draining").await;
        daemon.signal(Signal::SIGINT);
        let exit = tokio::time::timeout(TOLD_TWICE, daemon.ended());
        assert_eq!(exit.await.expect("it ends in time").exit_code, Some(0));
        is_cancelled(&scene, &job, "Gateway shutting down (SIGTERM)").await;
        assert!(family.is_gone());
    })
    .await;
}

async fn is_cancelled(scene: &Scene, job: &str, why: &str) {
    let row = scene.done_once(job).await;
    assert_eq!(
        (&row["status"], &row["result"]["cancelled"], row["error"].as_str()),
        (&json!("cancelled"), &json!(true), Some(why)),
        "{row}"
    );
}

/// `gateway stop` with these options.
async fn stop(scene: &Scene, options: &[&str]) -> Exit {
    let env = ChildEnv::exactly([("HOME".into(), scene.host.state.path().into())]);
    let dir = scene.host.paths().dir.display().to_string();
    let args = [&["stop", "--config-dir", &dir], options].concat();
    let spec = Spec::new(env!("CARGO_BIN_EXE_gateway"), env).args(args);
    spawn(spec).unwrap().wait(CancellationToken::new()).await
}

async fn stops(ingress: Ingress, work: Work, options: &[&str]) {
    let scene = Scene::new(ingress).await;
    let daemon = scene.start().await;
    let job = scene.work(work, SCRIPT).await;
    let family = Family::born(&scene).await;
    let exit = tokio::time::timeout(STOPPED, stop(&scene, options)).await;
    let exit = exit.expect("it is over in time");
    let said = String::from_utf8_lossy(&exit.stderr.bytes).into_owned();
    assert_eq!(exit.exit_code, Some(8), "{said}");
    assert!(said.contains("running work was cancelled"), "{said}");
    is_cancelled(&scene, &job, "Gateway shutting down (stop)").await;
    assert!(family.is_gone());
    assert_eq!(daemon.ended().await.exit_code, Some(0));
}

#[tokio::test]
async fn p4_a_stop_ends_what_is_deaf_and_says_so() {
    for options in [&["--now"][..], &["--drain", "500ms"]] {
        on_every_path(async |ingress, work| stops(ingress, work, options).await).await;
    }
}

mod nightly {
    use super::*;

    #[tokio::test]
    async fn p4_a_stop_without_options_is_over_within_half_a_minute() {
        on_every_path(async |ingress, work| stops(ingress, work, &[]).await).await;
    }
}
