//! Rows A2, C3 and C5: what the journal says of an end decides for a row that still looks alive.

use gateway::domain::ids::{GatewayId, JobId, TeamId};
use gateway::domain::job::{Ingress, JobOutcome, Timeline};
use gateway::job::handler::JobLife;
use gateway::job::queue::Waiting;
use gateway::job::recovery;
use gateway::job::report::{Finished, Mail};
use gateway::job::worker::{Worked, Worker};
use gateway::state::fs::OwnerDir;
use gateway::state::journal::{ClaimedEntry, Journal};
use gateway::wire::job_row;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::journal::{Running, claim, job, outcome, timeline};
use crate::shell_exec;
use crate::support::eventually::PATIENCE;
use crate::support::scripted_server::{Reply, ScriptedServer, Seen};
use crate::support::state_dir::home;

/// An id that no process of another test carries.
fn any_job() -> JobId {
    job(uuid::Uuid::new_v4())
}

fn ours(id: &JobId) -> ClaimedEntry {
    ClaimedEntry {
        team_id: TeamId::new("t").unwrap(),
        gateway_id: GatewayId::new("g").unwrap(),
        ..claim(id)
    }
}

async fn reported(journal: &Journal, id: &JobId) {
    journal.claimed(&ours(id)).await.unwrap();
    let ended = JobOutcome::failed("Gateway was interrupted while the job ran", []);
    journal.finished(id, &ended, &timeline()).await.unwrap();
    journal.reported(id).await.unwrap();
}

async fn finished(mail: &mut mpsc::Receiver<Mail>) -> Finished {
    match timeout(PATIENCE, mail.recv()).await.unwrap().unwrap() {
        Mail::Finished(finished) => finished,
        other @ (Mail::Nudge | Mail::Recount) => panic!("{other:?}"),
    }
}

/// A row of a type that nobody knows, under a key.
fn keyed() -> Value {
    json!({
        "id": "retry", "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "no_such", "payload": {},
        "created_at": "2026-01-01T00:00:02Z", "updated_at": "1", "idempotency_key": "once",
    })
}

fn waiting() -> Waiting {
    Waiting {
        job: job_row::decode(&keyed()).unwrap(),
        timeline: timeline(),
        bytes: 1,
    }
}

fn twins_are_asked_for(seen: &Seen) -> bool {
    seen.target.contains("idempotency_key")
}

#[tokio::test]
async fn c5_a_retry_runs_although_the_end_of_the_dead_arrives_while_its_twins_are_asked_for() {
    let (_home, paths) = home();
    let running = Running::open(&OwnerDir::open_or_create(&paths.dir).unwrap()).await;
    let dead = any_job();
    reported(&running.journal, &dead).await;
    let row =
        json!([{"id": dead.as_str(), "status": "running", "started_at": "2026-01-01T00:00:01Z", "created_at": "1"}]);
    let mut asked = 0;
    let server = ScriptedServer::start(move |seen| match seen.method.as_str() {
        "PATCH" => Reply::Json(200, json!([keyed()])),
        _ if twins_are_asked_for(seen) => {
            asked += 1;
            Reply::Json(200, if asked == 1 { row.clone() } else { json!([]) })
        }
        _ => Reply::Json(200, json!([])),
    })
    .await;
    let (reports, mut mail) = mpsc::channel(4);
    let cx = shell_exec::context_with(&server.client(), true);
    let worker = Worker::new(cx, running.journal.clone(), reports);
    assert_eq!(worker.work(waiting(), JobLife::default()).await, Worked::Finished);
    let end = finished(&mut mail).await.fresh.unwrap();
    assert_eq!(
        end.0.error(),
        Some("Unsupported job type: no_such"),
        "it was not cancelled"
    );
    assert_eq!(server.seen().iter().filter(|seen| twins_are_asked_for(seen)).count(), 2);
}

