//! `model_run` jobs with scripted agents: what is asked, what is answered, what is told about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway::domain::clock;
use gateway::domain::ids::JobId;
use gateway::domain::job::{Job, JobOutcome, JobStatus};
use gateway::job::handler::{Context, JobLife, StopReason, model_run};
use gateway::process::env::ChildEnv;
use gateway::provider::capability::{Features, Finding};
use gateway::provider::discovery::Places;
use gateway::provider::document::Picture;
use gateway::provider::health::{Verdict, Witness};
use gateway::provider::plan::Format;
use gateway::provider::probe::Prober;
use gateway::provider::{ProviderId, Providers};
use gateway::wire::heartbeat::HealthStatus;
use gateway::wire::job_row;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::fake_agent::{self, FakeDriver, script};
use crate::support::handler::{Parts, context};
use crate::support::scripted_server::{Reply, ScriptedServer};

const CODEX: ProviderId = ProviderId::Codex;

/// A gateway's half of a job, before a control plane that writes everything down.
struct Bench {
    home: TempDir,
    server: ScriptedServer,
    cx: Context,
    /// Unique: what a job leaves behind is found by it.
    id: String,
}

impl Bench {
    async fn new(body: &str, driver: FakeDriver) -> Self {
        let home = tempfile::tempdir().unwrap();
        let command = script(home.path(), body);
        let server = ScriptedServer::start(|_| Reply::Json(200, json!([]))).await;
        let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]);
        let prober = Prober::new(
            Places::only(Vec::new()),
            BTreeMap::from([(CODEX, command.clone())]),
            env.clone(),
        );
        let mut picture = Picture::default();
        for provider in ProviderId::ALL {
            let missing = Finding::unavailable(provider.program(), "spawn agent ENOENT");
            picture.see(provider, missing, clock::now());
        }
        let finding = Finding {
            command,
            version: Ok("1.2.3".to_owned()),
            features: Features::default(),
        };
        picture.see(CODEX, finding, clock::now());
        let client = server.client();
        let cx = context(Parts {
            client: &client,
            ids: ("t", "g"),
            host_enabled: false,
            child_env: env,
            providers: Providers::new(prober, watch::Sender::new(Arc::new(picture))),
            agents: fake_agent::agents(home.path(), driver),
            state: home.path(),
        });
        Self {
            home,
            server,
            cx,
            id: uuid::Uuid::new_v4().to_string(),
        }
    }

    async fn run(&self, payload: &Value) -> (JobOutcome, JobLife) {
        let life = JobLife::default();
        let job = self.job(payload);
        let outcome = timeout(PATIENCE, model_run::run(&job, &self.cx, &life)).await.unwrap();
        (outcome, life)
    }

    fn job(&self, payload: &Value) -> Job {
        let row = json!({
            "id": self.id, "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "model_run",
            "payload": payload, "created_at": "c", "updated_at": "u"
        });
        job_row::decode(&row).unwrap()
    }

    fn witness(&self) -> Witness {
        Witness {
            context: "model_run",
            job_id: JobId::new(self.id.as_str()).unwrap(),
            run_id: None,
        }
    }

    fn health(&self) -> HealthStatus {
        self.cx.providers.picture().block(CODEX).health.unwrap().status
    }

    /// Bodies sent to a table.
    fn sent(&self, method: &str, table: &str) -> Vec<Value> {
        let target = format!("/rest/v1/{table}");
        let seen = self.server.seen().into_iter();
        seen.filter(|seen| seen.method == method && seen.target.starts_with(&target))
            .map(|seen| seen.json())
            .collect()
    }
}

fn text(prompt: &str) -> Value {
    json!({"prompt": prompt, "model": "gpt-5", "output_format": "text"})
}

fn result(outcome: &JobOutcome) -> Value {
    Value::Object(outcome.result().fields.clone())
}

