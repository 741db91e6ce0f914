//! The HTTP client against a backend that fails in every way.

use std::time::Duration;

use gateway::backend::{Auth, BackendError, Client, Endpoint, Http, HttpError, functions};
use gateway::domain::clock;
use gateway::domain::secret::Secret;
use gateway::wire::pairing::ExchangeRequest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::scripted_server::{KEY, Reply, ScriptedServer};

async fn outcome_of(reply: Reply) -> Result<Vec<Value>, BackendError> {
    let server = ScriptedServer::replies([reply]).await;
    server.client().rest().from("t").select("*").fetch().await
}

async fn error_of(reply: Reply) -> BackendError {
    outcome_of(reply).await.expect_err("an error")
}

#[tokio::test]
async fn a_request_carries_what_the_backend_wants() {
    let server = ScriptedServer::replies([Reply::Json(200, json!([])), Reply::Json(204, Value::Null)]).await;
    let rest = server.client().rest();
    rest.from("t").select("*").fetch().await.unwrap();
    rest.from("t")
        .update(&json!({"a": 1}))
        .eq("id", "x")
        .execute()
        .await
        .unwrap();
    let seen = server.seen();
    let info = concat!("panorama-gateway/", env!("CARGO_PKG_VERSION"));
    for request in &seen {
        assert_eq!(request.header("apikey"), Some(KEY));
        assert_eq!(request.header("authorization"), Some("Bearer token-1"));
        assert_eq!(request.header("x-client-info"), Some(info));
    }
    assert_eq!(seen[0].header("accept-profile"), Some("public"));
    assert_eq!(seen[1].header("content-profile"), Some("public"));
    assert_eq!(seen[1].header("content-type"), Some("application/json"));
    assert_eq!(seen[1].header("prefer"), Some("return=minimal"));
    assert_eq!(
        (seen[1].method.as_str(), seen[1].target.as_str()),
        ("PATCH", "/rest/v1/t?id=eq.x")
    );
}

#[tokio::test]
async fn error_bodies_are_read_and_judged() {
    let transient = [500, 502, 503, 504, 429, 408];
    for status in transient {
        let error = error_of(Reply::Json(status, json!({"message": "busy"}))).await;
        assert!(error.is_transient() && !error.is_refused_payload(), "{error}");
    }
    for status in [400, 413, 422] {
        let error = error_of(Reply::Json(status, json!({"code": "22P02", "message": "bad"}))).await;
        assert!(!error.is_transient() && error.is_refused_payload(), "{error}");
        assert_eq!(error.to_string(), format!("GET t: bad (HTTP {status}, 22P02)"));
    }
}

#[tokio::test]
async fn a_strangers_refusal_is_not_believed() {
    for status in [400, 401, 403, 404, 422] {
        let page = "<html>no</html>";
        let head = format!(
            "HTTP/1.1 {status} No\r\ncontent-type: text/html\r\ncontent-length: {}",
            page.len()
        );
        let error = error_of(Reply::Raw(format!("{head}\r\n\r\n{page}").into_bytes())).await;
        assert!(error.is_transient() && !error.is_refused_payload(), "{error}");
        assert!(
            error.to_string().contains(&format!("a page (HTTP {status})")),
            "{error}"
        );
        let bare = error_of(Reply::Json(status, json!({"message": "no"}))).await;
        assert!(!bare.is_refused_payload(), "{bare}");
    }
}

#[tokio::test]
async fn no_text_holds_a_token_even_if_the_backend_repeats_it() {
    let error = error_of(Reply::Json(
        403,
        json!({"message": format!("token-1 and {KEY} are bad")}),
    ))
    .await;
    let text = format!("{error} {error:?}");
    assert!(!text.contains("token-1") && !text.contains(KEY), "{text}");
}

