//! Realtime as a client sees it, over real sockets: both serializer versions, both stores.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::control_plane::auth::Lives;
use gateway::control_plane::registry::TEAMS;
use gateway::control_plane::store::Store;
use gateway::wire::phoenix::Vsn;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::plane::{On, Paired, Plane, job};
use crate::support::ws::Socket;

fn inserts(filter: &str) -> Value {
    json!([{"event": "INSERT", "schema": "public", "table": "gateway_jobs", "filter": filter}])
}

fn everything() -> Value {
    json!([{"event": "*", "schema": "public", "table": "gateway_jobs"}])
}

async fn life_of_a_job(on: On, vsn: Vsn) {
    let plane = Plane::start(on).await;
    let (gateway, other, operator) = (plane.pair("a").await, plane.pair("b").await, plane.operator().await);
    let mut socket = Socket::open(&plane, vsn).await;
    let filter = format!("gateway_id=eq.{}", gateway.gateway_id);
    let asked = json!([
        {"event": "INSERT", "schema": "public", "table": "gateway_jobs", "filter": filter},
        {"event": "*", "schema": "public", "table": "gateway_jobs"}
    ]);
    socket.join("realtime:jobs", &gateway.access, asked).await;

    plane.insert("gateway_jobs", &operator, &job(&other, "true")).await;
    let row = plane.insert("gateway_jobs", &operator, &job(&gateway, "uname")).await;
    let insert = socket.change().await;
    assert_eq!(insert["ids"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&insert["data"]["type"], &insert["data"]["record"]),
        (&json!("INSERT"), &row)
    );
    assert_eq!(insert["data"]["columns"][0], json!({"name": "id", "type": "uuid"}));
    assert!(insert["data"]["commit_timestamp"].as_str().unwrap().ends_with('Z'));

    let path = format!("/rest/v1/gateway_jobs?id=eq.{}", row["id"].as_str().unwrap());
    for status in ["running", "completed"] {
        assert_eq!(
            plane.patch(&path, &gateway.access, &json!({"status": status})).await.0,
            204
        );
        let update = socket.change().await;
        assert_eq!(update["ids"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&update["data"]["record"]["status"], &update["data"]["old_record"]),
            (&json!(status), &json!({"id": row["id"]}))
        );
    }
    let deleted = plane
        .request(reqwest::Method::DELETE, &path, &operator)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.status().as_u16(), 204);
    let delete = socket.change().await;
    assert_eq!(
        (&delete["data"]["type"], &delete["data"]["old_record"]),
        (&json!("DELETE"), &json!({"id": row["id"]}))
    );
    assert!(delete["data"].get("record").is_none());
    socket.assert_silent().await;
}

#[tokio::test]
async fn a_job_is_heard_from_insert_to_delete_on_sqlite() {
    life_of_a_job(On::Sqlite, Vsn::V2).await;
    life_of_a_job(On::Sqlite, Vsn::V1).await;
}

#[tokio::test]
async fn a_job_is_heard_from_insert_to_delete_on_postgres() {
    life_of_a_job(On::Postgres, Vsn::V2).await;
    life_of_a_job(On::Postgres, Vsn::V1).await;
}

#[tokio::test]
async fn nobody_hears_of_what_they_may_not_read() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, other, operator) = (plane.pair("a").await, plane.pair("b").await, plane.operator().await);
    let mut stranger = Socket::open(&plane, Vsn::V2).await;
    stranger.join("realtime:x", &other.access, everything()).await;
    let mut anon = Socket::open(&plane, Vsn::V2).await;
    anon.join("realtime:x", "", everything()).await;
    let mut team = Socket::open(&plane, Vsn::V2).await;
    team.join("realtime:x", &operator, everything()).await;
    plane.insert("gateway_jobs", &operator, &job(&gateway, "true")).await;
    team.change().await;
    stranger.assert_silent().await;
    anon.assert_silent().await;
}

#[tokio::test]
async fn the_echo_of_a_binding_is_what_was_sent() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let binding = json!({"event": "insert", "schema": "public", "table": "gateway_jobs", "filter": "status=eq.queued"});
    let mut ids = Vec::new();
    for _socket in 0..2 {
        let mut socket = Socket::open(&plane, Vsn::V2).await;
        let payload = json!({"config": {"postgres_changes": [binding]}, "access_token": gateway.access});
        socket.send(None, "realtime:x", "phx_join", payload).await;
        let reply = socket.frame().await;
        let mut echo = reply.payload["response"]["postgres_changes"][0].clone();
        ids.push(echo.as_object_mut().unwrap().remove("id").unwrap());
        assert_eq!(echo, binding);
    }
    assert!(ids[0].is_u64() && ids[0] == ids[1]);
}

