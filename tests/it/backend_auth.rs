//! Sessions: refreshed in time, once, stored first, never in a storm, never silently lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use gateway::backend::auth::AuthState;
use gateway::backend::{
    Auth, BackendError, Client, Realtime, RealtimeEvent, StoreError, StoreGuard, TokenStore, Tokens,
};
use gateway::domain::clock;
use gateway::domain::secret::Secret;
use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::scripted_server::{KEY, Reply, ScriptedServer, Seen};

pub(crate) const HOUR: i64 = 3600;

/// A JWT that ends `left` seconds from now.
pub(crate) fn jwt(name: &str, left: i64) -> String {
    let now = clock::now().as_second();
    let claims = json!({"iat": now + left - HOUR, "exp": now + left, "name": name});
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

pub(crate) fn tokens(access: &str, refresh: &str) -> Tokens {
    Tokens {
        access: Secret::new(access),
        refresh: Secret::new(refresh),
    }
}

#[derive(Clone)]
pub(crate) struct MemoryStore {
    stored: Arc<Mutex<Tokens>>,
    lock: Arc<tokio::sync::Mutex<()>>,
    disk_full: Arc<AtomicBool>,
}

impl MemoryStore {
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self {
            stored: Arc::new(Mutex::new(tokens)),
            lock: Arc::default(),
            disk_full: Arc::default(),
        }
    }

    pub(crate) fn refresh_token(&self) -> String {
        self.stored.lock().unwrap().refresh.expose().to_owned()
    }

    pub(crate) fn auth(&self, server: &ScriptedServer) -> Auth {
        let tokens = self.stored.lock().unwrap().clone();
        Auth::session(server.http(), Arc::new(self.clone()), tokens)
    }
}

impl TokenStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Tokens, StoreError>> {
        let tokens = self.stored.lock().unwrap().clone();
        std::future::ready(Ok(tokens)).boxed()
    }

    fn persist<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), StoreError>> {
        if self.disk_full.load(Ordering::Relaxed) {
            return std::future::ready(Err(StoreError("gateway.json: no space left on device".to_owned()))).boxed();
        }
        *self.stored.lock().unwrap() = tokens.clone();
        std::future::ready(Ok(())).boxed()
    }

    fn lock(&self) -> BoxFuture<'_, Result<StoreGuard, StoreError>> {
        let lock = Arc::clone(&self.lock);
        async move { Ok(StoreGuard::new(lock.lock_owned().await)) }.boxed()
    }
}

/// A store that panics as often as it is told to.
struct Faulty(MemoryStore, AtomicBool);

impl TokenStore for Faulty {
    fn load(&self) -> BoxFuture<'_, Result<Tokens, StoreError>> {
        self.0.load()
    }

    fn persist<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.persist(tokens)
    }

    fn lock(&self) -> BoxFuture<'_, Result<StoreGuard, StoreError>> {
        assert!(!self.1.swap(false, Ordering::Relaxed), "by the test");
        self.0.lock()
    }
}

fn session(access: &str, refresh: &str) -> Value {
    json!({"access_token": access, "refresh_token": refresh, "expires_in": HOUR, "token_type": "bearer", "user": {"id": "u"}})
}

pub(crate) fn refreshed(access: &str, refresh: &str) -> Reply {
    Reply::Json(200, session(access, refresh))
}

fn refused(code: &str) -> Reply {
    Reply::Json(400, json!({"code": code, "message": "Invalid Refresh Token"}))
}

pub(crate) fn is_refresh(seen: &Seen) -> bool {
    seen.target == "/auth/v1/token?grant_type=refresh_token"
}

pub(crate) fn refreshes(server: &ScriptedServer) -> usize {
    server.seen().iter().filter(|seen| is_refresh(seen)).count()
}

