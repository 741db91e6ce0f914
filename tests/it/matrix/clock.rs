//! Rows A3 to A5 and X15: a host whose clock is wrong, or jumps.

use std::time::Duration;

use futures_util::future::join_all;
use gateway::domain::clock;
use serde_json::json;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{INGRESSES, Ingress, Work, on_both_ways_in};
use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, within};
use crate::support::odd_clock::OddClock;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
/// Refreshes in half a minute, however wrong the clock is.
const MOST_REFRESHES: usize = 2;

pub(super) fn begin(scene: &Scene, clock: &OddClock) -> Daemon {
    let odd = clock.settings();
    let odd = odd.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = scene.settings().into_iter().chain(odd).collect();
    scene.host.start(&settings)
}

/// Jobs of both kinds run, and see the host's clock so far ahead of ours.
async fn runs(scene: &Scene, ahead: i64) {
    let jobs = join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, "date +%s"))).await;
    for job in jobs {
        let row = scene.done_once(&job).await;
        let seen: i64 = printed(&row).parse().unwrap();
        assert!((seen - ahead - clock::now().as_second()).abs() < MINUTE, "{row}");
    }
}

fn refreshes(scene: &Scene) -> usize {
    scene.proxy.on(&["POST /auth/v1/token"]).count()
}

async fn runs_although_the_clock_is(ahead: i64) {
    on_both_ways_in(async |ingress| {
        let (scene, clock) = (Scene::new(ingress).await, OddClock::ahead(ahead));
        let daemon = begin(&scene, &clock);
        runs(&scene, ahead).await;
        daemon.ready().await;
        assert!(refreshes(&scene) <= MOST_REFRESHES);
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a3_five_minutes_ahead_jobs_run() {
    runs_although_the_clock_is(5 * MINUTE).await;
}

#[tokio::test]
async fn a4_five_minutes_behind_jobs_run() {
    runs_although_the_clock_is(-5 * MINUTE).await;
}

#[tokio::test]
async fn a5_two_hours_ahead_jobs_run_and_the_session_is_not_stormed() {
    runs_although_the_clock_is(120 * MINUTE).await;
}

#[tokio::test]
async fn x15_a_clock_that_jumps_ends_no_job_before_its_time() {
    on_both_ways_in(async |ingress| {
        let (scene, clock) = (Scene::new(ingress).await, OddClock::ahead(0));
        let daemon = begin(&scene, &clock);
        let script = "until [ -e $here/go ]; do sleep 0.1; done; echo it had time";
        let jobs = join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await;
        eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
        for ahead in [DAY, -DAY, 0] {
            clock.set(ahead);
            runs(&scene, ahead).await;
        }
        std::fs::create_dir(scene.path("go")).unwrap();
        for job in jobs {
            let row = scene.done_once(&job).await;
            assert_eq!(printed(&row), "it had time");
            let took = row["result"]["duration_ms"].as_u64().unwrap_or_default();
            assert!(took < 60_000, "{row}");
        }
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn x15_a_clock_that_jumps_ends_a_job_at_its_time() {
    const LIMIT: Duration = Duration::from_secs(2);
    for ahead in [DAY, -DAY] {
        let (scene, clock) = (Scene::new(Ingress::Push).await, OddClock::ahead(0));
        let daemon = begin(&scene, &clock);
        daemon.ready().await;
        let began = scene.path("began");
        let command = format!("touch {}; sleep 600", began.display());
        let payload = json!({"resource_id": scene.host.resource, "command": command, "timeout_ms": LIMIT.as_millis()});
        let job = scene.host.submit("shell_exec", payload, json!({})).await;
        eventually("it to run", || async { began.exists().then_some(()) }).await;
        clock.set(ahead);
        let row = within(LIMIT * 3, "its end", || async {
            let row = scene.host.row(&job).await;
            (row["status"] != "running").then_some(row)
        })
        .await;
        assert_eq!(row["result"]["timed_out"], true, "{row}");
        let took = Duration::from_millis(row["result"]["duration_ms"].as_u64().unwrap());
        assert!(LIMIT <= took && took < LIMIT * 3, "{row}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

mod nightly {
    use super::{Duration, INGRESSES, MINUTE, MOST_REFRESHES, OddClock, Scene, begin, refreshes, runs};

    const AHEAD: i64 = 120 * MINUTE;

    #[tokio::test]
    async fn a5_two_hours_ahead_half_a_minute_has_two_refreshes_at_most() {
        for ingress in INGRESSES {
            let (scene, clock) = (Scene::new(ingress).await, OddClock::ahead(AHEAD));
            let daemon = begin(&scene, &clock);
            let began = tokio::time::Instant::now();
            while began.elapsed() < Duration::from_secs(30) {
                runs(&scene, AHEAD).await;
            }
            assert!(refreshes(&scene) <= MOST_REFRESHES);
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    }
}
