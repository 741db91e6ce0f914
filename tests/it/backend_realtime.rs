//! The Realtime driver on real sockets: resets, half-open peers, refused upgrades, nonsense.

use std::time::Duration;

use futures_util::FutureExt as _;
use gateway::backend::realtime::{Binding, Realtime, RealtimeEvent};
use gateway::backend::{Client, Endpoint, Http};
use gateway::domain::secret::Secret;
use gateway::wire::phoenix::Frame;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::eventually::PATIENCE;
use crate::support::scripted_server::{KEY, Reply, ScriptedServer, ServerSocket};

const TOPIC: &str = "realtime:gateway_jobs_G";

fn subscribe(server: &ScriptedServer) -> Realtime {
    subscribe_as(server.client())
}

fn subscribe_as(client: Client) -> Realtime {
    let bindings = ["INSERT", "UPDATE"].map(|event| Binding {
        event: event.to_owned(),
        table: "gateway_jobs".to_owned(),
        filter: Some("gateway_id=eq.G".to_owned()),
    });
    Realtime::new(client, "gateway_jobs_G", bindings.to_vec())
}

async fn upgrading() -> ScriptedServer {
    ScriptedServer::start(|_| Reply::Upgrade).await
}

async fn next(realtime: &mut Realtime) -> RealtimeEvent {
    timeout(PATIENCE * 4, realtime.next_event()).await.expect("an event")
}

async fn next_down(realtime: &mut Realtime) -> String {
    match next(realtime).await {
        RealtimeEvent::Down { reason, .. } => reason,
        other @ (RealtimeEvent::Subscribed | RealtimeEvent::SystemOk | RealtimeEvent::Change(_)) => {
            panic!("not down: {other:?}")
        }
    }
}

/// Lets both ends work until the channel is joined.
async fn join(server: &mut ScriptedServer, realtime: &mut Realtime) -> (ServerSocket, Frame) {
    let accept = async {
        let mut socket = server.socket().await;
        let join = socket.accept_join().await;
        (socket, join)
    };
    let (event, accepted) = tokio::join!(next(realtime), accept);
    assert_eq!(event, RealtimeEvent::Subscribed);
    accepted
}

fn insert(id: &str) -> Frame {
    let data =
        json!({"schema": "public", "table": "gateway_jobs", "type": "INSERT", "errors": null, "record": {"id": id}});
    Frame::new(TOPIC, "postgres_changes", json!({"ids": [1], "data": data}))
}

fn id_of(event: RealtimeEvent) -> String {
    match event {
        RealtimeEvent::Change(change) => change.id().unwrap().to_owned(),
        other @ (RealtimeEvent::Subscribed | RealtimeEvent::SystemOk | RealtimeEvent::Down { .. }) => {
            panic!("no change: {other:?}")
        }
    }
}

#[tokio::test]
async fn subscribes_and_receives() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, join) = join(&mut server, &mut realtime).await;
    assert!(realtime.is_subscribed());
    assert_eq!(
        server.seen()[0].target,
        format!("/realtime/v1/websocket?apikey={KEY}&eventsPerSecond=10&vsn=2.0.0")
    );
    assert_eq!(join.payload["access_token"], "token-1");
    let ok = json!({"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL", "channel": "gateway_jobs_G"});
    socket.send(&Frame::new(TOPIC, "system", ok)).await;
    assert_eq!(next(&mut realtime).await, RealtimeEvent::SystemOk);
    for id in ["a", "b"] {
        socket.send(&insert(id)).await;
        assert_eq!(id_of(next(&mut realtime).await), id);
    }
}

#[tokio::test]
async fn events_are_not_lost_when_the_caller_turns_to_something_else() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    let send = async {
        for number in 0..200 {
            socket.send(&insert(&number.to_string())).await;
            tokio::task::yield_now().await;
        }
    };
    let receive = async {
        let mut got = Vec::new();
        while got.len() < 200 {
            tokio::select! {
                biased;
                event = realtime.next_event() => got.push(id_of(event)),
                () = tokio::task::yield_now() => {}
            }
        }
        got
    };
    let ((), got) = timeout(PATIENCE, async { tokio::join!(send, receive) }).await.unwrap();
    assert_eq!(got, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_does_not_starve_the_heartbeat() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    let flood = async {
        loop {
            for _ in 0..50 {
                socket.send(&insert("x")).await;
            }
            if let Some(Some(frame)) = socket.receive().now_or_never() {
                return frame.event;
            }
            tokio::time::advance(Duration::from_millis(200)).await;
        }
    };
    let drain = async {
        loop {
            assert_eq!(id_of(next(&mut realtime).await), "x");
        }
    };
    tokio::select! {
        event = flood => assert_eq!(event, "heartbeat"),
        () = drain => {}
    }
}

