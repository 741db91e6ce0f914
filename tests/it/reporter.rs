//! The outbox: what becomes of results that the control plane or the journal does not take.

use std::sync::Arc;

use gateway::backend::{Jobs, Runs};
use gateway::domain::ids::{GatewayId, JobId, TeamId};
use gateway::job::report::{Finished, Mail, Outbox, Reporter};
use gateway::state::fs::OwnerDir;
use gateway::state::journal::Known;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::journal::{Running, claim, job, noise, outcome, timeline};
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::home::Home;
use crate::support::scripted_server::{Reply, ScriptedServer};
use crate::support::state_dir::home;

struct Bench {
    server: ScriptedServer,
    running: Running,
    mail: mpsc::Sender<Mail>,
    outbox: watch::Receiver<Outbox>,
    _reporter: JoinSet<()>,
    _home: TempDir,
}

impl Bench {
    async fn new(server: ScriptedServer) -> Self {
        let (home, paths) = home();
        let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
        Self::on(server, Running::open(&dir).await, home)
    }

    fn on(server: ScriptedServer, running: Running, home: TempDir) -> Self {
        let (team, gateway) = (TeamId::new("t").unwrap(), GatewayId::new("g").unwrap());
        let client = server.client();
        let (mail, received) = mpsc::channel(4);
        let (outbox, seen) = watch::channel(Outbox::default());
        let reporter = Reporter::new(
            Jobs::new(client.rest(), team.clone(), gateway.clone()),
            Runs::new(&client, team, gateway),
            running.journal.clone(),
            outbox,
        );
        let mut running_reporter = JoinSet::new();
        running_reporter.spawn(reporter.run(received));
        Self {
            server,
            running,
            mail,
            outbox: seen,
            _reporter: running_reporter,
            _home: home,
        }
    }

    /// A result that is in the journal, or in memory with its claim in the journal.
    async fn ends(&self, id: &JobId, journalled: bool) {
        let (journal, end) = (&self.running.journal, (outcome(noise(100)), timeline()));
        journal.claimed(&claim(id)).await.unwrap();
        if journalled {
            journal.finished(id, &end.0, &end.1).await.unwrap();
        }
        self.sends(id, (!journalled).then(|| Arc::new(end))).await;
    }

    async fn sends(
        &self,
        id: &JobId,
        fresh: Option<Arc<(gateway::domain::job::JobOutcome, gateway::domain::job::Timeline)>>,
    ) {
        let finished = Finished {
            id: id.clone(),
            journalled: fresh.is_none(),
            fresh,
        };
        self.mail.send(Mail::Finished(finished)).await.unwrap();
    }

    async fn is_reported(&self, id: &JobId) {
        eventually("the note in the journal", || async {
            (self.running.journal.outcome(id).await.unwrap() == Known::Reported).then_some(())
        })
        .await;
    }

    /// Once so many results are set aside: why the latest is.
    async fn set_aside(&self, results: u64) -> String {
        eventually("results that are set aside", || async {
            self.mail.send(Mail::Nudge).await.unwrap();
            let aside = self.outbox.borrow().set_aside.clone()?;
            (aside.results == results).then_some(aside.reason)
        })
        .await
    }
}

fn applied() -> Reply {
    Reply::Json(200, json!([{"id": "x", "status": "completed"}]))
}

fn nothing() -> Reply {
    Reply::Json(200, json!([]))
}

#[tokio::test]
async fn a_row_that_is_hidden_for_a_moment_gets_its_result() {
    let bench = Bench::new(ScriptedServer::replies([nothing(), nothing(), applied()]).await).await;
    bench.ends(&job(1), true).await;
    bench.is_reported(&job(1)).await;
    assert_eq!(bench.server.seen().len(), 3);
}

#[tokio::test]
async fn results_whose_row_is_gone_are_set_aside_whole_and_said_to_be() {
    let bench = Bench::new(ScriptedServer::start(|_| nothing()).await).await;
    bench.ends(&job(1), true).await;
    bench.ends(&job(2), false).await;
    let why = bench.set_aside(2).await;
    assert!(why.starts_with("the control plane has no row of this job"), "{why}");
    for name in 1..=2 {
        let (kept, _) = bench.running.journal.outcome(&job(name)).await.unwrap().end().unwrap();
        assert_eq!(kept, outcome(noise(100)));
    }
    eventually("an empty schedule", || async {
        (bench.outbox.borrow().unreported == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_result_that_was_sent_from_memory_closes_its_entry() {
    let bench = Bench::new(ScriptedServer::start(|_| applied()).await).await;
    bench.ends(&job(1), false).await;
    bench.is_reported(&job(1)).await;
}

#[tokio::test]
async fn a_stored_result_that_cannot_be_read_fails_its_row_and_is_set_aside() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let (home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    running
        .journal
        .finished(&job(1), &outcome(noise(9)), &timeline())
        .await
        .unwrap();
    running.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(paths.journal());
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("UPDATE entries SET outcome = '{', timeline = '['")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let bench = Bench::on(
        ScriptedServer::start(|_| applied()).await,
        Running::open(&dir).await,
        home,
    );
    let left = bench.running.journal.recover().await.unwrap().unreported;
    bench.sends(&left[0].job_id, None).await;
    let why = bench.set_aside(1).await;
    assert!(why.contains("malformed"), "{why}");
    let sent = bench.server.seen();
    let body: Value = sent[0].json();
    let error = body["error"].as_str().unwrap();
    assert!(error.starts_with("Gateway could not read the stored result"), "{error}");
    assert_eq!((sent.len(), &body["status"]), (1, &json!("failed")));
}

#[tokio::test]
async fn people_are_told_of_results_that_are_set_aside() {
    let host = Host::new().await;
    let running = Running::open(&OwnerDir::open_or_create(&host.paths().dir).unwrap()).await;
    running.journal.claimed(&claim(&job(1))).await.unwrap();
    running
        .journal
        .set_aside(&job(1), "refused in every form")
        .await
        .unwrap();
    running.close().await;
    let daemon = host.start_ready(&[]).await;
    let dir = host.paths().dir.display().to_string();
    let told = tokio::task::spawn_blocking(move || {
        let home = Home::new();
        let say = |args: &[&str]| home.gateway(&[args, &["--config-dir", &dir]].concat());
        (
            say(&["status"]).ok().stdout,
            say(&["status", "--json"]).ok().json(),
            say(&["doctor", "--validate", "light", "--json"]).json(),
        )
    });
    let (text, status, doctor) = told.await.unwrap();
    assert!(
        text.contains("Results set aside: 1 (the latest: refused in every form)"),
        "{text}"
    );
    assert!(text.contains("Next: gateway logs names the jobs"), "{text}");
    let aside = json!({"results": 1, "reason": "refused in every form"});
    assert_eq!(status["daemon"]["set_aside"], aside);
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["check"] == "Results set aside")
        .unwrap();
    assert_eq!(check["verdict"], "warning");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
