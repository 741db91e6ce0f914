//! X20 and C1 on a host where no cgroup can be made: what every process inherits is enough.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::matrix::family::{Family, SCRIPT};
use crate::matrix::scene::{Cgroups, Scene};
use crate::matrix::trees::nobody_hides;
use crate::matrix::twins::on_every_path;
use crate::support::eventually::within;

/// The guardian's time.
const GUARDED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn x20_nobody_hides_where_there_are_no_cgroups() {
    nobody_hides(Cgroups::None).await;
}

#[tokio::test]
async fn c1_a_kill_leaves_nobody_where_there_are_no_cgroups() {
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start_with_cgroups(Cgroups::None).await;
        let job = scene.work(work, SCRIPT).await;
        let family = Family::born(&scene).await;
        daemon.signal(Signal::SIGKILL);
        within(GUARDED, "nobody to be left", || {
            std::future::ready(family.is_gone().then_some(()))
        })
        .await;
        assert_eq!(daemon.ended().await.signal, Some(9));
        let daemon = scene.start_with_cgroups(Cgroups::None).await;
        assert_eq!(scene.done_once(&job).await["status"], "failed");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}
