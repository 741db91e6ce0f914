//! Push, poll, neither: every way a job can reach a daemon, and what `job show` says of it.

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::sandbox::Sandbox;

/// Ends the daemon alone; the control plane goes on.
async fn stop_daemon(sandbox: &Sandbox) {
    kill(sandbox.daemon_pid().await, Signal::SIGTERM).unwrap();
    eventually("the daemon ended", || async {
        let status = sandbox.json(&["status", "--json"]).await;
        (status["running"] == false).then_some(())
    })
    .await;
}

async fn ingress_of_last_job(sandbox: &Sandbox) -> String {
    let jobs = sandbox.json(&["job", "list", "--json"]).await;
    let id = jobs[0]["id"].as_str().unwrap();
    let text = sandbox.run(&["job", "show", id]).await.ok().stdout;
    let shown = sandbox.json(&["job", "show", id, "--json"]).await;
    let ingress = shown["debug"]["ingress"]
        .as_str()
        .unwrap_or_else(|| panic!("{shown}"))
        .to_owned();
    assert!(text.contains(&ingress), "{text}");
    ingress
}

#[tokio::test]
async fn without_a_daemon_nobody_takes_the_job() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    stop_daemon(&sandbox).await;
    let said = sandbox.run(&["exec", "--", "true"]).await.exits(5);
    assert!(
        said.stderr.to_lowercase().contains("no gateway took the job"),
        "{}",
        said.stderr
    );
    let jobs = sandbox.json(&["job", "list", "--json"]).await;
    assert_eq!(jobs[0]["status"], "cancelled", "an abandoned job must not run later");
}

#[tokio::test]
async fn with_polling_off_jobs_arrive_by_push() {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PANORAMA_GATEWAY_TEST_POLLING", "off");
    sandbox.up().await;
    sandbox.run(&["exec", "--", "true"]).await.ok();
    assert_eq!(ingress_of_last_job(&sandbox).await, "push");
}

#[tokio::test]
async fn with_realtime_off_jobs_arrive_by_poll() {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PANORAMA_GATEWAY_TEST_REALTIME", "off");
    sandbox.up().await;
    sandbox.run(&["exec", "--", "true"]).await.ok();
    assert_eq!(ingress_of_last_job(&sandbox).await, "poll");
}

#[tokio::test]
async fn a_job_cancelled_while_only_polling_ends_with_its_tree() {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("PANORAMA_GATEWAY_TEST_REALTIME", "off");
    sandbox.up().await;
    let mut watching = sandbox.start(&["exec", "--", "sleep 5432 & sleep 5432"]);
    let job = sandbox.running_job().await;
    sandbox.run(&["job", "cancel", &job]).await.ok();
    assert!(!watching.wait().await.unwrap().success());
    eventually("the tree is gone", || async { (!sandbox.runs("5432")).then_some(()) }).await;
}

#[tokio::test]
async fn a_result_that_was_not_reported_arrives_after_kill_and_restart() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let daemon = sandbox.daemon_pid().await;
    let plane = std::fs::read(sandbox.state_dir().join("control-plane/address.json")).unwrap();
    let plane: Value = serde_json::from_slice(&plane).unwrap();
    let plane = nix::unistd::Pid::from_raw(i32::try_from(plane["pid"].as_i64().unwrap()).unwrap());
    let done = sandbox.home().join("done");
    let command = format!(
        "touch {0}/begun; while [ ! -e {0}/go ]; do sleep 0.05; done; echo real-result; touch {1}",
        sandbox.home().display(),
        done.display()
    );
    let mut watching = sandbox.start(&["exec", "--", &command]);
    let job = sandbox.running_job().await;
    // The row says so while the daemon still waits for the answer.
    let begun = sandbox.home().join("begun");
    eventually("the command to begin", || async { begun.exists().then_some(()) }).await;
    // The control plane is frozen, so the result cannot be reported; then the daemon dies without a word.
    kill(plane, Signal::SIGSTOP).unwrap();
    std::fs::File::create_new(sandbox.home().join("go")).unwrap();
    eventually("the result is journalled", || async {
        let status = sandbox.json(&["status", "--json"]).await;
        (status["daemon"]["unreported_results"] == 1).then_some(())
    })
    .await;
    kill(daemon, Signal::SIGKILL).unwrap();
    kill(plane, Signal::SIGCONT).unwrap();
    sandbox.run(&["start"]).await.ok();
    let shown = eventually("the result arrived", || async {
        let shown = sandbox.json(&["job", "show", &job, "--json"]).await;
        (shown["status"] == "completed").then_some(shown)
    })
    .await;
    assert_eq!(shown["result"]["stdout"], "real-result\n");
    assert!(watching.wait().await.unwrap().success());
}
