//! A turn of an agent at work, and the ways to end it early.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::eventually::{eventually, within};
use crate::support::process_list::with_variable;
use crate::support::stage::Stage;

/// From the request to the end of everything.
const FINAL_WITHIN: Duration = Duration::from_secs(6);

/// How a turn is ended early.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// By a job of its own.
    SubagentCancel,
    /// By Ctrl-C of who watches.
    Interrupt,
    /// By the operator's word about its job.
    JobCancel,
}

/// A turn at work.
pub(crate) struct AtWork {
    run: Child,
    job: Value,
}

impl AtWork {
    pub(crate) async fn start(stage: &Stage, words: &[&str]) -> Self {
        let before = stage.rows("subagent_runs", "").await.len();
        let run = stage.sandbox.start(&[&["run"], words].concat());
        eventually("the turn to be written", || async {
            (stage.rows("subagent_runs", "").await.len() > before).then_some(())
        })
        .await;
        let job = stage.job_at_work().await;
        Self { run, job }
    }

    /// Waits for something that only a turn at work does.
    pub(crate) async fn until(&self, stage: &Stage, what: &str, done: impl Fn() -> bool) {
        eventually(what, || async {
            let run = stage.row("subagent_runs", &self.job["payload"]["run_id"]).await;
            assert_eq!(run["status"], "running", "{what}: {run}");
            done().then_some(())
        })
        .await;
    }

    /// Asks for its end in one way.
    async fn cancel(&self, stage: &Stage, way: Way) {
        match way {
            Way::SubagentCancel => {
                let payload = json!({"subagent_id": self.job["payload"]["subagent_id"], "reason": "enough"});
                stage.submit("subagent_cancel", &payload).await.ok();
            }
            Way::Interrupt => {
                let pid = i32::try_from(self.run.id().unwrap()).unwrap();
                kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
            }
            Way::JobCancel => {
                stage
                    .sandbox
                    .run(&["job", "cancel", self.job["id"].as_str().unwrap()])
                    .await
                    .ok();
            }
        }
    }

    /// Whether rows and processes agree that it is over.
    async fn is_over(&self, stage: &Stage) -> bool {
        let run = stage.row("subagent_runs", &self.job["payload"]["run_id"]).await;
        let subagent = stage.row("subagents", &self.job["payload"]["subagent_id"]).await;
        let job = stage.row("gateway_jobs", &self.job["id"]).await;
        run["status"] == "cancelled"
            && subagent["status"] == "cancelled"
            && job["status"] != "running"
            && self.processes().is_empty()
    }

    /// Everything that was started for it.
    fn processes(&self) -> Vec<Pid> {
        with_variable(&format!("GATEWAY_JOB_ID={}", self.job["id"].as_str().unwrap()))
    }

    /// Cancels and sees it through to the end.
    pub(crate) async fn ends(mut self, stage: &Stage, way: Way) {
        self.cancel(stage, way).await;
        let what = format!("the end of a turn by {way:?}");
        within(FINAL_WITHIN, &what, || async {
            self.is_over(stage).await.then_some(())
        })
        .await;
        let (reason, code) = match way {
            Way::SubagentCancel => ("enough", 1),
            Way::Interrupt => ("Interrupted by the operator", 130),
            Way::JobCancel => ("Cancelled by the operator", 1),
        };
        assert_eq!(self.run.wait().await.unwrap().code(), Some(code), "{way:?}");
        let run = stage.row("subagent_runs", &self.job["payload"]["run_id"]).await;
        assert_eq!(run["error"], reason, "{way:?}");
        assert_eq!(run["metadata"]["cancel_state"], "acknowledged");
        let job = stage.row("gateway_jobs", &self.job["id"]).await;
        assert_eq!(job["status"], "completed", "{job}");
        self.events_are_in_order(stage, way).await;
    }

    async fn events_are_in_order(&self, stage: &Stage, way: Way) {
        let events = stage.events(&self.job["payload"]["run_id"]).await;
        let words: Vec<&str> = events.iter().map(|event| event.word.as_str()).collect();
        assert_eq!(words.first(), Some(&"run_started"), "{words:?}");
        assert!(
            words.ends_with(&["cancellation_acknowledged", "run_cancelled"]),
            "{way:?}: {words:?}"
        );
        let asked = words.iter().filter(|word| **word == "cancellation_requested").count();
        assert_eq!(asked, 1, "{way:?}: {words:?}");
    }
}
