//! P9: a host that is short of descriptors.

use futures_util::future::join_all;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::on_every_path;

#[tokio::test]
async fn p9_with_forty_eight_descriptors_twenty_jobs_wait_and_none_fails() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.host.start_after("ulimit -n 48", &scene.settings());
        daemon.ready().await;
        let jobs = join_all((0..20).map(|_| scene.work(work, "echo served"))).await;
        for job in &jobs {
            assert_eq!(printed(&scene.done_once(job).await), "served");
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}
