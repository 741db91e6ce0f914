//! Rows and events that no honest control plane sends: none of them may cost another job its turn.

use std::sync::{Arc, Mutex};

use gateway::wire::phoenix::Frame;
use serde_json::{Value, json};

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::scripted_server::{Reply, ScriptedServer, Seen, ServerSocket};

pub(crate) const POLL_ONLY: [(&str, &str); 1] = [("PANORAMA_GATEWAY_TEST_REALTIME", "off")];

/// The job table of a control plane that does as little as it can.
#[derive(Clone, Default)]
pub(crate) struct Table {
    rows: Arc<Mutex<Vec<Value>>>,
    /// Rows that nobody may claim.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Table {
    pub(crate) fn put(&self, row: Value) {
        self.rows.lock().unwrap().push(row);
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let url = reqwest::Url::parse(&format!("http://h{}", seen.target)).unwrap();
        let asked = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let whole = asked("select") == "*";
        let number = |name: &str| asked(name).parse::<usize>().ok();
        match (seen.method.as_str(), url.path(), asked("status").as_str()) {
            ("POST", ..) => Reply::Json(200, json!({"success": true})),
            ("GET", "/realtime/v1/websocket", _) => Reply::Upgrade,
            ("GET", "/rest/v1/gateway_jobs", status) if asked("job_type") != "eq.subagent_cancel" => {
                let rows = self.rows.lock().unwrap();
                let wanted = rows
                    .iter()
                    .filter(|row| status == format!("eq.{}", row["status"].as_str().unwrap()));
                let some = wanted
                    .skip(number("offset").unwrap_or(0))
                    .take(number("limit").unwrap_or(100));
                Reply::Json(200, some.map(|row| columns(row, whole)).collect())
            }
            ("PATCH", _, "eq.queued") => self.claim(&asked("id"), whole),
            ("PATCH", ..) => Reply::Json(200, json!([{"id": "any"}])),
            _ => Reply::Json(200, json!([])),
        }
    }

    fn claim(&self, id: &str, whole: bool) -> Reply {
        if self
            .refused
            .lock()
            .unwrap()
            .iter()
            .any(|refused| id == format!("eq.{refused}"))
        {
            return Reply::Json(403, json!({"code": "42501", "message": "denied"}));
        }
        let mut rows = self.rows.lock().unwrap();
        let place = rows
            .iter()
            .position(|row| id == format!("eq.{}", row["id"].as_str().unwrap()));
        let Some(place) = place else {
            return Reply::Json(200, json!([]));
        };
        let mut row = rows.remove(place);
        row["status"] = json!("running");
        Reply::Json(200, json!([columns(&row, whole)]))
    }
}

/// An event about a row, on the channel that was joined so.
pub(crate) fn pushed(join: &Frame, kind: &str, record: &Value) -> Frame {
    let data = json!({"schema": "public", "table": "gateway_jobs", "type": kind, "errors": null, "record": record});
    Frame::new(&join.topic, "postgres_changes", json!({"ids": [1], "data": data}))
}

fn columns(row: &Value, whole: bool) -> Value {
    let mut row = row.clone();
    if !whole {
        row.as_object_mut().unwrap().remove("payload");
    }
    row
}

/// A host whose control plane is a table.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) server: ScriptedServer,
    pub(crate) table: Table,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let (mut host, table) = (Host::new().await, Table::default());
        let answers = table.clone();
        let server = ScriptedServer::start(move |seen| answers.answer(seen)).await;
        host.url = server.url.clone();
        host.write_session();
        Self { host, server, table }
    }

    pub(crate) fn row(&self, id: &str, payload: &Value) -> Value {
        let at = "2026-01-01T00:00:00Z";
        json!({
            "id": id, "team_id": self.host.paired.team_id, "gateway_id": self.host.paired.gateway_id,
            "status": "queued", "job_type": "diagnostic", "payload": payload, "created_at": at, "updated_at": at,
        })
    }

    /// What the end of a job says, once it was sent.
    pub(crate) async fn end_of(&self, id: &str) -> Value {
        eventually(&format!("the end of {id}"), || async {
            let wanted = format!("id=eq.{id}&status=eq.running");
            let seen = self.server.seen();
            seen.iter().find(|seen| seen.target.contains(&wanted)).map(Seen::json)
        })
        .await
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_taken_in_hides_no_other() {
    let stage = Stage::new().await;
    let deep = (0..400).fold(json!({}), |inner, _| json!({"in": inner}));
    for (id, payload) in [("first", json!({})), ("deep", deep), ("last", json!({}))] {
        stage.table.put(stage.row(id, &payload));
    }
    let daemon = stage.host.start_ready(&POLL_ONLY).await;
    for (id, status) in [("first", "completed"), ("last", "completed"), ("deep", "failed")] {
        assert_eq!(stage.end_of(id).await["status"], status, "{id}");
    }
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn rows_whose_claim_is_refused_keep_nobody_waiting() {
    let stage = Stage::new().await;
    for number in 0..25 {
        let id = format!("refused-{number}");
        stage.table.put(stage.row(&id, &json!({})));
        stage.table.refused.lock().unwrap().push(id);
    }
    stage.table.put(stage.row("good", &json!({})));
    let daemon = stage.host.start_ready(&POLL_ONLY).await;
    assert_eq!(stage.end_of("good").await["status"], "completed");
    stage.table.refused.lock().unwrap().clear();
    assert_eq!(
        stage.end_of("refused-0").await["status"],
        "completed",
        "it is tried again"
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn an_event_that_lacks_a_column_fails_no_job() {
    let mut stage = Stage::new().await;
    let daemon = stage.host.start(&[]);
    let mut socket: ServerSocket = stage.server.socket().await;
    let join = socket.accept_join().await;
    daemon.ready().await;
    let row = stage.row("pushed", &json!({}));
    let record = columns(&row, false);
    stage.table.put(row);
    socket.send(&pushed(&join, "INSERT", &record)).await;
    assert_eq!(stage.end_of("pushed").await["status"], "completed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_row_left_running_is_ended_although_the_clock_was_set_back() {
    let stage = Stage::new().await;
    let mut row = stage.row("left", &json!({}));
    row["status"] = json!("running");
    row["started_at"] = json!("2100-01-01T00:00:00Z");
    stage.table.put(row);
    let daemon = stage.host.start_ready(&POLL_ONLY).await;
    let end = stage.end_of("left").await;
    assert_eq!(
        (&end["status"], &end["result"]["interrupted"]),
        (&json!("failed"), &json!(true))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
