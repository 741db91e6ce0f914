//! X10, X12: a control plane that asks for rest, and one that somebody else answers for.

use std::time::Duration;

use gateway::state::session::SessionStore;

use crate::matrix::scene::{Scene, UNTIL_TOLD, printed};
use crate::matrix::twins::on_every_path;
use crate::support::eventually::eventually;
use crate::support::fault_proxy::{Fault, On};

/// The rest that is asked for, in seconds.
const REST: u64 = 3;

/// The first such request since `before` was refused: the next one came after the rest, but not at its very end.
async fn is_obeyed(requests: On<'_>, before: usize) {
    let times = eventually("the request to be repeated", || async {
        Some(requests.times()).filter(|times| times.len() >= before + 2)
    })
    .await;
    let rest = times[before + 1] - times[before];
    assert!(rest > Duration::from_secs(REST), "again after {rest:?}");
}

#[tokio::test]
async fn x10_a_control_plane_that_asks_for_rest_gets_it() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let heartbeats = || scene.proxy.on(&["POST /functions/v1/gateway-heartbeat"]);
        heartbeats().next(1, Fault::rest(503, REST));
        let daemon = scene.start().await;
        is_obeyed(heartbeats(), 0).await;
        for status in [429, 503] {
            let kinds = [Scene::polls, Scene::claims, Scene::completions];
            let before = kinds.map(|kind| kind(&scene).count());
            for kind in kinds {
                kind(&scene).next(1, Fault::rest(status, REST));
            }
            let job = scene.work(work, "echo done").await;
            assert_eq!(printed(&scene.done_once(&job).await), "done");
            for (kind, before) in kinds.into_iter().zip(before) {
                is_obeyed(kind(&scene), before).await;
            }
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn x12_a_login_page_for_everything_is_an_outage_and_loses_no_state() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let job = scene.work(work, UNTIL_TOLD).await;
        scene.begun(&job).await;
        let asked = scene.proxy.on(&[]).count();
        scene.proxy.on(&[]).always(Fault::page());
        scene.proxy.cut_sockets();
        scene.tell();
        let waiting = scene.work(work, "echo waited").await;
        eventually("ten pages to be seen", || async {
            (scene.proxy.on(&[]).count() >= asked + 10).then_some(())
        })
        .await;
        assert_eq!(scene.host.row(&job).await["status"], "running");
        scene.proxy.heal();
        assert_eq!(printed(&scene.done_once(&job).await), "precious");
        assert_eq!(printed(&scene.done_once(&waiting).await), "waited");
        let stored = SessionStore::new(&scene.host.paths()).load().unwrap().unwrap();
        assert_eq!(stored.refresh_token.expose(), scene.host.paired.refresh);
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}