#[tokio::test]
async fn channels_are_joined_left_and_replaced() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    socket.send(Some("9"), "realtime:x", "phx_leave", json!({})).await;
    assert_eq!(socket.frame().await.payload["response"]["reason"], "unmatched topic");
    socket.send(None, "realtime:", "phx_join", json!({"config": {}})).await;
    assert_eq!(socket.frame().await.payload["status"], "error");

    let first = socket.join("realtime:x", &gateway.access, json!([])).await;
    let payload = json!({"config": {}, "access_token": gateway.access});
    let second = socket.send(None, "realtime:x", "phx_join", payload).await;
    let closed = socket.frame().await;
    assert_eq!((closed.event.as_str(), closed.join_ref), ("phx_close", Some(first)));
    let reply = socket.frame().await;
    assert_eq!(
        (&reply.payload["status"], &reply.payload["response"]["postgres_changes"]),
        (&json!("ok"), &json!([]))
    );

    let leave = socket.send(Some(&second), "realtime:x", "phx_leave", json!({})).await;
    let (reply, closed) = (socket.frame().await, socket.frame().await);
    assert_eq!(
        (reply.reference, reply.payload["status"].as_str()),
        (Some(leave), Some("ok"))
    );
    assert_eq!((closed.event.as_str(), closed.reference), ("phx_close", Some(second)));
    let topics = 0..100;
    for topic in topics {
        socket
            .join(&format!("realtime:{topic}"), &gateway.access, json!([]))
            .await;
    }
    socket
        .send(None, "realtime:more", "phx_join", json!({"config": {}}))
        .await;
    let refused = socket.frame().await;
    assert!(
        refused.payload["response"]["reason"]
            .as_str()
            .unwrap()
            .starts_with("ChannelRateLimitReached:")
    );
}

#[tokio::test]
async fn bad_parameters_are_told_by_a_system_message() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    let bindings = json!([{"event": "*", "schema": "public", "table": "gateway_pairing_codes"}]);
    let payload = json!({"config": {"postgres_changes": bindings}, "access_token": gateway.access});
    socket.send(None, "realtime:x", "phx_join", payload).await;
    assert_eq!(socket.frame().await.payload["status"], "ok");
    let system = socket.frame().await;
    assert_eq!(
        (system.event.as_str(), &system.payload["status"]),
        ("system", &json!("error"))
    );
}

#[tokio::test]
async fn tokens_are_renewed_and_their_end_closes_the_channel() {
    let lives = Lives {
        access_seconds: 3,
        ..Lives::default()
    };
    let plane = Plane::with(On::Sqlite, lives).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    // Without a token yet, as the official client joins first; the token follows.
    let join = socket.join("realtime:x", "", everything()).await;
    let renew = |token: &str| json!({"access_token": token});
    socket
        .send(Some(&join), "realtime:x", "access_token", renew(&gateway.access))
        .await;
    let announced = socket.frame().await;
    assert_eq!(announced.payload["status"], "ok", "{announced:?}");
    plane.insert("gateway_jobs", &operator, &job(&gateway, "true")).await;
    socket.change().await;
    // The same again is ignored.
    socket
        .send(Some(&join), "realtime:x", "access_token", renew(&gateway.access))
        .await;
    let ended = socket.frame().await;
    assert_eq!(
        (ended.event.as_str(), ended.join_ref.as_deref()),
        ("system", Some(join.as_str()))
    );
    assert!(
        ended.payload["message"]
            .as_str()
            .unwrap()
            .starts_with("Token has expired")
    );
    assert_eq!(socket.frame().await.event, "phx_close");
    let payload = json!({"config": {}, "access_token": gateway.access});
    socket.send(None, "realtime:x", "phx_join", payload).await;
    let refused = socket.frame().await;
    let reason = refused.payload["response"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("InvalidJWTToken: Token has expired"), "{reason}");
}

#[tokio::test]
async fn a_bad_token_ends_the_channel() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    for (bad, word) in [("x.y.z", "MalformedJWT"), ("gwop_x", "Unauthorized")] {
        let join = socket.join("realtime:x", &gateway.access, everything()).await;
        socket
            .send(Some(&join), "realtime:x", "access_token", json!({"access_token": bad}))
            .await;
        let system = socket.frame().await;
        assert!(
            system.payload["message"].as_str().unwrap().starts_with(word),
            "{system:?}"
        );
        assert_eq!(socket.frame().await.event, "phx_close");
    }
}

