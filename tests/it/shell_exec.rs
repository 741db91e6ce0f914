//! `shell_exec` jobs with real shells: what they may, what they say, how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use gateway::backend::http::install_crypto;
use gateway::backend::{Auth, Client, Endpoint, Http};
use gateway::domain::clock;
use gateway::domain::escape::{json_chunks, json_len};
use gateway::domain::job::{Job, JobOutcome, JobStatus};
use gateway::domain::secret::Secret;
use gateway::job::handler::{Context, ControlFacts, JobLife, StopReason, shell_exec};
use gateway::process::env::ChildEnv;
use gateway::process::identity::alive;
use gateway::provider::Providers;
use gateway::provider::discovery::Places;
use gateway::provider::probe::Prober;
use gateway::wire::job_row;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::fake_agent::{self, FakeDriver};
use crate::support::handler::{self, Parts};

pub(crate) fn environment() -> ChildEnv {
    let given = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/"),
        ("MY_AGENT_KEY", "kept"),
        ("FROM_FILE", "gone"),
        ("PANORAMA_GATEWAY_X", "gone"),
        ("SUPABASE_SERVICE_ROLE_KEY", "gone"),
    ];
    let given = given.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    ChildEnv::for_user(given, &BTreeSet::from(["FROM_FILE".to_owned()]), Path::new("/tmp/job"))
}

/// Nothing listens there: the handler needs the backend for its clock only.
pub(crate) fn context(host_enabled: bool) -> Context {
    install_crypto();
    let endpoint = Endpoint::new("http://127.0.0.1:9", Secret::new("anon")).unwrap();
    let client = Client::new(Http::new(endpoint).unwrap(), Auth::fixed(Secret::new("token")));
    context_with(&client, host_enabled)
}

/// The same with somebody who answers.
pub(crate) fn context_with(client: &Client, host_enabled: bool) -> Context {
    let home = tempfile::tempdir().unwrap();
    handler::context(Parts {
        client,
        ids: ("t", "g"),
        host_enabled,
        child_env: environment(),
        providers: Providers::new(
            Prober::new(Places::only(Vec::new()), BTreeMap::new(), environment()),
            tokio::sync::watch::Sender::default(),
        ),
        agents: fake_agent::agents(home.path(), FakeDriver::default()),
        state: home.path(),
    })
}

/// Everything allowed.
pub(crate) fn facts() -> ControlFacts {
    let ready = json!({"ready": true});
    ControlFacts {
        gateway: Ok(Some(json!({
            "full_control_enabled": true, "last_seen_at": clock::wire_time(clock::now()), "vm_id": null,
            "capabilities": {
                "schema_version": "v1", "providers": {}, "hosts": {},
                "services": {"model_execution": ready, "remote_shell": ready, "machine_control": ready},
                "runtime": {"platform": "linux", "arch": "x64", "node_version": "none"}
            }
        }))),
        resource: Ok(Some(json!({
            "id": "r", "team_id": "t", "resource_type": "remote_shell", "max_access_level": "editor",
            "metadata": {"gateway_id": "g", "full_control": true}
        }))),
    }
}

fn job(command: &str, timeout_ms: u64) -> Job {
    let row = json!({
        "id": uuid::Uuid::new_v4(), "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "shell_exec",
        "payload": {"resource_id": "r", "command": command, "timeout_ms": timeout_ms},
        "created_at": "c", "updated_at": "u"
    });
    job_row::decode(&row).unwrap()
}

fn life() -> JobLife {
    JobLife::default().with_control(facts())
}

async fn run_with(command: &str, timeout_ms: u64, life: &JobLife) -> JobOutcome {
    let (job, cx) = (job(command, timeout_ms), context(true));
    timeout(PATIENCE, shell_exec::run(&job, &cx, life))
        .await
        .expect("the job must end")
}

/// The result column as the backend gets it.
pub(crate) fn sent(outcome: &JobOutcome) -> Value {
    let result = Arc::new(outcome.result().clone());
    let bytes = json_chunks(Arc::clone(&result)).collect::<Vec<_>>().concat();
    assert_eq!(bytes.len() as u64, json_len(&result));
    serde_json::from_slice(&bytes).unwrap()
}

async fn run(command: &str) -> Value {
    let outcome = run_with(command, 60_000, &life()).await;
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Completed, None));
    sent(&outcome)
}