#[tokio::test]
async fn an_answer_in_json_has_every_member() {
    let body = r#"cat >"${0%/*}/prompt"
        echo '{"text":"working"}'; echo warn >&2
        echo '{"answer":"Here: {\"n\":1}","model":"gpt-5","usage":{"in":3},"cost":0.25}'"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    let payload = json!({"prompt": "-- count\n", "model": "gpt-5", "json_schema": {"needs": "n"}, "timeout_ms": 5e9});
    let (outcome, life) = bench.run(&payload).await;
    let mut result = result(&outcome);
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Completed, None),
        "{result}"
    );
    let command = result["command"].as_str().unwrap().to_owned();
    assert!(
        command.contains("--plan ") && command.ends_with("--api-key [REDACTED]"),
        "{command}"
    );
    assert!(result["duration_ms"].is_u64());
    for name in ["command", "duration_ms", "raw"] {
        result.as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(
        result,
        json!({
            "output": {"n": 1}, "usage": {"in": 3}, "model": "gpt-5", "cost_usd": 0.25, "exit_code": 0,
            "stdout_truncated": false, "stderr_truncated": false, "provider": "codex", "timeout_ms": 1_800_000,
            "timeout_clamped": true, "retry_count": 0
        })
    );
    assert_eq!(
        std::fs::read_to_string(bench.home.path().join("prompt")).unwrap(),
        "-- count\n"
    );
    let before = &bench.sent("PATCH", &format!("gateway_jobs?id=eq.{}", bench.id))[0]["debug"];
    assert_eq!(
        (&before["provider_id"], &before["prompt_chars"]),
        (&json!("codex"), &json!(9))
    );
    assert_eq!(
        (&before["json_schema_chars"], &before["output_mode"]),
        (&json!(13), &json!("stream-json"))
    );
    assert!(
        before["files"][0]
            .as_str()
            .unwrap()
            .ends_with(&format!("/model-runs/{}/files/plan.json", bench.id))
    );
    let after = Value::Object(life.take_notes());
    assert_eq!(
        (&after["stderr"], &after["stderr_bytes"]),
        (&json!("warn\n"), &json!(5))
    );
    assert!(after["stdout"].as_str().unwrap().contains("working") && after["timed_out"] == json!(false));
    let allowed = "provider_id command args command_line work_dir prompt_chars json_schema_chars timeout_ms output_mode \
        output_path files stdout stdout_truncated stdout_bytes stderr stderr_truncated stderr_bytes exit_code duration_ms \
        timed_out error_summary";
    let allowed: Vec<_> = allowed.split_whitespace().collect();
    assert!(
        after
            .as_object()
            .unwrap()
            .keys()
            .all(|key| allowed.contains(&key.as_str())),
        "{after}"
    );
    let everything = format!("{command}{before}{after}");
    assert!(
        !everything.contains("hunter2") && !everything.contains("count"),
        "{everything}"
    );
    assert_eq!(bench.health(), HealthStatus::Healthy);
    assert!(!bench.home.path().join("state/work/model-runs").join(&bench.id).exists());
}

#[tokio::test]
async fn an_answer_in_text_is_trimmed_and_raw_is_the_same() {
    let driver = FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    };
    let bench = Bench::new("echo; echo ' one'; echo 'two '", driver).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let result = result(&outcome);
    assert_eq!(result["output"], json!({"text": "one\ntwo"}));
    assert_eq!((&result["raw"], &result["usage"]), (&result["output"], &json!(null)));
    assert_eq!(
        (&result["timeout_ms"], &result["timeout_clamped"]),
        (&json!(110_000), &json!(false))
    );
}

#[tokio::test]
async fn a_payload_without_a_question_is_refused() {
    let bench = Bench::new("true", FakeDriver::default()).await;
    let (outcome, life) = bench.run(&json!({"prompt": "p", "model": ""})).await;
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Failed, Some("Missing prompt or model"))
    );
    assert_eq!(
        result(&outcome),
        json!({"message": "Missing prompt or model for gateway model run"})
    );
    assert!(life.take_notes().is_empty() && bench.server.seen().is_empty());
}

