//! X8: thirty jobs end while the network is gone.

use std::time::Duration;

use futures_util::future::join_all;
use gateway::domain::ids::JobId;
use gateway::job::report::Schedule;

use crate::matrix::scene::{Scene, UNTIL_TOLD, printed};
use crate::matrix::twins::TWINS;
use crate::support::eventually::within;

const JOBS: usize = 30;

/// The outbox's own part, on virtual time: an hour in which every attempt takes two seconds and fails.
#[test]
fn x8_an_hour_away_is_spent_with_one_result_in_hand_and_then_all_go_in_order() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const ATTEMPT: Duration = Duration::from_secs(2);
    let ids: Vec<_> = (0..JOBS).map(|n| JobId::new(n.to_string()).unwrap()).collect();
    let (mut schedule, mut now, mut attempts) = (Schedule::default(), Duration::ZERO, 0);
    ids.iter().for_each(|id| schedule.add(id.clone(), now));
    while now < HOUR {
        now = now.max(schedule.wake_at(true).unwrap());
        let (id, _) = schedule.take_due(now, true).unwrap();
        assert_eq!(schedule.take_due(now, true), None);
        now += ATTEMPT;
        schedule.failed(&id, now, None, 0.5);
        attempts += 1;
    }
    assert!((1_000..=1_800).contains(&attempts), "{attempts}");
    assert_eq!(schedule.len(), JOBS);
    schedule.nudge(now);
    let mut sent = Vec::new();
    while let Some((id, _)) = schedule.take_due(now, false) {
        schedule.settled(&id);
        sent.push(id);
    }
    assert_eq!(sent, ids);
}

mod nightly {
    use super::*;

    /// Thirty agents begin at once.
    const BEGUN_WITHIN: Duration = Duration::from_secs(120);

    #[tokio::test]
    async fn x8_thirty_results_of_an_outage_all_arrive() {
        for (ingress, work) in TWINS {
            let scene = Scene::new(ingress).await;
            let slots = JOBS.to_string();
            let daemon = scene.start_with(&[("PANORAMA_GATEWAY_CONCURRENCY", &slots)]).await;
            let jobs = join_all((0..JOBS).map(|_| scene.work(work, UNTIL_TOLD))).await;
            within(BEGUN_WITHIN, "all to run", || async {
                (scene.effects().len() == JOBS).then_some(())
            })
            .await;
            scene.proxy.blackout(true);
            scene.tell();
            within(BEGUN_WITHIN, "all to have ended", || async {
                (daemon.status().await?.unreported_results as usize == JOBS).then_some(())
            })
            .await;
            scene.proxy.blackout(false);
            for job in &jobs {
                assert_eq!(printed(&scene.done_once(job).await), "precious");
            }
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    }
}