#[tokio::test]
async fn a_reset_is_followed_by_a_new_subscription() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (socket, _) = join(&mut server, &mut realtime).await;
    let started = Instant::now();
    socket.reset();
    next_down(&mut realtime).await;
    assert!(!realtime.is_subscribed());
    join(&mut server, &mut realtime).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_half_open_peer_is_replaced_within_thirty_seven_seconds() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (half_open, _) = join(&mut server, &mut realtime).await;
    let silent_since = Instant::now();
    next_down(&mut realtime).await;
    join(&mut server, &mut realtime).await;
    let took = silent_since.elapsed();
    assert!(took <= Duration::from_secs(37), "{took:?}");
    drop(half_open);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_quiet_subscription_alive() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    let started = Instant::now();
    let answer = async {
        for _ in 0..10 {
            let beat = socket.receive().await.unwrap();
            assert_eq!((beat.topic.as_str(), beat.event.as_str()), ("phoenix", "heartbeat"));
            socket.send(&beat.reply("ok", json!({}))).await;
        }
    };
    tokio::select! {
        event = realtime.next_event() => panic!("unasked: {event:?}"),
        () = answer => {}
    }
    assert_eq!(started.elapsed().as_secs(), 250);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_tried_again_with_growing_waits() {
    let mut refusals = 4;
    let mut server = ScriptedServer::start(move |_| {
        refusals -= 1;
        if refusals >= 0 {
            Reply::Json(429, json!({"error": "Too many connections"}))
        } else {
            Reply::Upgrade
        }
    })
    .await;
    let mut realtime = subscribe(&server);
    for _ in 0..4 {
        let reason = next_down(&mut realtime).await;
        assert!(
            reason.contains("Too many connections") && !reason.contains(KEY),
            "{reason}"
        );
    }
    join(&mut server, &mut realtime).await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_never_answered_ends_at_its_deadline() {
    let mut first = true;
    let mut server = ScriptedServer::start(move |_| {
        if std::mem::take(&mut first) {
            Reply::Hang
        } else {
            Reply::Upgrade
        }
    })
    .await;
    let mut realtime = subscribe(&server);
    let started = Instant::now();
    next_down(&mut realtime).await;
    assert_eq!(started.elapsed().as_secs(), 15);
    join(&mut server, &mut realtime).await;
}

#[tokio::test]
async fn a_page_instead_of_an_upgrade_is_an_outage() {
    let mut first = true;
    let mut server = ScriptedServer::start(move |_| {
        if std::mem::take(&mut first) {
            Reply::html()
        } else {
            Reply::Upgrade
        }
    })
    .await;
    let mut realtime = subscribe(&server);
    next_down(&mut realtime).await;
    join(&mut server, &mut realtime).await;
}

#[tokio::test]
async fn nobody_listening_is_a_reason_without_the_key() {
    let server = upgrading().await;
    let mut realtime = subscribe(&server);
    server.stop().await;
    let reason = next_down(&mut realtime).await;
    assert!(reason.contains("127.0.0.1") && !reason.contains(KEY), "{reason}");
}

#[tokio::test]
async fn nonsense_is_counted_and_survived() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    for text in ["not json", "{}", "[]", "[1,2,3,4,5]", "null", ""] {
        socket.send_text(text).await;
    }
    socket.send_binary(vec![4, 0, 255]).await;
    socket.send(&insert("after")).await;
    assert_eq!(id_of(next(&mut realtime).await), "after");
    assert_eq!(realtime.malformed(), 7);
}

#[tokio::test]
async fn a_frame_over_the_limit_costs_the_socket_and_no_memory() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    let flood = async {
        socket.send_text("x".repeat(6 * 1024 * 1024)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reason = next_down(&mut realtime) => assert!(reason.contains("broke"), "{reason}"),
        () = flood => {}
    }
}

#[tokio::test]
async fn a_closed_channel_is_joined_again() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, join_frame) = join(&mut server, &mut realtime).await;
    let close = Frame::new(TOPIC, "phx_close", json!({})).with_refs(join_frame.join_ref.clone(), join_frame.reference);
    socket.send(&close).await;
    next_down(&mut realtime).await;
    join(&mut server, &mut realtime).await;
}

#[tokio::test]
async fn a_restarted_server_finds_the_subscription_again() {
    let mut server = upgrading().await;
    let address = server.url.clone();
    let client = Client::new(
        Http::new(Endpoint::new(&address, Secret::new(KEY)).unwrap()).unwrap(),
        server.client().auth().clone(),
    );
    let mut realtime = subscribe_as(client);
    drop(join(&mut server, &mut realtime).await);
    server.stop().await;
    next_down(&mut realtime).await;
    next_down(&mut realtime).await;
    let mut server = ScriptedServer::start_at(&address["http://".len()..], |_| Reply::Upgrade).await;
    let event = async {
        loop {
            if let RealtimeEvent::Subscribed = next(&mut realtime).await {
                return;
            }
        }
    };
    let accept = async {
        let mut socket = server.socket().await;
        socket.accept_join().await;
        socket
    };
    tokio::join!(event, accept);
}

#[tokio::test]
async fn closing_leaves_the_channel() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (mut socket, _) = join(&mut server, &mut realtime).await;
    let (left, ()) = tokio::join!(socket.receive(), realtime.close());
    assert_eq!(left.unwrap().event, "phx_leave");
}

#[tokio::test(start_paused = true)]
async fn closing_a_dead_peer_does_not_hang() {
    let mut server = upgrading().await;
    let mut realtime = subscribe(&server);
    let (half_open, _) = join(&mut server, &mut realtime).await;
    timeout(Duration::from_secs(3), realtime.close()).await.unwrap();
    drop(half_open);
}
