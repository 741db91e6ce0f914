//! X18, X32: what may come between a job and its claim.

use std::future::ready;

use gateway::control_plane::registry::GATEWAY_JOBS;
use gateway::control_plane::store::{Rows, Store};
use serde_json::json;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::on_every_path;
use crate::support::eventually::eventually;
use crate::support::fault_proxy::Fault;

impl Scene {
    async fn faults_have_come(&self) {
        eventually("the fault to come", || ready(self.proxy.has_lost_all().then_some(()))).await;
    }
}

#[tokio::test]
async fn x18_a_token_that_ends_in_mid_request_is_refreshed_once_and_the_request_repeated_once() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let over = Fault::json(401, &json!({"code": "PGRST303", "message": "JWT expired"}));
        let refreshes = || scene.proxy.on(&["POST /auth/v1/token"]).count();
        let polls = scene.polls().count();
        scene.polls().next(1, over.clone());
        scene.faults_have_come().await;
        eventually("the query to be repeated", || {
            ready((scene.polls().count() >= polls + 2).then_some(()))
        })
        .await;
        assert_eq!(refreshes(), 1);
        scene.claims().next(1, over);
        let job = scene.work(work, "echo done").await;
        assert_eq!(printed(&scene.done_once(&job).await), "done");
        assert!(scene.proxy.has_lost_all());
        assert_eq!((refreshes(), scene.claims().count()), (2, 2));
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn x32_a_row_that_changes_hands_before_its_claim_runs_nothing() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        let table = Store::open(&scene.host.plane.database).await.unwrap();
        let other = scene.host.plane.pair("other").await.gateway_id;
        for taken in [json!({"gateway_id": other}), json!({"status": "cancelled"})] {
            scene.claims().next(1, Fault::Held);
            let job = scene.work(work, "echo never").await;
            scene.faults_have_come().await;
            let row = Rows::of(&GATEWAY_JOBS).eq("id", &job);
            table.update_rows(&row, &taken).await.unwrap();
            scene.proxy.heal();
            eventually("the claim to be given up", || async {
                (daemon.status().await?.running_jobs == 0).then_some(())
            })
            .await;
            let row = scene.host.row(&job).await;
            assert!(row["started_at"].is_null() && row["status"] != "running", "{row}");
        }
        let next = scene.work(work, "echo done").await;
        scene.done_once(&next).await;
        assert_eq!(scene.effects(), [next]);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}
