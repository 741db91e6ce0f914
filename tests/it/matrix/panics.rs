//! X28: a panic isolates what panicked, or ends the daemon; nothing goes on half dead.

use std::sync::Arc;
use std::time::Duration;

use gateway::job::handler::InstallSwitch;
use gateway::runtime::ingress::{Order, Report};
use gateway::runtime::local_socket::Asked;
use gateway::runtime::signals::Signals;
use gateway::runtime::supervisor::{About, Lines, Supervisor, WorkEnd};
use gateway::runtime::tasks::{OnError, Task, Tasks};
use gateway::wire::heartbeat::WireStatus;
use gateway::wire::local::{LocalRequest, StopHow};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::eventually::PATIENCE;

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

#[tokio::test]
async fn x28_a_needed_task_that_panics_ends_the_daemon_and_any_other_does_not() {
    for task in ALL {
        let (supervisor, asking) = supervisor();
        let mut tasks = Tasks::default();
        tasks.spawn(task, async { panic!("by the test") });
        let mut signals = Signals::listen().unwrap();
        let run = supervisor.run(&mut tasks, &mut signals);
        let needed = task.policy().0 == OnError::StopGateway;
        // Whoever is not needed is not missed: the rest answers, and ends when it is told to.
        let ask = async {
            if !needed {
                ask(&asking, LocalRequest::Status).await;
                ask(&asking, LocalRequest::Stop { how: StopHow::Now }).await;
            }
        };
        let ended = timeout(PATIENCE, async { tokio::join!(run, ask) }).await;
        let ((end, _), ()) = ended.expect("it ends");
        let fault = WorkEnd::Fault(format!("the task {task:?} ended unexpectedly"));
        let stopped = WorkEnd::Stopped { cancelled: false };
        assert_eq!(end, if needed { fault } else { stopped });
    }
}
