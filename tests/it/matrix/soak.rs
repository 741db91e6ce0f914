//! Many jobs over a long time through a control plane that fails now and then: nothing piles up in the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, interval, sleep};

use crate::matrix::scene::Scene;
use crate::matrix::twins::{Ingress, Work};
use crate::support::daemon::Daemon;
use crate::support::eventually::within;
use crate::support::fault_proxy::Sockets;

/// After the last job was submitted.
const ALL_FINAL_WITHIN: Duration = Duration::from_secs(90);
/// How long an idle daemon may take to give back what it held.
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// Memory may have grown by so much.
const GROWTH_KB: u64 = 5_000;
/// Jobs before the first measurement: what is made once is made by then.
const WARMING_UP: usize = 300;
/// Jobs are submitted in batches, at this distance.
const BATCH_EVERY: Duration = Duration::from_millis(500);

/// What the daemon holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    memory_kb: u64,
    files: usize,
    zombies: usize,
}

impl Held {
    fn by(daemon: &Daemon) -> Self {
        let pid = daemon.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            memory_kb: memory.split_whitespace().next().unwrap().parse().unwrap(),
            files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            zombies: zombies_of(pid.as_raw()),
        }
    }
}

fn zombies_of(parent: i32) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let is_one = |stat: &String| {
        let mut fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    stats.filter(is_one).count()
}

struct Soak {
    scene: Scene,
    random: StdRng,
    submitted: usize,
}

impl Soak {
    async fn submit(&mut self, jobs: usize) {
        for _ in 0..jobs {
            let (work, script) = match self.random.random_range(0..100) {
                0..80 => (Work::Shell, "echo short"),
                80..90 => (Work::Shell, "sleep 0.5; echo later"),
                90..95 => (Work::Shell, "head -c 300000 /dev/zero | tr '\\0' x; echo"),
                _ => (Work::Agent, "echo said"),
            };
            self.scene.work(work, script).await;
            self.submitted += 1;
        }
    }

    /// Something goes wrong for a moment.
    async fn fail(random: &mut StdRng, scene: &Scene) {
        let proxy = &scene.proxy;
        let moment = Duration::from_millis(random.random_range(200..4_000));
        match random.random_range(0..7) {
            0 => proxy.cut_sockets(),
            1 => proxy.lose_answer_to(&["PATCH /rest/v1/gateway_jobs?id=eq.", "status=eq.queued"]),
            2 => proxy.lose_answer_to(&["PATCH /rest/v1/gateway_jobs?id=eq.", "status=eq.running"]),
            3 => {
                proxy.blackout(true);
                sleep(moment).await;
                proxy.blackout(false);
            }
            4 => {
                proxy.stall(true);
                sleep(moment).await;
                proxy.stall(false);
            }
            5 => proxy.freeze_sockets(),
            _ => {
                proxy.sockets(Sockets::Refuse);
                proxy.cut_sockets();
                sleep(moment).await;
                proxy.sockets(Sockets::Pass);
            }
        }
    }

    async fn all_final(&self) {
        within(ALL_FINAL_WITHIN, "every row to be final", || async {
            self.scene
                .host
                .rows_in(&["queued", "running"])
                .await
                .is_empty()
                .then_some(())
        })
        .await;
    }

    /// Every job was done, once.
    async fn assert_done_once(&self) {
        let rows = self.scene.host.rows_in(&["completed", "failed", "cancelled"]).await;
        let mut ran: BTreeMap<String, usize> = BTreeMap::new();
        for job in self.scene.effects() {
            *ran.entry(job).or_default() += 1;
        }
        let bad: Vec<_> = rows
            .iter()
            .filter(|row| row["status"] != "completed" || ran.get(row["id"].as_str().unwrap()) != Some(&1))
            .collect();
        assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), rows.len(), bad.first());
        assert_eq!(rows.len(), self.submitted);
    }
}

/// So many jobs over so much time, with a fault every few seconds.
#[expect(clippy::print_stdout, reason = "what was measured is worth reading")]
async fn soak(jobs: usize, time: Duration, faults_every: Duration) {
    let mut soak = Soak {
        scene: Scene::new(Ingress::Push).await,
        random: StdRng::seed_from_u64(3),
        submitted: 0,
    };
    let daemon = soak.scene.start().await;
    soak.submit(WARMING_UP).await;
    soak.all_final().await;
    let before = Held::by(&daemon);

    let end = Instant::now() + time;
    let batches = time.as_millis() / BATCH_EVERY.as_millis();
    let batch = jobs.div_ceil(usize::try_from(batches).unwrap());
    let mut faults = 0;
    let (mut pace, mut trouble) = (interval(BATCH_EVERY), interval(faults_every));
    let mut random = StdRng::seed_from_u64(4);
    while soak.submitted < jobs + WARMING_UP || Instant::now() < end {
        tokio::select! {
            _ = pace.tick(), if soak.submitted < jobs + WARMING_UP => soak.submit(batch).await,
            _ = trouble.tick() => {
                Soak::fail(&mut random, &soak.scene).await;
                faults += 1;
            }
        }
    }
    soak.all_final().await;
    soak.assert_done_once().await;
    let after = within(BACK_WITHIN, "the daemon to hold what it held before", || async {
        let now = Held::by(&daemon);
        let back = now.memory_kb <= before.memory_kb + GROWTH_KB && now.files <= before.files && now.zombies == 0;
        back.then_some(now)
    })
    .await;
    println!(
        "{} jobs, {faults} faults, {time:?}: {before:?}, then {after:?}",
        soak.submitted
    );
    daemon.ready().await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

mod nightly {
    use std::time::Duration;

    use super::soak;

    #[tokio::test]
    async fn half_an_hour_of_twenty_thousand_jobs_leaves_the_daemon_as_it_was() {
        soak(20_000, Duration::from_mins(30), Duration::from_secs(9)).await;
    }
}
