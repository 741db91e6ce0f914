//! X14: the host sleeps for hours. What it finds when it wakes up: the wall clock has gone on and the monotonic one has
//! not, and nobody is left at the other end of whatever is open.

use std::time::Duration;

use serde_json::json;

use crate::matrix::clock::begin;
use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{INGRESSES, Ingress, Work};
use crate::support::eventually::{eventually, within};
use crate::support::odd_clock::OddClock;

const EIGHT_HOURS: i64 = 8 * 60 * 60;
const AWAKE_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn x14_after_eight_hours_of_sleep_everything_is_opened_anew() {
    for ingress in INGRESSES {
        let (scene, clock) = (Scene::new(ingress).await, OddClock::ahead(0));
        let daemon = begin(&scene, &clock);
        daemon.ready().await;
        let push = ingress == Ingress::Push;
        let joined = async || daemon.status().await?.realtime.then_some(());
        if push {
            eventually("the channel to be joined", &joined).await;
        }
        let (opened, refreshes) = (scene.openings().count(), scene.proxy.on(&["POST /auth/v1/token"]));
        scene.proxy.strand();
        clock.set(EIGHT_HOURS);
        within(AWAKE_WITHIN, "everything to be open again", async || {
            let status = daemon.status().await?;
            let joined = !push || scene.openings().count() > opened && status.realtime;
            (joined && scene.log().contains("The host was asleep")).then_some(())
        })
        .await;
        for work in [Work::Shell, Work::Agent] {
            let way = json!(if push { "push" } else { "poll" });
            // The first ones may be found by the look that follows a new subscription.
            eventually("a job that comes the usual way", async || {
                let job = scene.work(work, "echo awake").await;
                let row = scene.done_once_within(AWAKE_WITHIN, &job).await;
                assert_eq!(printed(&row), "awake");
                (row["debug"]["ingress"] == way).then_some(())
            })
            .await;
        }
        // Whether the token is over is for the control plane to say, whose clock stayed.
        assert!(refreshes.count() <= 1);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}