#[tokio::test]
async fn a_login_page_is_an_outage_and_not_an_answer() {
    let error = error_of(Reply::html()).await;
    assert!(
        matches!(error, BackendError::Http(HttpError::NotOurs { .. })),
        "{error}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_login_page_is_no_success_of_a_write() {
    let server = ScriptedServer::replies([Reply::html()]).await;
    let write = server
        .client()
        .rest()
        .from("t")
        .update(&json!({}))
        .eq("id", "x")
        .execute()
        .await;
    assert!(matches!(write, Err(BackendError::Http(HttpError::NotOurs { .. }))));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = ScriptedServer::replies([Reply::Json(200, json!([]))]).await;
    let error = error_of(Reply::With(302, vec![("location", elsewhere.url.clone())], json!({}))).await;
    assert!(
        matches!(error, BackendError::Http(HttpError::NotOurs { .. })),
        "{error}"
    );
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_cut_connection_is_transient() {
    let error = error_of(Reply::Cut).await;
    assert!(matches!(error, BackendError::Http(HttpError::Cut { .. })), "{error}");
    assert!(error.is_transient());
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n[{\"a\":".to_vec();
    let error = error_of(Reply::Raw(half)).await;
    assert!(matches!(error, BackendError::Http(HttpError::Cut { .. })), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_transient_and_names_the_host() {
    let server = ScriptedServer::replies([]).await;
    let client = server.client();
    let host = server.url.trim_start_matches("http://").to_owned();
    server.stop().await;
    let error = client.rest().from("t").select("*").fetch().await.unwrap_err();
    assert!(
        matches!(error, BackendError::Http(HttpError::Connect { .. })),
        "{error}"
    );
    assert!(error.is_transient() && error.to_string().contains(&host), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_ends_at_its_deadline() {
    let started = tokio::time::Instant::now();
    let error = error_of(Reply::Hang).await;
    assert!(
        matches!(error, BackendError::Http(HttpError::Timeout { .. })),
        "{error}"
    );
    assert!(error.is_transient());
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(24) && took <= Duration::from_secs(26),
        "{took:?}"
    );
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date_and_spread() {
    for (status, text, bounds) in [
        (429, "7", 7_000..8_751),
        (503, "Wed, 21 Oct 2015 07:28:00 GMT", 0..1),
        (503, "86400", 60_000..75_001),
    ] {
        let reply = || Reply::With(status, vec![("retry-after", text.to_owned())], json!({}));
        let (one, other) = (error_of(reply()).await, error_of(reply()).await);
        let wait = one.retry_after().unwrap();
        assert!(bounds.contains(&wait.as_millis()), "{wait:?}");
        assert!(wait.is_zero() || one.retry_after() != other.retry_after());
    }
}

#[tokio::test]
async fn the_servers_clock_is_learnt_from_its_answers_but_not_from_strangers() {
    let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\ncontent-length: 1\r\n\r\nx";
    let server = ScriptedServer::replies([Reply::Raw(page.to_vec()), Reply::With(200, vec![date], json!([]))]).await;
    let client = server.client();
    assert!(client.rest().from("t").select("*").fetch().await.is_err());
    assert_eq!(client.http().server_offset(), None);
    client.rest().from("t").select("*").fetch().await.unwrap();
    let offset = client.http().server_offset().expect("learnt");
    let server_now = offset.server_time(clock::now());
    assert!(server_now.to_string().starts_with("2015-10-21T07:2"), "{server_now}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[\"".to_vec();
    reply.resize(reply.len() + 33 * 1024 * 1024, b'x');
    let error = error_of(Reply::Raw(reply)).await;
    assert!(
        matches!(error, BackendError::Http(HttpError::TooLarge { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_of_another_shape_is_named() {
    let error = outcome_of(Reply::Json(200, json!({"not": "a list"})))
        .await
        .unwrap_err();
    assert!(matches!(error, BackendError::Unexpected { .. }), "{error}");
    let server = ScriptedServer::replies([Reply::Json(200, json!([1, 2]))]).await;
    let two = server.client().rest().from("t").select("*").maybe_one().await;
    assert!(matches!(two, Err(BackendError::Unexpected { .. })));
}

#[tokio::test]
async fn a_peer_without_tls_is_no_trusted_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let http = Http::new(Endpoint::new(&url, Secret::new(KEY)).unwrap()).unwrap();
    let client = Client::new(http, Auth::fixed(Secret::new("token-1")));
    let talk = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (result, _stream) = tokio::join!(client.rest().from("t").select("*").fetch(), talk);
    let error = result.unwrap_err();
    assert!(matches!(error, BackendError::Http(HttpError::Tls { .. })), "{error:?}");
    assert!(error.is_transient());
}

#[test]
fn addresses_are_checked_and_never_shown_with_a_password() {
    for bad in ["", "nonsense", "ftp://host", "http://", "http://user:pass@host"] {
        let error = Endpoint::new(bad, Secret::new(KEY)).unwrap_err();
        assert!(!error.is_transient() && !error.to_string().contains("pass@"), "{error}");
    }
    let endpoint = Endpoint::new(" http://host:81/base/ ", Secret::new(KEY)).unwrap();
    assert_eq!(endpoint.at("/rest/v1/t").as_str(), "http://host:81/base/rest/v1/t");
    assert_eq!(
        (endpoint.origin().as_str(), endpoint.host().as_str()),
        ("http://host:81", "host:81")
    );
    assert!(!format!("{endpoint:?}").contains(KEY));
}

#[tokio::test]
async fn pairing_uses_the_public_key_and_tells_the_backends_reason() {
    let good = json!({"success": true, "gateway_id": "g", "team_id": "t", "access_token": "a", "refresh_token": "r",
        "token_type": "bearer", "expires_at": "2026-01-01T00:00:00Z", "new_member": 1});
    let server = ScriptedServer::replies([
        Reply::Json(200, good),
        Reply::Json(400, json!({"success": false, "error": "This code has expired."})),
        Reply::Json(200, json!({"success": true})),
    ])
    .await;
    let http = server.http();
    let request = ExchangeRequest {
        code: "CODE".to_owned(),
        device_name: "host".to_owned(),
    };
    assert_eq!(
        functions::exchange(&http, &request).await.unwrap().gateway_id.as_str(),
        "g"
    );
    let error = functions::exchange(&http, &request).await.unwrap_err();
    assert!(error.to_string().contains("This code has expired."), "{error}");
    let error = functions::exchange(&http, &request).await.unwrap_err();
    assert!(matches!(error, BackendError::Unexpected { .. }), "{error}");
    let seen = &server.seen()[0];
    assert_eq!(seen.target, "/functions/v1/exchange-gateway-pairing-code");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen.body, br#"{"code":"CODE","device_name":"host"}"#);
}

#[tokio::test]
async fn connections_are_reused() {
    let server = ScriptedServer::start(|_| Reply::Json(200, json!([]))).await;
    let rest = server.client().rest();
    for _ in 0..20 {
        rest.from("t").select("*").fetch().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}
