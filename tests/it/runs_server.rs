//! The control plane's half of a subagent run, on both stores.

use serde_json::{Value, json};

use crate::support::plane::{On, Paired, Plane};

const START: &str = "/functions/v1/start-gateway-subagent-run";
const FINALIZE: &str = "/functions/v1/finalize-gateway-subagent-run";

async fn row(plane: &Plane, token: &str, table: &str, id: &Value) -> Value {
    let path = format!("/rest/v1/{table}?id=eq.{}", id.as_str().unwrap());
    plane.get(&path, token).await.1[0].clone()
}

fn new(gateway: &Paired, prompt: &str) -> Value {
    json!({"gateway_id": gateway.gateway_id, "subagent_type": "codex_gateway", "prompt": prompt,
           "config": {"model": "m"}, "requested_via": "test"})
}

fn completed(started: &Value) -> Value {
    json!({
        "subagent_id": started["subagent_id"], "run_id": started["run_id"], "final_status": "completed",
        "output": {"schema_version": 1, "content": "done", "content_type": "markdown"},
        "failure_output": null, "final_error": null, "completed_at": "2026-11-21T10:00:00.123Z",
        "stderr": "warned", "metadata_patch": {"exit_code": 0, "session_id": "S"},
    })
}

async fn turns(on: On) {
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let (status, first) = plane.post(START, &operator, &new(&gateway, " hi\n")).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["run_sequence"], 1);
    let run = row(&plane, &operator, "subagent_runs", &first["run_id"]).await;
    assert_eq!(
        (&run["status"], &run["prompt"], &run["gateway_id"]),
        (&json!("running"), &json!(" hi\n"), &json!(gateway.gateway_id))
    );
    let subagent = row(&plane, &operator, "subagents", &first["subagent_id"]).await;
    assert_eq!(
        (
            &subagent["status"],
            &subagent["metadata"]["current_run_id"],
            &subagent["input"]["run_sequence"]
        ),
        (&json!("running"), &first["run_id"], &json!(1))
    );
    let job = row(&plane, &operator, "gateway_jobs", &first["job_id"]).await;
    let payload = json!({"subagent_id": first["subagent_id"], "run_id": first["run_id"]});
    assert_eq!(
        (&job["job_type"], &job["status"], &job["payload"]),
        (&json!("subagent_run"), &json!("queued"), &payload)
    );

    let again = json!({"subagent_id": first["subagent_id"], "prompt": "more"});
    let (status, busy) = plane.post(START, &operator, &again).await;
    assert_eq!((status, &busy["code"]), (409, &json!("subagent_busy")));
    let (status, ended) = plane.post(FINALIZE, &gateway.access, &completed(&first)).await;
    assert_eq!(
        (status, &ended["success"], &ended["status"]),
        (200, &json!(true), &json!("completed"))
    );
    let subagent = row(&plane, &operator, "subagents", &first["subagent_id"]).await;
    assert_eq!(
        (
            &subagent["status"],
            &subagent["output"]["content"],
            &subagent["metadata"]["session_id"]
        ),
        (&json!("completed"), &json!("done"), &json!("S"))
    );
    let run = row(&plane, &operator, "subagent_runs", &first["run_id"]).await;
    assert_eq!(
        (&run["metadata"]["stderr"], &run["metadata"]["exit_code"]),
        (&json!("warned"), &json!(0))
    );

    let (status, second) = plane.post(START, &operator, &again).await;
    assert_eq!((status, &second["run_sequence"]), (200, &json!(2)), "{second}");
    let next = json!({"p_subagent_id": first["subagent_id"]});
    let (status, sequence) = plane
        .post("/rest/v1/rpc/allocate_subagent_run_sequence", &gateway.access, &next)
        .await;
    assert_eq!((status, sequence), (200, json!(3)));
}

#[tokio::test]
async fn a_subagent_takes_turn_after_turn_on_sqlite() {
    turns(On::Sqlite).await;
}

#[tokio::test]
async fn a_subagent_takes_turn_after_turn_on_postgres() {
    turns(On::Postgres).await;
}

#[tokio::test]
async fn finalising_again_finds_its_own_work_and_nobody_elses() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, other, operator) = (plane.pair("a").await, plane.pair("b").await, plane.operator().await);
    let started = plane.post(START, &operator, &new(&gateway, "hi")).await.1;
    let end = completed(&started);
    let stranger = plane.post(FINALIZE, &other.access, &end).await.1;
    assert_eq!(
        (&stranger["success"], &stranger["status"]),
        (&json!(false), &Value::Null)
    );
    for _time in 0..2 {
        assert_eq!(plane.post(FINALIZE, &gateway.access, &end).await.1["success"], true);
    }
    let mut late = end.clone();
    late["final_status"] = json!("failed");
    late["failure_output"] = json!({"schema_version": 1, "content": "x", "content_type": "text", "errors": ["x"]});
    let refused = plane.post(FINALIZE, &gateway.access, &late).await.1;
    assert_eq!(
        (&refused["success"], &refused["status"]),
        (&json!(false), &json!("completed"))
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_finalising_is_named() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let started = plane.post(START, &operator, &new(&gateway, "hi")).await.1;
    let mut extra = completed(&started);
    extra["surprise"] = json!(1);
    let (status, refused) = plane.post(FINALIZE, &gateway.access, &extra).await;
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("surprise"), "{refused}");
    let mut bare = completed(&started);
    bare["output"] = Value::Null;
    let (status, refused) = plane.post(FINALIZE, &gateway.access, &bare).await;
    assert_eq!(
        (status, &refused["error"]),
        (400, &json!("output must be given with final_status completed."))
    );
    assert_eq!(plane.post(FINALIZE, &operator, &completed(&started)).await.0, 403);
}