async fn refused(plane: &Plane, query: &str) -> u16 {
    match connect_async(format!("ws://{}/realtime/v1/websocket{query}", plane.address)).await {
        Err(Error::Http(response)) => {
            let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap();
            assert!(body["error"].is_string());
            response.status().as_u16()
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_door_needs_the_key_and_a_known_version() {
    let plane = Plane::start(On::Sqlite).await;
    assert_eq!(refused(&plane, "").await, 401);
    assert_eq!(refused(&plane, "?apikey=x&vsn=2.0.0").await, 401);
    assert_eq!(
        refused(&plane, &format!("?apikey={}&vsn=3.0.0", plane.anon_key)).await,
        400
    );
    let url = format!("ws://{}/realtime/v1/websocket?apikey={}", plane.address, plane.anon_key);
    let (mut stream, _) = connect_async(url).await.unwrap();
    let beat = r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#;
    stream.send(Message::text(beat)).await.unwrap();
    let answer = stream.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap()["payload"]["status"],
        "ok"
    );
}

#[tokio::test]
async fn a_frame_that_is_none_ends_the_socket() {
    let plane = Plane::start(On::Sqlite).await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    socket.stream.send(Message::text("{}")).await.unwrap();
    assert!(socket.next().await.is_none());
}

async fn a_big_record(on: On) {
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    socket
        .join("realtime:x", &gateway.access, inserts("status=eq.queued"))
        .await;
    let row = plane
        .insert("gateway_jobs", &operator, &job(&gateway, &"x".repeat(1_100_000)))
        .await;
    let change = socket.change().await;
    assert_eq!(change["data"]["errors"], json!(["Error 413: Payload Too Large"]));
    assert_eq!(change["data"]["record"]["id"], row["id"]);
    assert!(change["data"]["record"].get("payload").is_none());
}

#[tokio::test]
async fn a_record_over_a_mebibyte_comes_without_its_big_columns() {
    a_big_record(On::Sqlite).await;
    a_big_record(On::Postgres).await;
}

async fn a_thousand(on: On) {
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let mut sockets = Vec::new();
    for _socket in 0..3 {
        let mut socket = Socket::open(&plane, Vsn::V2).await;
        socket
            .join("realtime:x", &gateway.access, inserts("status=eq.queued"))
            .await;
        sockets.push(socket);
    }
    let rows: Vec<Value> = (0..1000).map(|n| job(&gateway, &n.to_string())).collect();
    let (status, body) = plane.post("/rest/v1/gateway_jobs", &operator, &json!(rows)).await;
    assert_eq!(status, 201, "{body}");
    for socket in &mut sockets {
        let mut seen = std::collections::HashSet::new();
        for _change in 0..1000 {
            let change = socket.change().await;
            seen.insert(
                change["data"]["record"]["payload"]["command"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        assert_eq!(seen.len(), 1000);
        socket.assert_silent().await;
    }
}

#[tokio::test]
async fn a_thousand_inserts_reach_every_socket_once_on_sqlite() {
    a_thousand(On::Sqlite).await;
}

#[tokio::test]
async fn a_thousand_inserts_reach_every_socket_once_on_postgres() {
    a_thousand(On::Postgres).await;
}

#[tokio::test]
async fn nothing_falls_between_the_announcement_and_the_first_change() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    for round in 0..20 {
        let mut socket = Socket::open(&plane, Vsn::V2).await;
        socket
            .join("realtime:x", &gateway.access, inserts("status=eq.queued"))
            .await;
        let row = plane
            .insert("gateway_jobs", &operator, &job(&gateway, &round.to_string()))
            .await;
        assert_eq!(socket.change().await["data"]["record"]["id"], row["id"]);
    }
}

#[tokio::test]
async fn changes_of_the_administrator_are_heard_too() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway: Paired = plane.pair("a").await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    let bindings = json!([{"event": "UPDATE", "schema": "public", "table": "team_gateways"}]);
    socket.join("realtime:x", &gateway.access, bindings).await;
    plane.admin.set_full_control(&gateway.gateway_id, true).await.unwrap();
    let change = tokio::time::timeout(Duration::from_secs(10), socket.change())
        .await
        .unwrap();
    assert_eq!(change["data"]["record"]["full_control_enabled"], true);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_alone() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let (mut slow, mut quick) = (Socket::open(&plane, Vsn::V2).await, Socket::open(&plane, Vsn::V2).await);
    for socket in [&mut slow, &mut quick] {
        socket
            .join("realtime:x", &gateway.access, inserts("status=eq.queued"))
            .await;
    }
    let command = "x".repeat(900_000);
    for _insert in 0..80 {
        let (status, body) = plane
            .post("/rest/v1/gateway_jobs", &operator, &job(&gateway, &command))
            .await;
        assert_eq!(status, 201, "{body}");
        quick.change().await;
    }
    let mut heard = 0;
    while slow.next().await.is_some() {
        heard += 1;
    }
    assert!(heard < 80, "all of it was kept for a client that does not read");
    quick.assert_silent().await;
}

#[tokio::test]
async fn what_was_there_before_the_join_is_not_heard_on_postgres() {
    let plane = Plane::start(On::Postgres).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    // Until somebody's open transaction ends, the log shows nothing that came later.
    let store = Store::open(&plane.database).await.unwrap();
    let mut slow = store.begin().await.unwrap();
    slow.insert_row(&TEAMS, &json!({"name": "slow"})).await.unwrap();
    plane.insert("gateway_jobs", &operator, &job(&gateway, "before")).await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    socket
        .join("realtime:x", &gateway.access, inserts("status=eq.queued"))
        .await;
    let row = plane.insert("gateway_jobs", &operator, &job(&gateway, "after")).await;
    slow.commit().await.unwrap();
    assert_eq!(socket.change().await["data"]["record"]["id"], row["id"]);
}
