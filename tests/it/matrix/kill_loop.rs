//! The daemon is killed at random moments under many mixed jobs, again and again.
//!
//! Effects are counted where the jobs leave them, survivors by the mark in their environment and by their cgroups.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::time::sleep;

use crate::matrix::scene::Scene;
use crate::matrix::twins::{Ingress, Work};
use crate::support::daemon::Daemon;
use crate::support::eventually::within;
use crate::support::process_list::with_any_mark;

/// After the last start.
const ALL_FINAL_WITHIN: Duration = Duration::from_secs(60);
/// From a kill to the last process of any job.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// What jobs do; the shorter, the nearer a kill comes to their ends. An agent that says nothing would be asked again.
const WORKS: [(Work, &str); 7] = [
    (Work::Shell, "true"),
    (Work::Shell, "sleep 0.2; echo late"),
    (Work::Shell, "sleep 0.3 & setsid sleep 0.3 & wait"),
    (Work::Shell, "trap '' TERM; setsid env -i sleep 0.4 & wait"),
    (Work::Agent, "echo quick"),
    (Work::Agent, "echo slow; sleep 0.2"),
    (Work::Agent, "trap '' TERM; echo deaf; sleep 0.3 & wait"),
];

struct Loop {
    scene: Scene,
    random: StdRng,
    at_once: usize,
    jobs: Vec<String>,
}

impl Loop {
    async fn new(ingress: Ingress, seed: u64, at_once: usize) -> Self {
        Self {
            scene: Scene::new(ingress).await,
            random: StdRng::seed_from_u64(seed),
            at_once,
            jobs: Vec::new(),
        }
    }

    /// Submits until so many are not final.
    async fn fill(&mut self) {
        for _ in self.open().await..self.at_once {
            let job = match self.random.random_range(0..=WORKS.len()) {
                pick if pick < WORKS.len() => {
                    let (work, script) = WORKS[pick];
                    self.scene.work(work, script).await
                }
                _ => self.scene.host.submit("diagnostic", json!({}), json!({})).await,
            };
            self.jobs.push(job);
        }
    }

    async fn open(&self) -> usize {
        self.scene.host.rows_in(&["queued", "running"]).await.len()
    }

    /// A daemon's life: it takes what there is and is killed in the middle.
    async fn round(&mut self) {
        let daemon = self.scene.begin();
        self.fill().await;
        // The moment is what is random here; nothing is awaited.
        let moment = self.random.random_range(0..600);
        sleep(Duration::from_millis(moment)).await;
        daemon.crash().await;
        within(GONE_WITHIN, "everybody to be gone", || async {
            self.survivors().is_empty().then_some(())
        })
        .await;
    }

    /// Processes that carry the mark of one of the jobs.
    fn survivors(&self) -> Vec<(i32, String)> {
        let jobs: HashSet<&str> = self.jobs.iter().map(String::as_str).collect();
        let marked = with_any_mark("GATEWAY_JOB_ID=").into_iter();
        marked.filter(|(_, job)| jobs.contains(job.as_str())).collect()
    }

    /// One more life, in which everything comes to its end.
    async fn settle(&self) -> Daemon {
        let daemon = self.scene.start().await;
        within(ALL_FINAL_WITHIN, "every row to be final", || async {
            (self.open().await == 0).then_some(())
        })
        .await;
        daemon
    }

    async fn verdict(&self) -> Verdict {
        let mut ran: BTreeMap<String, usize> = BTreeMap::new();
        for job in self.scene.effects() {
            *ran.entry(job).or_default() += 1;
        }
        let rows = self.scene.host.rows_in(&["completed", "failed", "cancelled"]).await;
        let mut verdict = Verdict {
            jobs: rows.len(),
            ..Verdict::default()
        };
        for row in rows {
            let runs = ran.get(row["id"].as_str().unwrap()).copied().unwrap_or_default();
            let works = row["job_type"] != "diagnostic";
            let interrupted = row["result"]["interrupted"] == true;
            verdict.doubled += usize::from(runs > 1);
            verdict.interrupted += usize::from(interrupted);
            verdict.lost += usize::from(match row["status"].as_str() {
                Some("completed") => works && runs == 0,
                _ => !interrupted,
            });
        }
        verdict
    }
}

#[derive(Debug, Default)]
struct Verdict {
    jobs: usize,
    interrupted: usize,
    lost: usize,
    doubled: usize,
}

#[expect(clippy::print_stdout, reason = "what was counted is worth reading")]
async fn killed(ingress: Ingress, seed: u64, rounds: usize, at_once: usize) {
    let mut looped = Loop::new(ingress, seed, at_once).await;
    for _ in 0..rounds {
        looped.round().await;
    }
    let daemon = looped.settle().await;
    let verdict = looped.verdict().await;
    println!("{ingress:?}: {rounds} kills, {verdict:?}");
    assert_eq!(verdict.jobs, looped.jobs.len(), "{verdict:?}");
    assert_eq!((verdict.lost, verdict.doubled), (0, 0), "{verdict:?}");
    assert!(verdict.interrupted > 0, "no kill met a job: {verdict:?}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_eq!(looped.survivors(), []);
}

#[tokio::test]
async fn x2_a_few_kills_lose_nothing_double_nothing_and_leave_nobody() {
    for ingress in [Ingress::Push, Ingress::Poll] {
        killed(ingress, 2, 4, 20).await;
    }
}

mod nightly {
    use super::{Ingress, killed};

    #[tokio::test]
    async fn x2_a_hundred_kills_of_a_pushed_daemon() {
        killed(Ingress::Push, 21, 100, 50).await;
    }

    #[tokio::test]
    async fn x2_a_hundred_kills_of_a_polling_daemon() {
        killed(Ingress::Poll, 22, 100, 50).await;
    }
}
