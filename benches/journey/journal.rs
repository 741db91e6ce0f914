//! What the journal adds to a job that runs alone: from its claim to the confirmation of its end, on a real disk.

use std::time::{Duration, Instant};

use gateway::domain::clock;
use gateway::domain::ids::{GatewayId, JobId, TeamId};
use gateway::domain::job::{Ingress, JobOutcome, Timeline};
use gateway::state::fs::OwnerDir;
use gateway::state::journal::{ClaimedEntry, Journal, ProcessIdentityRecord};

use crate::support::figures::{Figure, Guard, quantile};

const JOBS: usize = 300;

/// Time and synced commits of one job.
pub async fn journal(all: &mut Vec<Figure>) {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk of the build");
    let dir = OwnerDir::open_or_create(&home.path().join("state")).expect("a state directory");
    let opened = Journal::open(&dir).await.expect("a journal");
    let writing = tokio::spawn(opened.writer.run());
    let journal = opened.journal;
    let mut took = Vec::new();
    for job in 0..JOBS {
        took.push(super::ms(one_job(&journal, job).await));
    }
    let synced = journal.counts().await.expect("counts").synced as f64 / JOBS as f64;
    drop(journal);
    writing.await.expect("a writer that ends");
    let p99 = quantile(&mut took, 0.99);
    let figure = Figure::new("journal, one job alone", quantile(&mut took, 0.5), "ms");
    all.push(figure.guard(Guard::AtMost(1.5)).note(format!(" (p99 {p99:.1} ms)")));
    all.push(Figure::new("journal, synced commits per job", synced, "").guard(Guard::AtMost(2.0)));
}

async fn one_job(journal: &Journal, number: usize) -> Duration {
    let id = JobId::new(format!("job-{number}")).expect("an id");
    let timeline = Timeline::received(Ingress::Push, clock::now());
    let entry = ClaimedEntry {
        job_id: id.clone(),
        team_id: TeamId::new("team").expect("an id"),
        gateway_id: GatewayId::new("gateway").expect("an id"),
        job_type: "shell_exec".to_owned(),
        timeline: timeline.clone(),
        requested_via: None,
    };
    let process = ProcessIdentityRecord {
        pid: 4_194_303,
        start_ticks: 1,
        pgid: 4_194_303,
        at: clock::now(),
    };
    let outcome = JobOutcome::Completed {
        result: gateway::domain::job::JobResult::default(),
    };
    let begun = Instant::now();
    journal.claimed(&entry).await.expect("a claim");
    journal
        .started(&id, process, serde_json::json!({"method": "cgroup"}))
        .await
        .expect("a start");
    journal.finished(&id, &outcome, &timeline).await.expect("an end");
    journal.reported(&id).await.expect("a confirmation");
    begun.elapsed()
}
