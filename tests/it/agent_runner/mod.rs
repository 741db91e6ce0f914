//! The runner of agents with CLIs that behave and CLIs that do not.

mod bounds;
#[cfg(target_os = "linux")]
mod cancel;
mod reading;
mod retries;
mod sessions;
mod temp;

use std::path::Path;
use std::sync::Arc;

use gateway::domain::run::FailureKind;
use gateway::job::agent::{Agents, Report, Turn};
use gateway::provider::request::Session;
use gateway::state::fs::OwnerDir;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::eventually::PATIENCE;
use crate::support::fake_agent::{FakeDriver, Heard, script, turn};

/// A state directory with a runner.
struct Bench {
    home: TempDir,
    driver: Arc<FakeDriver>,
    agents: Agents,
}

impl Bench {
    fn new(driver: FakeDriver) -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let driver = Arc::new(driver);
        Self {
            agents: Agents::new(&state, Arc::clone(&driver) as _).unwrap(),
            home,
            driver,
        }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn turn(&self, body: &str) -> Turn {
        let mark = uuid::Uuid::new_v4().to_string();
        turn(script(self.path(), body), &mark)
    }

    async fn run(&self, turn: &Turn) -> (Report, Heard) {
        let mut heard = Heard::default();
        let stop = heard.stop.clone();
        let report = timeout(PATIENCE, self.agents.run(turn, &stop, &mut heard))
            .await
            .expect("the run must end");
        let left = std::fs::read_dir(self.path().join("state/work/runs")).unwrap().count();
        assert_eq!(left, 0, "a run leaves no directory");
        (report, heard)
    }

    /// Two turns of one session at the same time; what the first one hears may stop both.
    async fn both(&self, body: &str) -> [(Report, Heard); 2] {
        let mut first = self.turn(body);
        first.request.session = Session::Resume("s".to_owned());
        let mut second = first.clone();
        second.place[1] = "other".to_owned();
        let (mut one, mut two) = (Heard::default(), Heard::default());
        let stop = one.stop.clone();
        let both = Box::pin(async {
            tokio::join!(
                self.agents.run(&first, &stop, &mut one),
                self.agents.run(&second, &stop, &mut two)
            )
        });
        let (first, second) = timeout(PATIENCE, both).await.expect("both must end");
        [(first, one), (second, two)]
    }

    fn notes(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn text(report: &Report) -> &str {
    &report.answer.as_ref().unwrap().text
}

fn failure(report: &Report) -> (FailureKind, &str) {
    let failure = report.answer.as_ref().unwrap_err();
    (failure.kind, failure.message.as_str())
}