#[tokio::test]
async fn a_refused_start_writes_nothing() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let long = new(&gateway, &"x".repeat(1_048_577));
    let mut nobody = new(&gateway, "hi");
    nobody["gateway_id"] = json!("00000000-0000-4000-8000-000000000000");
    let mut unknown = new(&gateway, "hi");
    unknown["subagent_type"] = json!("perplexity");
    for (asked, status, part) in [
        (long, 400, "1048577 characters, Codex takes at most 1048576"),
        (new(&gateway, "a\0b"), 400, "NUL"),
        (new(&gateway, " \n"), 400, "empty"),
        (nobody, 404, "no such gateway"),
        (unknown, 400, "perplexity"),
        (json!({"prompt": "hi"}), 400, "subagent_type or subagent_id"),
    ] {
        let (found, refused) = plane.post(START, &operator, &asked).await;
        assert_eq!(found, status, "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(part), "{refused}");
    }
    assert_eq!(plane.post(START, &gateway.access, &new(&gateway, "hi")).await.0, 403);
    for table in ["subagents", "subagent_runs", "gateway_jobs"] {
        let rows = plane.get(&format!("/rest/v1/{table}"), &operator).await.1;
        assert_eq!(rows, json!([]), "{table}");
    }
}

async fn taken_back(on: On) {
    const WITHDRAW: &str = "/functions/v1/withdraw-gateway-subagent-run";
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let started = plane.post(START, &operator, &new(&gateway, "hi")).await.1;
    let asked = json!({"job_id": started["job_id"], "reason": "nobody came"});
    assert_eq!(plane.post(WITHDRAW, &gateway.access, &asked).await.0, 403);
    for withdrawn in [true, false] {
        let (status, answer) = plane.post(WITHDRAW, &operator, &asked).await;
        assert_eq!((status, &answer["withdrawn"]), (200, &json!(withdrawn)), "{answer}");
    }
    for (table, id) in [
        ("gateway_jobs", "job_id"),
        ("subagent_runs", "run_id"),
        ("subagents", "subagent_id"),
    ] {
        let row = row(&plane, &operator, table, &started[id]).await;
        assert_eq!(
            (&row["status"], &row["error"]),
            (&json!("cancelled"), &json!("nobody came")),
            "{row}"
        );
    }
    let again = json!({"subagent_id": started["subagent_id"], "prompt": "once more"});
    let (status, second) = plane.post(START, &operator, &again).await;
    assert_eq!((status, &second["run_sequence"]), (200, &json!(2)), "{second}");
    let path = format!("/rest/v1/gateway_jobs?id=eq.{}", second["job_id"].as_str().unwrap());
    plane.patch(&path, &gateway.access, &json!({"status": "running"})).await;
    let late = json!({"job_id": second["job_id"], "reason": "too late"});
    assert_eq!(plane.post(WITHDRAW, &operator, &late).await.1["withdrawn"], false);
}

#[tokio::test]
async fn a_turn_that_nobody_took_is_taken_back_whole_on_sqlite() {
    taken_back(On::Sqlite).await;
}

#[tokio::test]
async fn a_turn_that_nobody_took_is_taken_back_whole_on_postgres() {
    taken_back(On::Postgres).await;
}

#[tokio::test]
async fn a_run_is_accepted_by_an_operator_only_and_once() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let started = plane.post(START, &operator, &new(&gateway, "hi")).await.1;
    plane.post(FINALIZE, &gateway.access, &completed(&started)).await;
    let accept = json!({
        "p_subagent_id": started["subagent_id"], "p_run_id": "11111111-1111-4111-8111-111111111111",
        "p_prompt": "go on", "p_runner": "gateway", "p_input": {"k": 1}, "p_metadata": {"m": 2},
    });
    let path = "/rest/v1/rpc/accept_subagent_run";
    assert_eq!(plane.post(path, &gateway.access, &accept).await.0, 403);
    let (status, run) = plane.post(path, &operator, &accept).await;
    assert_eq!(
        (status, &run["run_sequence"], &run["metadata"]["m"]),
        (200, &json!(2), &json!(2)),
        "{run}"
    );
    let subagent = row(&plane, &operator, "subagents", &started["subagent_id"]).await;
    assert_eq!(
        (&subagent["input"]["k"], &subagent["input"]["prompt"]),
        (&json!(1), &json!("go on"))
    );
    assert_eq!(plane.post(path, &operator, &accept).await.1["code"], "55000");
    let mut unknown = accept;
    unknown["p_surprise"] = json!(1);
    assert_eq!(plane.post(path, &operator, &unknown).await.1["code"], "PGRST202");
}