#[tokio::test]
async fn a_fresh_token_is_sent_as_it_is() {
    let server = ScriptedServer::replies([]).await;
    let access = jwt("a", 200);
    let auth = MemoryStore::new(tokens(&access, "r1")).auth(&server);
    assert_eq!(auth.bearer().await.unwrap().expose(), access);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_due_token_is_refreshed_once_for_everybody_and_stored_before_use() {
    let fresh = jwt("b", HOUR);
    let store = MemoryStore::new(tokens(&jwt("a", 80), "r1"));
    let (seen_by_server, answer) = (store.clone(), fresh.clone());
    let server = ScriptedServer::start(move |seen| {
        if is_refresh(seen) {
            return refreshed(&answer, "r2");
        }
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {answer}").as_str()));
        assert_eq!(seen_by_server.refresh_token(), "r2", "used before it was stored");
        Reply::Json(200, json!([]))
    })
    .await;
    let client = Client::new(server.http(), store.auth(&server));
    let reads = (0..20).map(|_| client.rest().from("t").select("*").fetch());
    assert!(join_all(reads).await.iter().all(Result::is_ok));
    assert_eq!(refreshes(&server), 1);
    let request = server.seen().into_iter().find(is_refresh).unwrap();
    assert_eq!(request.json(), json!({"refresh_token": "r1"}));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("x-supabase-api-version"), Some("2024-01-01"));
    assert_eq!(request.header("content-type"), Some("application/json;charset=UTF-8"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_session_is_a_visible_state_and_never_the_public_key() {
    for code in [
        "refresh_token_not_found",
        "refresh_token_already_used",
        "session_not_found",
        "user_banned",
    ] {
        let server = ScriptedServer::replies([refused(code)]).await;
        let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
        let auth = store.auth(&server);
        let state = auth.watch();
        let client = Client::new(server.http(), auth);
        for _ in 0..5 {
            let error = client.rest().from("t").select("*").fetch().await.unwrap_err();
            assert!(error.requires_pairing() && !error.is_transient(), "{error}");
            assert!(error.to_string().contains("gateway pair"), "{error}");
        }
        assert!(matches!(&*state.borrow(), AuthState::Lost(lost) if lost.code == code));
        assert_eq!(server.seen().len(), 1, "asked again, or sent something else");
        assert_eq!(store.refresh_token(), "r1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_tried_again_after_a_minute() {
    let fresh = jwt("b", HOUR);
    let server = ScriptedServer::replies([refused("session_not_found"), refreshed(&fresh, "r2")]).await;
    let auth = MemoryStore::new(tokens(&jwt("a", -1), "r1")).auth(&server);
    assert!(auth.bearer().await.unwrap_err().requires_pairing());
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(auth.bearer().await.unwrap_err().requires_pairing());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(auth.bearer().await.unwrap().expose(), fresh);
    assert_eq!(*auth.watch().borrow(), AuthState::Active);
}

#[tokio::test]
async fn pairing_again_revives_a_lost_session_at_once() {
    let server = ScriptedServer::replies([refused("session_not_found")]).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    let auth = store.auth(&server);
    assert!(auth.bearer().await.is_err());
    let paired = jwt("new", HOUR);
    *store.stored.lock().unwrap() = tokens(&paired, "new");
    assert_eq!(auth.bearer().await.unwrap().expose(), paired);
    assert_eq!(*auth.watch().borrow(), AuthState::Active);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_does_not_end_a_token_that_still_lives() {
    let server =
        ScriptedServer::start(|_| Reply::Json(400, json!({"code": "validation_failed", "message": "no"}))).await;
    let access = jwt("a", 60);
    let auth = MemoryStore::new(tokens(&access, "r1")).auth(&server);
    for _ in 0..10 {
        assert_eq!(auth.bearer().await.unwrap().expose(), access);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(server.seen().len(), 1, "a refused refresh rests for a minute");
    assert_eq!(*auth.watch().borrow(), AuthState::Active);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_auth_is_transient_and_not_hammered() {
    let server = ScriptedServer::start(|_| Reply::Json(503, json!({"message": "down"}))).await;
    let auth = MemoryStore::new(tokens(&jwt("a", -1), "r1")).auth(&server);
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        let error = auth.bearer().await.unwrap_err();
        assert!(error.is_transient() && !error.requires_pairing(), "{error}");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(
        server.seen().len() <= 60,
        "{} requests in two minutes",
        server.seen().len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_of_auth_is_obeyed() {
    let fresh = jwt("b", HOUR);
    let limited = Reply::With(
        429,
        vec![("retry-after", "40".to_owned())],
        json!({"code": "over_request_rate_limit"}),
    );
    let server = ScriptedServer::replies([limited, refreshed(&fresh, "r2")]).await;
    let auth = MemoryStore::new(tokens(&jwt("a", -1), "r1")).auth(&server);
    let wait = auth.bearer().await.unwrap_err().retry_after().unwrap();
    assert!((40..=50).contains(&wait.as_secs()), "{wait:?}");
    tokio::time::advance(Duration::from_secs(39)).await;
    assert!(auth.bearer().await.is_err());
    assert_eq!(server.seen().len(), 1);
    tokio::time::advance(Duration::from_secs(12)).await;
    assert_eq!(auth.bearer().await.unwrap().expose(), fresh);
}

#[tokio::test]
async fn a_token_refused_in_mid_request_is_refreshed_once_and_the_request_repeated_once() {
    let expired = || Reply::Json(401, json!({"code": "PGRST303", "message": "JWT expired"}));
    let server = ScriptedServer::replies([
        expired(),
        refreshed(&jwt("b", HOUR), "r2"),
        Reply::Json(200, json!([1])),
        expired(),
        refreshed(&jwt("c", HOUR), "r3"),
        expired(),
    ])
    .await;
    let client = Client::new(
        server.http(),
        MemoryStore::new(tokens(&jwt("a", HOUR), "r1")).auth(&server),
    );
    let read = || client.rest().from("t").select("*").fetch();
    assert_eq!(read().await.unwrap(), [json!(1)]);
    assert_eq!(read().await.unwrap_err().code(), Some("PGRST303"));
    let order: Vec<_> = server.seen().iter().map(is_refresh).collect();
    assert_eq!(order, [false, true, false, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_while_auth_is_down_is_an_outage() {
    let server = ScriptedServer::start(|seen| match is_refresh(seen) {
        true => Reply::Json(503, json!({"message": "down"})),
        false => Reply::Json(401, json!({"code": "PGRST303", "message": "JWT expired"})),
    })
    .await;
    let store = MemoryStore::new(tokens(&jwt("a", HOUR), "r1"));
    let client = Client::new(server.http(), store.auth(&server));
    for _ in 0..3 {
        let error = client.rest().from("t").select("*").fetch().await.unwrap_err();
        assert!(error.is_transient() && !error.requires_pairing(), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_that_a_fresh_token_cannot_mend_is_not_repeated() {
    let server = ScriptedServer::replies([Reply::Json(401, json!({"code": "42501", "message": "denied"}))]).await;
    let client = Client::new(
        server.http(),
        MemoryStore::new(tokens(&jwt("a", HOUR), "r1")).auth(&server),
    );
    assert!(client.rest().from("t").select("*").fetch().await.is_err());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_clock_costs_one_refresh_and_then_server_time_counts() {
    let behind = clock::now() - jiff::SignedDuration::from_hours(2);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&behind)
        .unwrap();
    let next = jwt("b", -HOUR);
    let body = session(&next, "r2");
    let server = ScriptedServer::start(move |_| Reply::With(200, vec![("date", date.clone())], body.clone())).await;
    let auth = MemoryStore::new(tokens(&jwt("a", -HOUR), "r1")).auth(&server);
    for _ in 0..50 {
        assert_eq!(auth.bearer().await.unwrap().expose(), next);
    }
    assert_eq!(refreshes(&server), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_always_look_expired_make_no_storm() {
    let mut count = 0;
    let server = ScriptedServer::start(move |_| {
        count += 1;
        refreshed(&jwt(&format!("t{count}"), -HOUR), &format!("r{count}"))
    })
    .await;
    let auth = MemoryStore::new(tokens(&jwt("a", -HOUR), "r0")).auth(&server);
    for _ in 0..29 {
        auth.bearer().await.unwrap();
        auth.renew(&auth.current()).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(refreshes(&server), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_a_full_disk_refused_are_used_and_written_later() {
    let second = jwt("b", HOUR);
    let server = ScriptedServer::replies([refreshed(&second, "r2")]).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    let auth = store.auth(&server);
    store.disk_full.store(true, Ordering::Relaxed);
    assert_eq!(auth.bearer().await.unwrap().expose(), second);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(auth.bearer().await.unwrap().expose(), second);
    assert_eq!((server.seen().len(), store.refresh_token().as_str()), (1, "r1"));
    store.disk_full.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(auth.bearer().await.unwrap().expose(), second);
    assert_eq!((server.seen().len(), store.refresh_token().as_str()), (1, "r2"));
}

#[tokio::test(start_paused = true)]
async fn no_token_is_spent_before_it_was_stored() {
    let (second, third) = (jwt("b", 30), jwt("c", HOUR));
    let server = ScriptedServer::replies([refreshed(&second, "r2"), refreshed(&third, "r3")]).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    let auth = store.auth(&server);
    store.disk_full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(auth.bearer().await.unwrap().expose(), second);
        assert_eq!((server.seen().len(), store.refresh_token().as_str()), (1, "r1"));
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    store.disk_full.store(false, Ordering::Relaxed);
    assert_eq!(auth.bearer().await.unwrap().expose(), third);
    assert_eq!(store.refresh_token(), "r3");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_lose_rotated_tokens() {
    let server = ScriptedServer::replies([refreshed(&jwt("b", HOUR), "r2")]).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    let auth = store.auth(&server);
    let held = store.lock.lock().await;
    assert!(auth.bearer().now_or_never().is_none());
    drop(auth);
    drop(held);
    eventually("the rotated token is stored", || async {
        (store.refresh_token() == "r2").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_fixed_token_is_never_refreshed() {
    let server = ScriptedServer::replies([Reply::Json(401, json!({"message": "no"}))]).await;
    let error = server.client().rest().from("t").select("*").fetch().await.unwrap_err();
    assert!(matches!(error, BackendError::Status { status: 401, .. }));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refreshed_token_is_pushed_to_the_channel() {
    let fresh = jwt("b", HOUR);
    let answer = fresh.clone();
    let mut server = ScriptedServer::start(move |seen| match is_refresh(seen) {
        true => refreshed(&answer, "r2"),
        false => Reply::Upgrade,
    })
    .await;
    let first = jwt("a", HOUR);
    let auth = MemoryStore::new(tokens(&first, "r1")).auth(&server);
    let client = Client::new(server.http(), auth.clone());
    let mut realtime = Realtime::new(client, "c", Vec::new());
    let talk = async {
        let mut socket = server.socket().await;
        assert_eq!(socket.accept_join().await.payload["access_token"], first.as_str());
        auth.renew(&auth.current()).await.unwrap();
        let push = socket.receive().await.unwrap();
        assert_eq!(push.event, "access_token");
        assert_eq!(push.payload, json!({"access_token": fresh}));
    };
    let listen = async {
        assert_eq!(realtime.next_event().await, RealtimeEvent::Subscribed);
        realtime.next_event().await
    };
    tokio::select! {
        () = talk => {}
        event = listen => panic!("unasked: {event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_panics_is_not_the_last() {
    let fresh = jwt("b", HOUR);
    let server = ScriptedServer::replies([refreshed(&fresh, "r2")]).await;
    let old = tokens(&jwt("a", -1), "r1");
    let store = Arc::new(Faulty(MemoryStore::new(old.clone()), AtomicBool::new(true)));
    let auth = Auth::session(server.http(), store, old);
    let error = auth.bearer().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(refreshes(&server), 0);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(auth.bearer().await.unwrap().expose(), fresh);
}
