//! Keys, sessions and refresh tokens, over HTTP, on both stores.

use gateway::control_plane::auth::Lives;
use serde_json::{Value, json};

use crate::support::plane::{On, Paired, Plane, answer};

async fn refresh(plane: &Plane, token: &str) -> (u16, Value) {
    let request = plane
        .request(
            reqwest::Method::POST,
            "/auth/v1/token?grant_type=refresh_token",
            &plane.anon_key,
        )
        .header("X-Supabase-Api-Version", "2024-01-01")
        .json(&json!({"refresh_token": token}));
    answer(request).await
}

fn token(body: &Value) -> String {
    body["refresh_token"].as_str().unwrap().to_owned()
}

async fn rotation(on: On) {
    let lives = Lives {
        reuse_seconds: 0,
        ..Lives::default()
    };
    let plane = Plane::with(on, lives).await;
    let gateway = plane.pair("a").await;
    let (status, first) = refresh(&plane, &gateway.refresh).await;
    assert_eq!(
        (status, &first["token_type"], &first["expires_in"]),
        (200, &json!("bearer"), &json!(3600))
    );
    assert_ne!(token(&first), gateway.refresh);
    assert_eq!(first["user"]["app_metadata"]["gateway_id"], json!(gateway.gateway_id));
    // The parent of the active token gives that same token, as often as it likes.
    for _again in 0..2 {
        let (status, same) = refresh(&plane, &gateway.refresh).await;
        assert_eq!((status, token(&same)), (200, token(&first)));
    }
    let (_, second) = refresh(&plane, &token(&first)).await;
    // Two generations behind is a stolen token: the family ends.
    let (status, body) = refresh(&plane, &gateway.refresh).await;
    assert_eq!((status, &body["code"]), (400, &json!("refresh_token_already_used")));
    let (status, body) = refresh(&plane, &token(&second)).await;
    assert_eq!((status, &body["code"]), (400, &json!("session_not_found")));
    let (status, body) = plane
        .get("/auth/v1/user", second["access_token"].as_str().unwrap())
        .await;
    assert_eq!((status, &body["error_code"]), (403, &json!("session_not_found")));
    let (status, _) = plane
        .get("/rest/v1/gateway_jobs", second["access_token"].as_str().unwrap())
        .await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn refresh_tokens_rotate_on_sqlite() {
    rotation(On::Sqlite).await;
}

#[tokio::test]
async fn refresh_tokens_rotate_on_postgres() {
    rotation(On::Postgres).await;
}

async fn race(on: On) {
    let plane = Plane::start(on).await;
    let gateway = plane.pair("a").await;
    let answers = futures_util::future::join_all((0..8).map(|_| refresh(&plane, &gateway.refresh))).await;
    let first = token(&answers[0].1);
    for (status, body) in &answers {
        assert_eq!((*status, token(body)), (200, first.clone()), "{body}");
    }
}

#[tokio::test]
async fn clients_that_race_get_the_same_successor() {
    race(On::Sqlite).await;
    race(On::Postgres).await;
}

#[tokio::test]
async fn within_the_reuse_interval_an_old_token_still_works() {
    let plane = Plane::start(On::Sqlite).await;
    let gateway = plane.pair("a").await;
    let (_, first) = refresh(&plane, &gateway.refresh).await;
    refresh(&plane, &token(&first)).await;
    let (status, again) = refresh(&plane, &gateway.refresh).await;
    assert_eq!(status, 200);
    assert_ne!(token(&again), token(&first));
}

#[tokio::test]
async fn both_generations_of_error_bodies_are_spoken() {
    let plane = Plane::start(On::Sqlite).await;
    let (status, new) = refresh(&plane, "nope").await;
    assert_eq!((status, &new["code"]), (400, &json!("refresh_token_not_found")));
    let (status, old) = plane
        .post(
            "/auth/v1/token?grant_type=refresh_token",
            "",
            &json!({"refresh_token": "nope"}),
        )
        .await;
    assert_eq!(
        (status, &old["code"], &old["error_code"]),
        (400, &json!(400), &json!("refresh_token_not_found"))
    );
    let (status, _) = plane.post("/auth/v1/token?grant_type=password", "", &json!({})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn logout_ends_the_session_at_once() {
    let plane = Plane::start(On::Sqlite).await;
    let Paired {
        access,
        refresh: parent,
        ..
    } = plane.pair("a").await;
    let (status, user) = plane.get("/auth/v1/user", &access).await;
    assert_eq!((status, &user["aud"]), (200, &json!("authenticated")));
    let (status, _) = plane.post("/auth/v1/logout", &access, &json!({})).await;
    assert_eq!(status, 204);
    assert_eq!(plane.get("/auth/v1/user", &access).await.0, 403);
    assert_eq!(refresh(&plane, &parent).await.1["code"], "session_not_found");
}

#[tokio::test]
async fn expired_and_forged_tokens_are_told_apart() {
    let lives = Lives {
        access_seconds: -60,
        ..Lives::default()
    };
    let plane = Plane::with(On::Sqlite, lives).await;
    let gateway = plane.pair("a").await;
    let request = plane.request(reqwest::Method::GET, "/rest/v1/gateway_jobs", &gateway.access);
    let response = request.send().await.unwrap();
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("invalid_token")
    );
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "PGRST303");
    assert_eq!(plane.get("/rest/v1/gateway_jobs", "a.b.c").await.1["code"], "PGRST301");
    assert_eq!(
        plane.get("/auth/v1/user", &gateway.access).await.1["error_code"],
        "bad_jwt"
    );
    assert_eq!(plane.get("/auth/v1/user", "").await.0, 401);
}

#[tokio::test]
async fn operators_come_with_their_token_and_go_when_it_is_revoked() {
    let plane = Plane::start(On::Sqlite).await;
    let made = plane.admin.create_token(&plane.team, "me", None).await.unwrap();
    let token = made.token.expose();
    let (status, user) = plane.get("/auth/v1/user", token).await;
    assert_eq!((status, &user["app_metadata"]["role"]), (200, &json!("operator")));
    assert_eq!(user["app_metadata"]["team_id"], json!(plane.team));
    plane.admin.revoke_token(&made.id).await.unwrap();
    let listed = plane.admin.list_tokens().await.unwrap();
    assert!(listed[0].revoked_at.is_some());
    crate::support::eventually::eventually("the revocation counts", || async {
        (plane.get("/auth/v1/user", token).await.0 == 403).then_some(())
    })
    .await;
    assert!(plane.admin.revoke_token(&made.id).await.is_err());
}

#[tokio::test]
async fn a_request_needs_the_public_key() {
    let plane = Plane::start(On::Sqlite).await;
    for path in ["/rest/v1/gateway_jobs", "/auth/v1/user", "/nowhere"] {
        let expected = if path == "/nowhere" { 404 } else { 401 };
        let (status, body) = answer(plane.http.get(plane.url(path))).await;
        assert_eq!((status, body["message"].is_string()), (expected, true), "{path}");
    }
    let wrong = plane
        .http
        .get(plane.url("/rest/v1/gateway_jobs"))
        .header("apikey", "sb_publishable_x");
    assert_eq!(answer(wrong).await.0, 401);
    assert_eq!(plane.get("/rest/v1/gateway_jobs", "").await, (200, json!([])));
    let anon_key = plane.anon_key.clone();
    assert_eq!(plane.get("/rest/v1/gateway_jobs", &anon_key).await, (200, json!([])));
}