fn pids(result: &Value) -> Vec<u32> {
    result["stdout"]
        .as_str()
        .unwrap()
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_good_command_has_every_key() {
    let mut result = run("pwd; echo oops >&2").await;
    assert!(["/bin/bash", "/bin/sh"].contains(&result["shell"].as_str().unwrap()));
    let taken = |result: &mut Value, key: &str| result.as_object_mut().unwrap().remove(key).unwrap();
    assert!(taken(&mut result, "duration_ms").is_u64() && taken(&mut result, "shell").is_string());
    assert_eq!(
        result,
        json!({
            "message": "Remote shell command completed", "resource_id": "r", "command": "pwd; echo oops >&2",
            "cwd": "/", "exit_code": 0, "signal": null, "timeout_ms": 60000, "timeout_clamped": false,
            "timed_out": false, "success": true, "stdout_truncated": false, "stderr_truncated": false,
            "output_truncated": false, "stdout_escaped": false, "stderr_escaped": false, "output_escaped": false,
            "pipes_held_open": false, "error": null, "exec_user": null, "workload_id": null, "cgroup": null,
            "cgroup_termination_error": null, "process_tree_contained": false, "readiness_evidence": null,
            "stdout": "/\n", "stderr": "oops\n"
        })
    );
}

#[tokio::test]
async fn a_bad_exit_is_still_a_completed_job() {
    let result = run("exit 7").await;
    assert_eq!((&result["exit_code"], &result["success"]), (&json!(7), &json!(false)));
    assert_eq!(
        result["message"],
        "Remote shell command completed with a non-zero exit status"
    );
    let result = run("kill -9 $$").await;
    assert_eq!((&result["exit_code"], &result["signal"]), (&json!(null), &json!(9)));
}

#[tokio::test]
async fn a_timeout_leaves_no_survivor() {
    let outcome = run_with("sleep 300 & echo $! $$; sleep 300", 1000, &life()).await;
    let result = sent(&outcome);
    assert_eq!(outcome.status(), JobStatus::Completed);
    assert_eq!(result["message"], "Remote shell command timed out");
    assert_eq!(
        (&result["timed_out"], &result["success"]),
        (&json!(true), &json!(false))
    );
    assert!(pids(&result).into_iter().all(|pid| !alive(pid, None)));
    assert!(result["duration_ms"].as_u64().unwrap() >= 1000);
}

#[tokio::test]
async fn background_work_outlives_its_job() {
    let result = run("sleep 300 & echo $!").await;
    let background = pids(&result)[0];
    let survives = alive(background, None);
    kill(background);
    assert!(survives);
    assert_eq!(
        (&result["success"], &result["pipes_held_open"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test]
async fn children_see_the_users_environment_without_ours() {
    let said = run("env").await;
    let said = said["stdout"].as_str().unwrap();
    for kept in ["MY_AGENT_KEY=kept", "TMPDIR=/tmp/job", "TMP=/tmp/job", "TEMP=/tmp/job"] {
        assert!(said.lines().any(|line| line == kept), "{kept} in {said}");
    }
    assert!(!said.contains("=gone"), "{said}");
}

#[tokio::test]
async fn output_of_any_bytes_is_sent_as_text_with_flags() {
    let result = run("printf 'a\\000b\\377'; printf 'ü' >&2").await;
    assert_eq!(
        (&result["stdout"], &result["stderr"]),
        (&json!("a\\0b\\xff"), &json!("ü"))
    );
    assert_eq!(
        (&result["stdout_escaped"], &result["stderr_escaped"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(result["output_escaped"], true);
}

#[tokio::test]
async fn what_cannot_start_is_completed_with_the_reason() {
    for (command, reason) in [
        ("echo \0".to_owned(), "contains a NUL byte"),
        ("x".repeat(200_000), "E2BIG"),
    ] {
        let result = run(&command).await;
        assert_eq!(result["message"], "Remote shell command failed to start");
        assert!(
            result["error"].as_str().unwrap().contains(reason),
            "{}",
            result["error"]
        );
        assert_eq!(
            (&result["success"], &result["exit_code"]),
            (&json!(false), &json!(null))
        );
    }
}

#[tokio::test]
async fn a_host_that_says_no_runs_nothing() {
    let mark = tempfile::tempdir().unwrap();
    let job = job(&format!("touch {}/ran", mark.path().display()), 60_000);
    let outcome = shell_exec::run(&job, &context(false), &life()).await;
    let text = "Gateway host machine control is disabled. Run \"gateway full-control enable\" on the host.";
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Failed, Some(text)));
    assert_eq!(sent(&outcome), json!({"message": text}));
    assert!(!mark.path().join("ran").exists());
}

#[tokio::test]
async fn unknown_facts_are_a_refusal() {
    let outcome = run_with("true", 60_000, &JobLife::default()).await;
    assert_eq!(outcome.error(), Some("Gateway control state unavailable"));
}

#[tokio::test]
async fn a_job_cancelled_before_it_began_never_runs() {
    let life = life();
    life.end(StopReason::Cancelled);
    let outcome = run_with("true", 60_000, &life).await;
    assert_eq!(
        outcome.error(),
        Some("Gateway remote shell exec job was cancelled before execution")
    );
    assert_eq!(outcome.result().fields["cancelled"], true);
}

/// Starts a command with a background member, ends the job as soon as it has said so, and awaits the outcome.
async fn end_running(why: StopReason) -> (JobOutcome, Vec<u32>) {
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("pids");
    let command = format!(
        "sleep 300 & echo $! $$ > {0}.new; mv {0}.new {0}; echo begun; sleep 300",
        said.display()
    );
    let life = life();
    let ended = async {
        let pids = eventually("the command to begin", || {
            std::future::ready(std::fs::read_to_string(&said).ok())
        })
        .await;
        assert!(
            life.process()
                .borrow()
                .is_some_and(|process| alive(process.pid, process.start_ticks))
        );
        life.end(why);
        pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    tokio::join!(run_with(&command, 600_000, &life), ended)
}

#[tokio::test]
async fn a_cancelled_job_ends_with_its_tree() {
    let (outcome, pids) = end_running(StopReason::Cancelled).await;
    assert_eq!(outcome.status(), JobStatus::Cancelled);
    assert_eq!(pids.into_iter().filter(|pid| alive(*pid, None)).count(), 0);
}

#[tokio::test]
async fn a_shutdown_keeps_what_the_command_had_said() {
    let why = "Gateway shutting down (SIGTERM)";
    let (outcome, pids) = end_running(StopReason::Shutdown(why.to_owned())).await;
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Cancelled, Some(why)));
    let result = sent(&outcome);
    assert_eq!((&result["message"], &result["cancelled"]), (&json!(why), &json!(true)));
    assert_eq!(pids.into_iter().filter(|pid| alive(*pid, None)).count(), 0);
}

/// What needs `/proc`, or limits that Linux applies at once.
#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use gateway::domain::job::JobResult;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;
    use crate::support::alone::{alone, peak_rss_kb};

    #[tokio::test]
    async fn a_hundred_megabytes_both_ways_are_sent_from_little_memory() {
        if !alone("shell_exec::linux::a_hundred_megabytes_both_ways_are_sent_from_little_memory").await {
            return;
        }
        let (job, cx, life) = (
            job("head -c 100000000 /dev/zero | tee /dev/stderr", 60_000),
            context(true),
            life(),
        );
        let before = peak_rss_kb();
        let outcome = shell_exec::run(&job, &cx, &life).await;
        let (JobOutcome::Completed { result }
        | JobOutcome::Failed { result, .. }
        | JobOutcome::Cancelled { result, .. }) = outcome;
        for flag in [
            "success",
            "stdout_truncated",
            "stderr_truncated",
            "stdout_escaped",
            "stderr_escaped",
        ] {
            assert_eq!(result.fields[flag], true, "{flag}");
        }
        assert_eq!(sent_length(result), 2 * 3 * 5_000_000);
        let growth = peak_rss_kb() - before;
        // Two streams of 5,000 kB, once more while the allocator moves them, and the code that is paged in meanwhile.
        // One copy with its escapes would be 30,000 kB more.
        assert!(growth < 30_000, "grew by {growth} kB");
    }

    /// Length of the output in the streamed result, every chunk dropped after it was made.
    fn sent_length(result: JobResult) -> usize {
        let small = JobResult {
            fields: result.fields.clone(),
            raw: Vec::new(),
            run: None,
        };
        let around = json_len(&small) + r#","stdout":"","stderr":"""#.len() as u64;
        let total: usize = json_chunks(Arc::new(result)).map(|chunk| chunk.len()).sum();
        total - usize::try_from(around).unwrap()
    }

    #[tokio::test]
    async fn a_shortage_of_descriptors_is_waited_out() {
        if !alone("shell_exec::linux::a_shortage_of_descriptors_is_waited_out").await {
            return;
        }
        let (job, cx, life) = (job("echo hi", 20_000), context(true), life());
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let mut hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let outcome = tokio::join!(biased; shell_exec::run(&job, &cx, &life), async {
            assert!(life.process().borrow().is_none(), "no descriptor is left to start with");
            timeout(Duration::from_millis(150), life.process().changed()).await.unwrap_err();
            hoard.clear();
        });
        assert_eq!(sent(&outcome.0)["stdout"], "hi\n");
    }
}