#[tokio::test]
async fn c3_a_result_that_arrives_while_rows_are_looked_at_stays_what_it_is() {
    let (_home, paths) = home();
    let running = Running::open(&OwnerDir::open_or_create(&paths.dir).unwrap()).await;
    let (done, left) = (any_job(), any_job());
    reported(&running.journal, &done).await;
    let row = |id: &JobId| json!({"id": id.as_str(), "job_type": "shell_exec", "started_at": "2026-01-01T00:00:01Z"});
    let rows = json!([row(&done), row(&left)]);
    let server = ScriptedServer::start(move |_| Reply::Json(200, rows.clone())).await;
    let (reports, mut mail) = mpsc::channel(4);
    let cx = shell_exec::context_with(&server.client(), true);
    let jobs = cx.backend.clone();
    let worker = Worker::new(cx, running.journal.clone(), reports);
    let told = async {
        assert_eq!(
            finished(&mut mail).await.id,
            left,
            "the other was reported after its row was read"
        );
        // Its row still runs when that was long known: it was given out again, to somebody who is dead.
        assert_eq!(finished(&mut mail).await.id, done);
    };
    tokio::select! {
        () = recovery::orphans(&jobs, &running.journal, &worker) => panic!("it looks for longer"),
        () = told => {}
    }
}

#[tokio::test]
async fn a2_what_another_pairing_left_is_set_aside_and_not_sent() {
    let (_home, paths) = home();
    let running = Running::open(&OwnerDir::open_or_create(&paths.dir).unwrap()).await;
    let journal = &running.journal;
    let (cut_off, ended, own) = (any_job(), any_job(), any_job());
    for id in [&cut_off, &ended] {
        journal.claimed(&claim(id)).await.unwrap();
    }
    journal.claimed(&ours(&own)).await.unwrap();
    for id in [&ended, &own] {
        journal.finished(id, &outcome(Vec::new()), &timeline()).await.unwrap();
    }
    let (reports, mut mail) = mpsc::channel(4);
    let found = recovery::from_journal(journal, &shell_exec::context(true), &reports)
        .await
        .unwrap();
    assert_eq!((found.interrupted, found.unreported, found.foreign), (0, 1, 2));
    assert_eq!(finished(&mut mail).await.id, own);
    assert!(matches!(mail.try_recv(), Ok(Mail::Recount)));
    assert!(mail.try_recv().is_err());
    let counts = journal.counts().await.unwrap();
    let why = "belongs to gateway gateway, this host was paired anew";
    assert_eq!((counts.set_aside, counts.latest_reason.as_deref()), (2, Some(why)));
    assert!(journal.outcome(&ended).await.unwrap().end().is_some());
}

#[tokio::test]
async fn a2_a_claim_that_is_refused_after_its_answer_was_lost_is_given_up() {
    let (_home, paths) = home();
    let running = Running::open(&OwnerDir::open_or_create(&paths.dir).unwrap()).await;
    let mut claims = 0;
    let server = ScriptedServer::start(move |seen| match seen.method.as_str() {
        "PATCH" => {
            claims += 1;
            match claims {
                1 => Reply::Json(500, json!({"message": "may have been done"})),
                _ => Reply::Json(403, json!({"message": "no", "code": "42501"})),
            }
        }
        _ => Reply::Json(200, json!([])),
    })
    .await;
    let cx = shell_exec::context_with(&server.client(), true);
    let worker = Worker::new(cx, running.journal.clone(), mpsc::channel(4).0);
    let works = worker.work(waiting(), JobLife::default());
    assert_eq!(timeout(PATIENCE, works).await.unwrap(), Worked::Refused);
    let steps = Timeline::received(Ingress::Poll, timeline().received_at);
    let (id, life) = (job("bad"), JobLife::default());
    let rejects = worker.reject(&id, "no job".to_owned(), steps, &life);
    assert_eq!(timeout(PATIENCE, rejects).await.unwrap(), Worked::Refused);
}
