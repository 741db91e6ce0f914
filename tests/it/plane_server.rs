//! The server as a whole: health, limits, one per file, an orderly end.

use std::time::Duration;

use gateway::control_plane::listen::ConnectionLimits;
use gateway::control_plane::server::{MAX_BODY_BYTES, ServeError, ServeOptions, serve};
use gateway::wire::phoenix::Vsn;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::eventually::PATIENCE;
use crate::support::plane::{On, Plane};
use crate::support::ws::Socket;

#[tokio::test]
async fn health_needs_no_key_and_every_answer_is_dated() {
    for (on, dialect) in [(On::Sqlite, "sqlite"), (On::Postgres, "postgres")] {
        let plane = Plane::start(on).await;
        let response = plane.http.get(plane.url("/health")).send().await.unwrap();
        assert!(response.headers().contains_key("date"));
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["dialect"], &body["status"]), (&json!(dialect), &json!("ok")));
        assert!(body["version"].is_string());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_json() {
    let plane = Plane::start(On::Sqlite).await;
    let operator = plane.operator().await;
    for length in [MAX_BODY_BYTES + 1, MAX_BODY_BYTES + 10_000_000] {
        let request = plane
            .request(reqwest::Method::POST, "/rest/v1/gateway_jobs", &operator)
            .header("content-type", "application/json")
            .body(vec![b' '; length]);
        let (status, body) = crate::support::plane::answer(request).await;
        assert_eq!(status, 413);
        assert!(body["message"].as_str().unwrap().contains("larger"), "{body}");
    }
    // Of unknown length, so that only counting finds out.
    let chunks = (0..70).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = plane
        .request(reqwest::Method::POST, "/rest/v1/gateway_jobs", &operator)
        .header("content-type", "application/json")
        .body(body);
    // The server stops reading, so the sender may see either the answer or a broken pipe.
    if let Ok(response) = request.send().await {
        assert_eq!(response.status().as_u16(), 413);
    }
}

#[tokio::test]
async fn only_rows_may_be_megabytes() {
    let plane = Plane::start(On::Sqlite).await;
    let big = json!({"code": "A".repeat(1_000_000), "refresh_token": "x"});
    for path in [
        "/functions/v1/exchange-gateway-pairing-code",
        "/auth/v1/token?grant_type=refresh_token",
    ] {
        let (status, body) = plane.post(path, "", &big).await;
        assert_eq!(status, 413, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_file_is_served_once() {
    let mut plane = Plane::start(On::Sqlite).await;
    let options = ServeOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        database: plane.database.clone(),
        lives: gateway::control_plane::auth::Lives::default(),
        limits: ConnectionLimits::default(),
    };
    let second = serve(options.clone(), drop, std::future::pending()).await;
    let error = second.unwrap_err();
    assert!(matches!(error, ServeError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("already serves"));
    plane.stop().await.unwrap();
    serve(options, drop, std::future::ready(())).await.unwrap();
}

#[tokio::test]
async fn postgres_is_served_by_many() {
    let plane = Plane::start(On::Postgres).await;
    let options = ServeOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        database: plane.database.clone(),
        lives: gateway::control_plane::auth::Lives::default(),
        limits: ConnectionLimits::default(),
    };
    let mut anon_key = String::new();
    let heard = |bound: gateway::control_plane::server::Bound| anon_key = bound.anon_key.expose().to_owned();
    serve(options, heard, std::future::ready(())).await.unwrap();
    assert_eq!(anon_key, plane.anon_key);
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let plane = Plane::start(On::Sqlite).await;
    let dir = tempfile::TempDir::new().unwrap();
    let options = ServeOptions {
        listen: plane.address,
        database: format!("sqlite:{}", dir.path().join("x.sqlite").display())
            .parse()
            .unwrap(),
        lives: gateway::control_plane::auth::Lives::default(),
        limits: ConnectionLimits::default(),
    };
    let error = serve(options, drop, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains(&plane.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_makes_room_for_others() {
    let dir = tempfile::TempDir::new().unwrap();
    let database = format!("sqlite:{}", dir.path().join("x.sqlite").display());
    let options = ServeOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        database: database.parse().unwrap(),
        lives: gateway::control_plane::auth::Lives::default(),
        limits: ConnectionLimits {
            connections: 1,
            headers: Duration::from_millis(300),
        },
    };
    let (heard, bound) = tokio::sync::oneshot::channel();
    let mut served = tokio::task::JoinSet::new();
    served.spawn(serve(
        options,
        move |bound| drop(heard.send(bound)),
        std::future::pending(),
    ));
    let address = bound.await.unwrap().address;
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: ").await.unwrap();
    // There is one seat, so this answer says that the slow one lost it.
    let health = crate::support::plane::client().get(format!("http://{address}/health"));
    assert_eq!(health.send().await.unwrap().status().as_u16(), 200);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn stopping_closes_sockets() {
    let mut plane = Plane::start(On::Sqlite).await;
    let mut socket = Socket::open(&plane, Vsn::V2).await;
    socket.join("realtime:x", "", json!([])).await;
    plane.stop().await.unwrap();
    assert!(socket.next().await.is_none());
    assert!(plane.http.get(plane.url("/health")).send().await.is_err());
}
