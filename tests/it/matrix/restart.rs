//! Rows C2, C5, C6 and X3: what a hangup or a death leaves to the next start.

use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{INGRESSES, Ingress, Work, on_both_ways_in, on_every_path};
use crate::support::daemon::Host;
use crate::support::eventually::{eventually, within};
use crate::support::fault_proxy::Fault;
use crate::support::process_list::with_variable;

/// A claim that a start does not find any more is found by a later look of it.
const LATE_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn c2_a_claim_of_the_dead_that_is_applied_after_the_next_start_leaves_no_row_behind() {
    const CLAIM: [&str; 2] = ["PATCH /rest/v1/gateway_jobs", "status=eq.queued"];
    on_every_path(async |ingress, work| {
        let scene = Scene::new(ingress).await;
        let claims = async |count| {
            eventually("a claim", || async {
                (scene.proxy.on(&CLAIM).count() == count).then_some(())
            })
            .await;
        };
        scene.proxy.on(&CLAIM).next(1, Fault::Held);
        let job = scene.work(work, "true").await;
        let daemon = scene.start().await;
        claims(1).await;
        daemon.crash().await;
        // The claim of the dead is to be the first of the two.
        scene.proxy.on(&CLAIM).next(1, Fault::Delay(Duration::from_secs(2)));
        let daemon = scene.start().await;
        claims(2).await;
        scene.proxy.heal();
        let row = within(LATE_WITHIN, "the end of the job", || async {
            let row = scene.host.row(&job).await;
            (row["status"] == "failed").then_some(row)
        })
        .await;
        assert_eq!(row["result"]["interrupted"], true, "{row}");
        assert!(scene.effects().is_empty(), "{row}");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn c5_a_retry_runs_although_the_dead_row_still_looks_alive() {
    on_both_ways_in(async |ingress| {
        let settings: Vec<_> = ingress.setting().into_iter().collect();
        let (host, proxy) = Host::recorded().await;
        let daemon = host.start_ready(&settings).await;
        let payload = json!({"resource_id": host.resource, "command": "sleep 600"});
        let key = json!({"idempotency_key": "once"});
        let dead = host.submit("shell_exec", payload, key.clone()).await;
        host.reaches(&dead, &["running"]).await;
        daemon.crash().await;
        proxy.refuse_results(true);
        let daemon = host.start_ready(&settings).await;
        let payload = json!({"resource_id": host.resource, "command": "echo again"});
        let retry = host.submit("shell_exec", payload, key).await;
        eventually("both ends to wait", || async {
            (daemon.status().await?.unreported_results == 2).then_some(())
        })
        .await;
        proxy.refuse_results(false);
        assert_eq!(host.done(&retry).await["result"]["stdout"], "again\n");
        assert_eq!(host.done(&dead).await["status"], "failed");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn c6_a_hangup_ends_nothing() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::new(ingress).await;
        let script = "until [ -e $here/go ]; do sleep 0.1; done; echo not hung up";
        let jobs = join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await;
        let daemon = scene.start().await;
        eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
        daemon.signal(Signal::SIGHUP);
        eventually("the hangup to be heard", || async {
            scene.log().contains("Ignoring SIGHUP").then_some(())
        })
        .await;
        std::fs::create_dir(scene.path("go")).unwrap();
        for job in jobs {
            assert_eq!(printed(&scene.done_once(&job).await), "not hung up");
        }
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

/// Rows of an earlier run are final so long after a start.
const FINAL_WITHIN: Duration = Duration::from_secs(15);

/// Jobs at work under a daemon that dies, then dies three times more at these calls while it starts, then starts.
#[cfg(target_os = "linux")]
async fn recovers_after_three_deaths(ingress: Ingress, calls: &'static str, first: u32) {
    use crate::support::bad_disk::{BadDisk, Blow};
    let scene = Scene::new(ingress).await;
    let script = "setsid sleep 600 & sleep 600";
    let jobs = join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await;
    let daemon = scene.start().await;
    eventually("both to run", || async { (scene.effects().len() == 2).then_some(()) }).await;
    daemon.crash().await;
    for nth in first..first + 3 {
        let disk = BadDisk::new(calls, Blow::Kill).nth(nth);
        let daemon = scene.begin_on(&disk);
        // There may be fewer calls.
        eventually("its death, or its work", || async {
            let works = daemon
                .status()
                .await
                .is_some_and(|status| json!(status.state) == "ready");
            (works || !daemon.is_alive()).then_some(())
        })
        .await;
        daemon.crash().await;
    }
    let daemon = scene.begin();
    for job in &jobs {
        let row = within(FINAL_WITHIN, "the end of a job", || async {
            let row = scene.host.row(job).await;
            (row["status"] != "running").then_some(row)
        })
        .await;
        let ended = (row["status"].as_str(), &row["result"]["interrupted"]);
        assert_eq!(ended, (Some("failed"), &json!(true)), "{row}");
        scene.done_once(job).await;
        assert_eq!(with_variable(&format!("GATEWAY_JOB_ID={job}")), []);
    }
    // The last of the dead may have ended them.
    daemon.ready().await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn x3_killed_in_its_recovery_three_times_it_recovers() {
    for ingress in INGRESSES {
        // What the journal writes first is the end of one of these jobs.
        recovers_after_three_deaths(ingress, "pwrite64", 1).await;
    }
}

#[cfg(target_os = "linux")]
mod nightly {
    use super::{INGRESSES, join_all, recovers_after_three_deaths};

    /// Everything by which a start changes something outside of itself.
    const CALLS: &str = "pwrite64,fsync,fdatasync,sendto,writev,kill,clone,clone3,renameat,?unlink,?unlinkat";

    #[tokio::test]
    async fn x3_killed_three_times_in_a_row_at_any_of_its_first_calls_it_recovers() {
        for ingress in INGRESSES {
            for first in (1..31).step_by(6) {
                let some = (first..first + 6).map(|first| recovers_after_three_deaths(ingress, CALLS, first));
                join_all(some).await;
            }
        }
    }
}
