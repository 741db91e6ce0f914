//! The gateway's requests about jobs, sign by sign.

use std::sync::Arc;

use gateway::backend::http::StreamBody;
use gateway::backend::jobs::{Completed, Completion};
use gateway::backend::{BackendError, Jobs};
use gateway::domain::ids::{GatewayId, JobId, TeamId};
use gateway::domain::job::{Ingress, JobOutcome, JobResult, JobStatus, RawField, Timeline};
use gateway::wire::job_row;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::scripted_server::{Reply, ScriptedServer};

fn jobs(server: &ScriptedServer) -> Jobs {
    let team = TeamId::new("T").unwrap();
    Jobs::new(server.client().rest(), team, GatewayId::new("G").unwrap())
}

fn job(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn targets(server: &ScriptedServer) -> Vec<String> {
    let requests = server.seen();
    requests
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.target.trim_start_matches("/rest/v1/")))
        .collect()
}

#[tokio::test]
async fn queries_are_written_as_postgrest_js_writes_them() {
    let server = ScriptedServer::start(|_| Reply::Json(200, json!([]))).await;
    let jobs = jobs(&server);
    jobs.queued(5, 0).await.unwrap();
    jobs.queued(5, 10).await.unwrap();
    jobs.queued_cancels(20).await.unwrap();
    jobs.running_of_gateway(100, 0).await.unwrap();
    jobs.statuses(&[job("a"), job("b,c")]).await.unwrap();
    jobs.gateway_row("full_control_enabled,status").await.unwrap();
    let mine = "&team_id=eq.T&status=eq.queued&gateway_id=eq.G";
    let order = "&order=created_at.asc%2Cid.asc";
    assert_eq!(
        targets(&server),
        [
            format!("GET gateway_jobs?select=*{mine}&job_type=neq.subagent_cancel{order}&limit=5"),
            format!("GET gateway_jobs?select=*{mine}&job_type=neq.subagent_cancel{order}&limit=5&offset=10"),
            format!("GET gateway_jobs?select=*{mine}&job_type=eq.subagent_cancel{order}&limit=20"),
            format!(
                "GET gateway_jobs?select=id%2Cjob_type%2Cstarted_at&team_id=eq.T&status=eq.running&gateway_id=eq.G{order}&limit=100"
            ),
            "GET gateway_jobs?select=id%2Cstatus&id=in.%28a%2C%22b%2Cc%22%29".to_owned(),
            "GET team_gateways?select=full_control_enabled%2Cstatus&id=eq.G&team_id=eq.T".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_claim_is_one_conditional_update() {
    let server = ScriptedServer::replies([
        Reply::Json(200, json!([{"id": "j", "status": "running"}])),
        Reply::Json(200, json!([])),
    ])
    .await;
    let started = at("2026-11-21T01:08:28.234567Z");
    let jobs = jobs(&server);
    assert_eq!(jobs.claim(&job("j"), started, "*").await.unwrap().unwrap()["id"], "j");
    assert_eq!(jobs.claim(&job("j"), started, "*").await.unwrap(), None);
    let seen = server.seen();
    assert_eq!(
        targets(&server)[0],
        "PATCH gateway_jobs?id=eq.j&team_id=eq.T&status=eq.queued&gateway_id=eq.G&select=*"
    );
    assert_eq!(seen[0].header("prefer"), Some("return=representation"));
    let body = r#"{"status":"running","gateway_id":"G","started_at":"2026-11-21T01:08:28.234Z"}"#;
    assert_eq!(seen[0].body, body.as_bytes());
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_found_again() {
    let row = |started: &str, gateway: &str| {
        Reply::Json(
            200,
            json!([{"id": "j", "status": "running", "gateway_id": gateway, "started_at": started}]),
        )
    };
    let server = ScriptedServer::replies([
        Reply::Cut,
        row("2026-11-21T01:08:28.234+00:00", "G"),
        row("2026-11-21T01:08:29+00:00", "G"),
        row("2026-11-21T01:08:28.234+00:00", "other"),
    ])
    .await;
    let jobs = jobs(&server);
    let started = at("2026-11-21T01:08:28.234999Z");
    assert!(jobs.claim(&job("j"), started, "*").await.unwrap_err().is_transient());
    assert!(jobs.claimed_at(&job("j"), started, "*").await.unwrap().is_some());
    assert!(jobs.claimed_at(&job("j"), started, "*").await.unwrap().is_none());
    assert!(jobs.claimed_at(&job("j"), started, "*").await.unwrap().is_none());
}

fn completion() -> Completion {
    let mut result = JobResult::default();
    result.fields.insert("message".to_owned(), json!("done"));
    result.raw.push(RawField {
        key: "stdout".to_owned(),
        bytes: b"a\0b\xff\"".repeat(100_000),
    });
    Completion::new(
        JobOutcome::Failed {
            result,
            error: "said \"no\"".to_owned(),
        },
        &timeline(),
    )
}

fn timeline() -> Timeline {
    let mut timeline = Timeline::received(Ingress::Push, at("2026-01-01T00:00:00Z"));
    timeline.finished_at = Some(at("2026-01-01T00:00:01Z"));
    timeline
}

#[tokio::test]
async fn a_completion_streams_its_result_with_its_exact_length() {
    let server = ScriptedServer::replies([Reply::Json(200, json!([{"id": "j", "status": "failed"}]))]).await;
    let outcome = jobs(&server).complete(&job("j"), &completion()).await.unwrap();
    assert_eq!(outcome, Completed::Applied);
    let seen = &server.seen()[0];
    assert_eq!(
        targets(&server)[0],
        "PATCH gateway_jobs?id=eq.j&status=eq.running&select=id%2Cstatus"
    );
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(
        seen.header("content-length"),
        Some(seen.body.len().to_string().as_str())
    );
    let body = seen.json();
    assert_eq!(body["status"], "failed");
    assert_eq!(body["error"], "said \"no\"");
    assert_eq!(body["completed_at"], "2026-01-01T00:00:01.000Z");
    assert_eq!(body["debug"]["ingress"], "push");
    assert_eq!(body["result"]["message"], "done");
    assert_eq!(
        body["result"]["stdout"].as_str().unwrap(),
        "a\\0b\\xff\"".repeat(100_000)
    );
}

#[tokio::test]
async fn a_completion_that_matches_no_row_says_what_the_row_is() {
    let cases = [
        (
            json!([{"status": "cancelled"}]),
            Completed::NotRunning(Some(JobStatus::Cancelled)),
        ),
        (json!([]), Completed::NotRunning(None)),
    ];
    for (rows, expected) in cases {
        let server = ScriptedServer::replies([Reply::Json(200, json!([])), Reply::Json(200, rows)]).await;
        assert_eq!(
            jobs(&server).complete(&job("j"), &completion()).await.unwrap(),
            expected
        );
        assert_eq!(targets(&server)[1], "GET gateway_jobs?select=status&id=eq.j");
    }
}

#[tokio::test]
async fn a_page_that_is_too_much_shrinks_to_one_row_and_then_to_its_head() {
    let (odd, row) = (Reply::Json(200, json!({})), Reply::Json(200, json!([{"id": "j"}])));
    let server = ScriptedServer::replies([odd.clone(), row.clone(), odd.clone(), odd, row]).await;
    for (limit, columns) in [(1, "select=*"), (1, "select=id")] {
        let page = jobs(&server).queued(8, 0).await.unwrap();
        assert_eq!((page.rows.len(), page.limit), (1, limit));
        let asked = targets(&server).pop().unwrap();
        assert!(asked.contains(columns) && asked.contains("limit=1"), "{asked}");
    }
}

#[tokio::test]
async fn a_completion_refused_for_its_size_is_told_from_an_outage() {
    let server = ScriptedServer::replies([Reply::Early(413)]).await;
    let error = jobs(&server).complete(&job("j"), &completion()).await.unwrap_err();
    assert!(error.is_refused_payload(), "{error:?}");
}

#[tokio::test]
async fn an_error_is_sent_as_every_database_stores_it() {
    let server = ScriptedServer::replies([Reply::Json(200, json!([{"id": "j"}]))]).await;
    let completion = Completion::new(JobOutcome::failed("a\0b", []), &timeline());
    let told = jobs(&server).complete(&job("j"), &completion).await.unwrap();
    assert_eq!(told, Completed::Applied);
    let sent = server.seen()[0].json();
    assert_eq!(
        (&sent["error"], &sent["result"]["message"]),
        (&json!("a\\0b"), &json!("a\\0b"))
    );
}

#[tokio::test]
async fn a_completion_is_sent_again_from_the_beginning() {
    let server = ScriptedServer::replies([Reply::Cut, Reply::Json(200, json!([{"id": "j"}]))]).await;
    let (jobs, completion) = (jobs(&server), completion());
    assert!(jobs.complete(&job("j"), &completion).await.unwrap_err().is_transient());
    assert_eq!(jobs.complete(&job("j"), &completion).await.unwrap(), Completed::Applied);
    let seen = server.seen();
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn a_body_that_is_shorter_than_promised_is_an_error_and_not_a_hang() {
    let server = ScriptedServer::replies([Reply::Json(200, json!([]))]).await;
    let body = StreamBody {
        length: 10,
        chunks: Arc::new(|| Box::new(std::iter::once(b"{}".to_vec()))),
    };
    let error = server
        .client()
        .rest()
        .from("t")
        .update_stream(body)
        .eq("id", "x")
        .execute()
        .await;
    assert!(matches!(error, Err(BackendError::Http(_))), "{error:?}");
}

#[tokio::test]
async fn twins_are_looked_for_only_where_there_is_a_key() {
    let server = ScriptedServer::replies([Reply::Json(200, json!([{"id": "older"}]))]).await;
    let row = |key: Value| {
        json!({"id": "j", "team_id": "T", "gateway_id": "G", "status": "running", "job_type": "diagnostic", "payload": {},
            "created_at": "x", "updated_at": "x", "idempotency_key": key})
    };
    let jobs = jobs(&server);
    let plain = job_row::decode(&row(Value::Null)).unwrap();
    assert!(jobs.idempotency_twins(&plain).await.unwrap().is_empty());
    let keyed = job_row::decode(&row(json!("a b&c"))).unwrap();
    assert_eq!(jobs.idempotency_twins(&keyed).await.unwrap()[0]["id"], "older");
    assert_eq!(
        targets(&server),
        [
            "GET gateway_jobs?select=id%2Cstatus%2Cattempt%2Ccreated_at%2Cstarted_at&team_id=eq.T&idempotency_key=eq.a+b%26c\
             &status=in.%28running%2Ccompleted%29&id=neq.j&order=created_at.asc&limit=100"
        ]
    );
}