#[tokio::test]
async fn only_the_providers_own_trouble_is_the_providers() {
    let body = r#"if [ -e "${0%/*}/in" ]; then echo '{"answer":"hi"}'; exit; fi
        echo 'x {"error":{"message":"bad key sk-12345678901234567890","type":"auth"}}' >&2
        echo '{"error":"authentication","message":"401: invalid key"}'"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let error = "Gateway provider Codex is unhealthy. Try another provider or run \"gateway doctor\". Details: 401: invalid key";
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Failed, Some(error)));
    let failed = result(&outcome);
    assert_eq!(failed["message"], error);
    assert_eq!(
        (&failed["error_code"], &failed["exit_code"]),
        (&json!("authentication"), &json!(0))
    );
    assert_eq!(
        failed["error_summary"],
        json!({"message": "bad key [REDACTED]", "type": "auth"})
    );
    assert!(failed["hint"].as_str().unwrap().contains("log in") && !failed.to_string().contains("sk-1234"));
    assert_eq!(bench.health(), HealthStatus::Unhealthy);
    assert_eq!(bench.cx.providers.picture().witness(CODEX), Some(&bench.witness()));
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(bench.home.path().join("in"))
        .unwrap();
    assert_eq!(bench.run(&text("p")).await.0.status(), JobStatus::Completed);
    assert_eq!(bench.health(), HealthStatus::Healthy);
}

#[tokio::test]
async fn trouble_of_one_job_leaves_the_provider_alone() {
    let body = r#"echo '{"error":"model","message":"unknown model"}'; exit 1"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    bench.cx.providers.judge(CODEX, &Verdict::Works, bench.witness());
    let (outcome, _) = bench.run(&text("p")).await;
    assert_eq!(
        outcome.error(),
        Some("Gateway model run failed. Details: unknown model")
    );
    assert_eq!(bench.health(), HealthStatus::Healthy);
    let slow = Bench::new("exec sleep 300", FakeDriver::default()).await;
    slow.cx.providers.judge(CODEX, &Verdict::Works, slow.witness());
    let mut payload = text("p");
    payload["timeout_ms"] = json!(10);
    let (outcome, life) = slow.run(&payload).await;
    let failed = result(&outcome);
    assert_eq!(
        failed["message"],
        "Gateway model run failed. Details: The run did not end within 1s"
    );
    assert_eq!(
        (&failed["timed_out"], &failed["timeout_clamped"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (slow.health(), &life.take_notes()["timed_out"]),
        (HealthStatus::Healthy, &json!(true))
    );
}

#[tokio::test]
async fn more_than_fits_is_its_own_failure() {
    let driver = FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    };
    let bench = Bench::new("exec yes", driver).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let message = "Gateway model stdout exceeded the 5000000-byte output limit";
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Failed, Some(message)));
    let expected = json!({
        "message": message, "error_code": "GATEWAY_MODEL_OUTPUT_LIMIT", "boundary": "stdout",
        "output_limit_bytes": 5_000_000
    });
    assert_eq!((result(&outcome), bench.health()), (expected, HealthStatus::Unknown));
}

