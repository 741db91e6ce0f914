//! Pairing, heartbeats and the switches of machine control, over HTTP, on both stores.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::plane::{On, Plane, job};

const EXCHANGE: &str = "/functions/v1/exchange-gateway-pairing-code";

fn capabilities(install: bool) -> Value {
    let provider = json!({
        "available": false, "error": "not found",
        "supports": {"output_schema": false, "stream_json": false, "tool_disable": false}
    });
    json!({
        "schema_version": "v1",
        "providers": {"claude_code": provider, "codex": provider, "gemini": provider},
        "hosts": {"gateway": {
            "kind": "gateway", "available": true, "metadata": {"install_full_control_enabled": install}
        }},
        "services": {
            "model_execution": {"ready": false}, "remote_shell": {"ready": true}, "machine_control": {"ready": install}
        },
        "runtime": {"platform": "linux", "arch": "x64", "node_version": "none"}
    })
}

async fn a_code_makes_a_gateway(on: On) {
    let plane = Plane::start(on).await;
    let code = plane.code().await;
    // However a person types it.
    let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
    let body = json!({"code": typed, "device_name": " box "});
    let (status, reply) = plane.post(EXCHANGE, &plane.anon_key, &body).await;
    assert_eq!(status, 200, "{reply}");
    let mut members: Vec<&String> = reply.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "access_token",
            "expires_at",
            "gateway_id",
            "refresh_token",
            "success",
            "team_id",
            "token_type"
        ]
    );
    let gateway = plane
        .admin
        .gateway(reply["gateway_id"].as_str().unwrap())
        .await
        .unwrap();
    assert_eq!(
        (gateway.device_name.as_deref(), gateway.full_control_enabled),
        (Some("box"), false)
    );
    let resources = plane.admin.resources().await.unwrap();
    assert_eq!(resources[0].resource_type, "remote_shell");
    assert_ne!(resources[0].max_access_level.as_deref(), Some("viewer"));
    assert_eq!(
        resources[0].metadata,
        Some(json!({"gateway_id": gateway.id, "full_control": false}))
    );
    let (status, again) = plane.post(EXCHANGE, &plane.anon_key, &body).await;
    assert_eq!((status, &again["success"]), (409, &json!(false)));
    assert!(again["error"].as_str().unwrap().contains("already used"));
    assert_eq!(plane.admin.gateways().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_code_makes_a_gateway_on_sqlite() {
    a_code_makes_a_gateway(On::Sqlite).await;
}

#[tokio::test]
async fn a_code_makes_a_gateway_on_postgres() {
    a_code_makes_a_gateway(On::Postgres).await;
}

async fn one_of_many(on: On) {
    let plane = Plane::start(on).await;
    let body = json!({"code": plane.code().await, "device_name": "x"});
    let tries = (0..6).map(|_| plane.post(EXCHANGE, "", &body));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 200).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(plane.admin.gateways().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_exchanges_of_a_code_one_wins() {
    one_of_many(On::Sqlite).await;
    one_of_many(On::Postgres).await;
}

#[tokio::test]
async fn bad_codes_get_clear_errors_and_guessing_ends() {
    let plane = Plane::start(On::Sqlite).await;
    let expired = plane
        .admin
        .create_pairing_code(&plane.team, Some(Duration::ZERO))
        .await
        .unwrap();
    let body = json!({"code": expired.code.expose(), "device_name": "x"});
    let (status, reply) = plane.post(EXCHANGE, "", &body).await;
    assert_eq!(status, 410);
    assert!(reply["error"].as_str().unwrap().contains("expired"));
    let guess = json!({"code": "AAAA-BBBB-CCCC", "device_name": "x"});
    let (status, reply) = plane.post(EXCHANGE, "", &guess).await;
    assert_eq!((status, &reply["success"]), (400, &json!(false)));
    assert!(reply["error"].as_str().unwrap().contains("not known"));
    let mut last = 0;
    for _guess in 0..25 {
        last = plane.post(EXCHANGE, "", &guess).await.0;
    }
    assert_eq!(last, 429);
    assert_eq!(plane.admin.gateways().await.unwrap().len(), 0);
}

async fn heartbeats(on: On) {
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let beat = json!({"status": "ready", "capabilities": capabilities(true), "device_name": "b"});
    let (status, reply) = plane
        .post("/functions/v1/gateway-heartbeat", &gateway.access, &beat)
        .await;
    assert_eq!(
        (status, reply),
        (200, json!({"success": true, "egress_credential_renewal": null}))
    );
    let row = plane.admin.gateway(&gateway.gateway_id).await.unwrap();
    assert_eq!((row.status.as_str(), row.device_name.as_deref()), ("ready", Some("b")));
    assert_eq!(row.capabilities, Some(capabilities(true)));
    let seen: jiff::Timestamp = row.last_seen_at.clone().unwrap().parse().unwrap();
    let now = gateway::domain::clock::now();
    assert!(now.duration_since(seen).as_secs().abs() < 30);
    assert_eq!(row.effective_status(now), "ready");
    let later = now + jiff::SignedDuration::from_secs(120);
    assert_eq!(row.effective_status(later), "offline");
    let ready_at = row.ready_at.clone();
    plane
        .post("/functions/v1/gateway-heartbeat", &gateway.access, &beat)
        .await;
    assert_eq!(
        plane.admin.gateway(&gateway.gateway_id).await.unwrap().ready_at,
        ready_at
    );

    let mut wrong = beat.clone();
    wrong["capabilities"]["providers"]["other"] = json!({});
    let (status, reply) = plane
        .post("/functions/v1/gateway-heartbeat", &gateway.access, &wrong)
        .await;
    assert_eq!((status, &reply["success"]), (400, &json!(false)));
    for (token, expected) in [("", 401), (operator.as_str(), 403)] {
        assert_eq!(
            plane.post("/functions/v1/gateway-heartbeat", token, &beat).await.0,
            expected
        );
    }
}

#[tokio::test]
async fn heartbeats_are_stamped_by_the_server() {
    heartbeats(On::Sqlite).await;
    heartbeats(On::Postgres).await;
}

#[tokio::test]
async fn the_team_layer_is_switched_by_operators_only() {
    let plane = Plane::start(On::Sqlite).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let path = "/functions/v1/set-gateway-full-control";
    let on = json!({"gateway_id": gateway.gateway_id, "enabled": true});
    assert_eq!(plane.post(path, &gateway.access, &on).await.0, 403);
    assert_eq!(plane.post(path, "", &on).await.0, 401);
    let (status, reply) = plane.post(path, &operator, &on).await;
    assert_eq!((status, &reply["full_control_enabled"]), (200, &json!(true)));
    assert!(
        plane
            .admin
            .gateway(&gateway.gateway_id)
            .await
            .unwrap()
            .full_control_enabled
    );
    let other = json!({"gateway_id": uuid::Uuid::new_v4().to_string(), "enabled": true});
    assert_eq!(plane.post(path, &operator, &other).await.0, 404);
    let (status, body) = plane.post("/functions/v1/nope", &operator, &json!({})).await;
    assert_eq!(status, 404, "{body}");
}

#[tokio::test]
async fn resources_carry_the_third_layer() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let id = plane.admin.resources().await.unwrap()[0].id.clone();
    let on = plane.admin.set_machine_control(&id, true).await.unwrap();
    assert_eq!(
        on.metadata,
        Some(json!({"gateway_id": gateway.gateway_id, "full_control": true}))
    );
    let made = plane
        .admin
        .create_resource(&gateway.gateway_id, "viewer", false)
        .await
        .unwrap();
    assert_eq!(made.max_access_level.as_deref(), Some("viewer"));
    plane.admin.revoke_resource(&made.id).await.unwrap();
    assert!(plane.admin.revoke_resource(&made.id).await.is_err());
    assert!(plane.admin.gateway("nonsense").await.is_err());
    assert!(
        plane
            .admin
            .set_full_control(&gateway.gateway_id, true)
            .await
            .unwrap()
            .full_control_enabled
    );
}

#[tokio::test]
async fn an_unpaired_gateway_is_nobody() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let (status, _) = plane
        .post("/functions/v1/revoke-gateway", &gateway.access, &json!({}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(plane.get("/rest/v1/gateway_jobs", &gateway.access).await.0, 401);
    assert_eq!(
        plane.admin.gateway(&gateway.gateway_id).await.unwrap().status,
        "offline"
    );
}

async fn removal(on: On) {
    let plane = Plane::start(on).await;
    let (gateway, operator) = (plane.pair("a").await, plane.operator().await);
    let queued = plane.insert("gateway_jobs", &operator, &job(&gateway, "true")).await;
    plane.admin.remove_gateway(&gateway.gateway_id).await.unwrap();
    assert!(plane.admin.gateways().await.unwrap().is_empty());
    assert!(plane.admin.resources().await.unwrap().is_empty());
    let path = format!("/rest/v1/gateway_jobs?id=eq.{}", queued["id"].as_str().unwrap());
    let (_, rows) = plane.get(&path, &operator).await;
    assert_eq!(
        (&rows[0]["status"], &rows[0]["gateway_id"]),
        (&json!("cancelled"), &Value::Null)
    );
    crate::support::eventually::eventually("the removed gateway is refused", || async {
        (plane.get("/rest/v1/gateway_jobs", &gateway.access).await.0 == 401).then_some(())
    })
    .await;
    assert!(plane.admin.remove_gateway(&gateway.gateway_id).await.is_err());
}

#[tokio::test]
async fn a_removed_gateway_leaves_its_history() {
    removal(On::Sqlite).await;
    removal(On::Postgres).await;
}
