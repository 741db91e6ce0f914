//! X28: a panic of a task ends the daemon, one in a job fails the job; nothing goes on half dead.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway::domain::job::JobStatus;
use gateway::job::handler::{InstallSwitch, JobLife};
use gateway::job::queue::Waiting;
use gateway::job::report::Mail;
use gateway::job::worker::{Worked, Worker};
use gateway::runtime::ingress::{Order, Report};
use gateway::runtime::local_socket::Asked;
use gateway::runtime::signals::Signals;
use gateway::runtime::supervisor::{About, Lines, Supervisor, WorkEnd};
use gateway::runtime::tasks::{OnEnd, Task, Tasks};
use gateway::state::fs::OwnerDir;
use gateway::wire::heartbeat::WireStatus;
use gateway::wire::job_row;
use gateway::wire::local::{LocalRequest, StopHow};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::journal::{Running, timeline};
use crate::shell_exec::context_with;
use crate::support::eventually::PATIENCE;
use crate::support::scripted_server::{Reply, ScriptedServer};
use crate::support::state_dir::home;

const ALL: [Task; 12] = [
    Task::Ingress,
    Task::Reporter,
    Task::Journal,
    Task::Heartbeat,
    Task::Probes,
    Task::LocalSocket,
    Task::Session,
    Task::Place,
    Task::Events,
    Task::Orphans,
    Task::Sweeper,
    Task::Shells,
];

/// A supervisor, and whoever asks it.
fn supervisor() -> (Supervisor, mpsc::Sender<Asked>) {
    let about = About {
        backend_url: String::new(),
        gateway_id: String::new(),
        team_id: String::new(),
        device_name: String::new(),
        began: Instant::now(),
    };
    let (asking, asked) = mpsc::channel(1);
    let lines = Lines {
        notes: mpsc::channel(1).1,
        ingress: watch::channel(Report::default()).1,
        outbox: watch::Sender::default().subscribe(),
        asked,
        orders: listened_to::<Order>(),
        reports: listened_to(),
        status: watch::channel(WireStatus::Ready).0,
        hurry: Arc::new(Notify::new()),
        first_beat: CancellationToken::new(),
        install: InstallSwitch::new(|| true),
    };
    (Supervisor::new(about, lines, Duration::ZERO), asking)
}

/// A sender whose receiver hears everything.
fn listened_to<T: Send + 'static>() -> mpsc::Sender<T> {
    let (sender, mut receiver) = mpsc::channel(16);
    std::thread::spawn(move || while receiver.blocking_recv().is_some() {});
    sender
}

async fn ask(asking: &mpsc::Sender<Asked>, request: LocalRequest) {
    let (answer, answered) = oneshot::channel();
    asking.send(Asked { request, answer }).await.unwrap();
    answered.await.unwrap();
}

/// How a daemon ends that has this task, and whom nobody tells to stop.
async fn end_of_a_daemon_with(task: Task, work: impl Future<Output = ()> + Send + 'static) -> WorkEnd {
    let (supervisor, _asking) = supervisor();
    let mut tasks = Tasks::default();
    tasks.spawn(task, work);
    let mut signals = Signals::listen().unwrap();
    let run = supervisor.run(&mut tasks, &mut signals);
    timeout(PATIENCE, run).await.expect("it ends").0
}

#[tokio::test]
async fn x28_any_task_that_panics_ends_the_daemon_with_a_report() {
    for task in ALL {
        let end = end_of_a_daemon_with(task, async { panic!("by the test") }).await;
        assert_eq!(end, WorkEnd::Fault(format!("the task {task:?} panicked")));
    }
}

#[tokio::test]
async fn x28_a_needed_task_that_ends_ends_the_daemon_and_any_other_does_not() {
    for task in ALL {
        if task.policy().0 == OnEnd::StopGateway {
            let end = end_of_a_daemon_with(task, async {}).await;
            assert_eq!(end, WorkEnd::Fault(format!("the task {task:?} ended unexpectedly")));
            continue;
        }
        let (supervisor, asking) = supervisor();
        let mut tasks = Tasks::default();
        tasks.spawn(task, async {});
        let mut signals = Signals::listen().unwrap();
        let run = supervisor.run(&mut tasks, &mut signals);
        // Whoever is not needed is not missed: the rest answers, and ends when it is told to.
        let ask = async {
            ask(&asking, LocalRequest::Status).await;
            ask(&asking, LocalRequest::Stop { how: StopHow::Now }).await;
        };
        let ended = timeout(PATIENCE, async { tokio::join!(run, ask) }).await;
        let ((end, _), ()) = ended.expect("it ends");
        assert_eq!(end, WorkEnd::Stopped { cancelled: false });
    }
}

/// A log that panics, once, at a message: the one place of the worker's own steps that a test can reach.
struct PanicsAt(&'static str, AtomicBool);

impl<S: Subscriber> Layer<S> for PanicsAt {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let mut said = false;
        event.record(&mut |field: &Field, value: &dyn Debug| {
            said |= field.name() == "message" && format!("{value:?}") == self.0;
        });
        let due = said && !self.1.swap(true, Ordering::Relaxed);
        assert!(!due, "by the test");
    }
}

/// A job that nobody knows how to do.
fn row() -> Value {
    json!({
        "id": "j", "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "time_travel", "payload": {},
        "created_at": "c", "updated_at": "u"
    })
}

/// What comes of a job when its claim is answered so and the worker panics where it says that.
async fn work_that_panics_at(message: &'static str, claim: Reply) -> (Worked, mpsc::Receiver<Mail>) {
    let server = ScriptedServer::start(move |_| claim.clone()).await;
    let (_home, paths) = home();
    let running = Running::open(&OwnerDir::open_or_create(&paths.dir).unwrap()).await;
    let (reports, mail) = mpsc::channel(4);
    let worker = Worker::new(context_with(&server.client(), true), running.journal.clone(), reports);
    let waiting = Waiting {
        job: job_row::decode(&row()).unwrap(),
        timeline: timeline(),
        bytes: 0,
    };
    let log = tracing_subscriber::registry().with(PanicsAt(message, AtomicBool::new(false)));
    let _default = tracing::subscriber::set_default(log);
    (worker.work(waiting, JobLife::default()).await, mail)
}

#[tokio::test]
async fn x28_a_claimed_job_whose_worker_panics_is_failed_with_the_reason() {
    for step in ["Processing gateway job", "Gateway job ended"] {
        let (worked, mut mail) = work_that_panics_at(step, Reply::Json(200, json!([row()]))).await;
        assert_eq!(worked, Worked::Finished, "{step}");
        let Some(Mail::Finished(finished)) = mail.recv().await else {
            panic!("nothing was reported of a panic at {step}");
        };
        let (outcome, timeline) = &*finished.fresh.unwrap();
        assert_eq!(
            (outcome.status(), outcome.error()),
            (JobStatus::Failed, Some("by the test")),
            "{step}"
        );
        assert!(timeline.claimed_at.is_some() && finished.journalled, "{step}");
        assert!(mail.recv().await.is_none(), "{step}");
    }
}

#[tokio::test]
async fn x28_a_job_that_was_not_claimed_when_its_worker_panicked_is_left_alone() {
    let no = Reply::Json(403, json!({"code": "42501", "message": "no"}));
    let (worked, mut mail) = work_that_panics_at("Failed to claim gateway job", no).await;
    assert_eq!(worked, Worked::Broken("by the test".to_owned()));
    assert!(mail.recv().await.is_none());
}