#[tokio::test]
async fn a_missing_cli_is_named_and_a_mended_one_is_used_at_once() {
    let bench = Bench::new(r#"echo '{"answer":"1.0.0"}'"#, FakeDriver::default()).await;
    let mut payload = text("p");
    payload["provider"] = json!("gemini");
    let (outcome, _) = bench.run(&payload).await;
    let error = "Gateway provider Gemini is unhealthy. Try another provider or run \"gateway doctor\". Details: spawn gemini ENOENT";
    assert_eq!(outcome.error(), Some(error));
    assert!(result(&outcome)["hint"].as_str().unwrap().starts_with("Install Gemini"));
    // As it looked half a minute ago; meanwhile it is there.
    let absent = Finding::unavailable("codex", "spawn codex ENOENT");
    let mut picture = Picture::default();
    picture.see(CODEX, absent, clock::now());
    let providers = Providers::new(bench.cx.providers.prober.clone(), watch::Sender::new(Arc::new(picture)));
    let cx = Context {
        providers,
        ..bench.cx.clone()
    };
    let outcome = model_run::run(&bench.job(&text("p")), &cx, &JobLife::default()).await;
    assert_eq!(outcome.status(), JobStatus::Completed, "{:?}", outcome.error());
}

#[tokio::test]
async fn a_cancelled_job_ends_at_once() {
    let bench = Bench::new(
        r#"echo x >"${0%/*}/begun"; trap '' TERM; while :; do sleep 1; done"#,
        FakeDriver::default(),
    )
    .await;
    let life = JobLife::default();
    let begun = bench.home.path().join("begun");
    let job = bench.job(&text("p"));
    let cancel = async {
        eventually("the agent", || async { begun.exists().then_some(()) }).await;
        life.end(StopReason::Cancelled);
    };
    let (outcome, ()) = tokio::join!(model_run::run(&job, &bench.cx, &life), cancel);
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Cancelled, Some("Gateway job was cancelled"))
    );
    assert_eq!(bench.health(), HealthStatus::Unknown);
    let process = life.process().borrow().unwrap();
    assert!(!gateway::process::identity::alive(process.pid, process.start_ticks));
}

/// Through a real daemon, with a program that says it is Codex.
mod daemon {
    use super::*;
    use crate::support::daemon::Host;

    const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

    fn codex(dir: &std::path::Path, then: &str) -> String {
        let body = format!(
            r#"case "$*" in --version) echo codex-cli 0.169.0; exit;; *--help*) cat '{HELP}'; exit;; esac
            cat >/dev/null; echo begun >"${{0%/*}}/begun"
            echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}}'; {then}
            echo '{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"hello"}}}}'
            echo '{{"type":"turn.completed","usage":{{"input_tokens":3}}}}'"#
        );
        script(dir, &body)
    }

    #[tokio::test]
    async fn a_model_run_reaches_its_agent_and_comes_back() {
        let (host, home) = (Host::new().await, tempfile::tempdir().unwrap());
        let daemon = host
            .start_ready(&[("PANORAMA_CODEX_CLI", &codex(home.path(), ""))])
            .await;
        let row = host.done(&host.submit("model_run", text("p"), json!({})).await).await;
        assert_eq!(
            (&row["status"], &row["result"]["output"]),
            (&json!("completed"), &json!({"text": "hello"})),
            "{row}"
        );
        assert_eq!(
            (&row["result"]["usage"]["input_tokens"], &row["result"]["exit_code"]),
            (&json!(3), &json!(0))
        );
        let debug = &row["debug"];
        assert_eq!(
            (&debug["provider_id"], &debug["timed_out"]),
            (&json!("codex"), &json!(false)),
            "{row}"
        );
        assert!(debug["finished_at"].is_string() && debug["stdout"].as_str().unwrap().contains("hello"));
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }

    #[tokio::test]
    async fn a_model_run_cancelled_on_the_control_plane_ends() {
        let (host, home) = (Host::new().await, tempfile::tempdir().unwrap());
        let agent = codex(home.path(), "exec sleep 600");
        let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &agent)]).await;
        let id = host.submit("model_run", text("p"), json!({})).await;
        eventually("the agent", || async {
            home.path().join("begun").exists().then_some(())
        })
        .await;
        host.cancel(&id).await;
        eventually("no job to run", || async {
            (daemon.status().await?.running_jobs == 0).then_some(())
        })
        .await;
        let mark = format!("GATEWAY_JOB_ID={id}");
        assert_eq!(crate::support::process_list::with_variable(&mark), []);
        assert_eq!(host.row(&id).await["status"], "cancelled");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}
