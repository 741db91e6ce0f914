//! X9: a control plane that takes its time for everything.

use std::time::Duration;

use tokio::time::Instant;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::on_every_path;
use crate::support::fault_proxy::Fault;

mod nightly {
    use super::*;

    /// What an answer takes.
    const SLOW: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn x9_jobs_and_heartbeats_go_on_while_every_answer_takes_twenty_seconds() {
        on_every_path(async |ingress, work| {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start().await;
            let before = scene.proxy.on(&[]).count();
            scene.proxy.on(&[]).always(Fault::Delay(SLOW));
            let began = Instant::now();
            let job = scene.work(work, "echo done").await;
            let row = scene.done_once_within(Duration::from_secs(400), &job).await;
            assert_eq!(printed(&row), "done");
            let asked = scene.proxy.on(&[]).times();
            for at in asked.iter().skip(before) {
                let open = asked.iter().filter(|other| (*at..*at + SLOW).contains(*other));
                assert!(open.count() <= 20, "they pile up");
            }
            let beats = scene.proxy.on(&["POST /functions/v1/gateway-heartbeat"]).times();
            let last = beats.last().unwrap().max(&began).elapsed();
            assert!(last < Duration::from_secs(33), "the last heartbeat was {last:?} ago");
            scene.proxy.heal();
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }
}
