//! Paths that do the same: what holds on one has to hold on the other.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::matrix::scene::{Scene, printed};

/// How a job reaches the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingress {
    /// Over the websocket; polling reconciles.
    Push,
    /// By polling alone.
    Poll,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A shell command.
    Shell,
    /// A turn of an agent.
    Agent,
}

/// Both ways in.
pub(super) const INGRESSES: [Ingress; 2] = [Ingress::Push, Ingress::Poll];

/// Every pair.
pub(super) const TWINS: [(Ingress, Work); 4] = [
    (Ingress::Push, Work::Shell),
    (Ingress::Push, Work::Agent),
    (Ingress::Poll, Work::Shell),
    (Ingress::Poll, Work::Agent),
];

impl Ingress {
    /// What the daemon is started with.
    pub(super) const fn setting(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Push => None,
            Self::Poll => Some(("PANORAMA_GATEWAY_TEST_REALTIME", "off")),
        }
    }
}

/// Goes every way at the same time: a row mostly waits.
pub(super) async fn on_every_path(row: impl AsyncFn(Ingress, Work)) {
    let ended = TWINS.map(|(ingress, work)| {
        let ended = AssertUnwindSafe(row(ingress, work)).catch_unwind();
        ended.map(move |ended| ended.err().map(|_panic| (ingress, work)))
    });
    let failed: Vec<_> = join_all(ended).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "failed on {failed:?}");
}

/// The same for rows in which both kinds of work are done side by side.
pub(super) async fn on_both_ways_in(row: impl AsyncFn(Ingress)) {
    join_all(INGRESSES.map(|ingress| row(ingress))).await;
}

#[tokio::test]
async fn every_twin_does_what_it_is_asked_once() {
    for ingress in INGRESSES {
        let scene = Scene::new(ingress).await;
        let daemon = scene.start().await;
        for work in TWINS
            .into_iter()
            .filter_map(|(way, work)| (way == ingress).then_some(work))
        {
            let job = scene.work(work, "echo did it").await;
            let row = scene.done_once(&job).await;
            assert_eq!(printed(&row), "did it", "{ingress:?} {work:?}");
        }
        assert!(scene.proxy.has_lost_all());
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}
