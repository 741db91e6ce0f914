//! A Realtime client that shows every frame.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::wire::phoenix::{Frame, Vsn};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::plane::Plane;

/// One open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    vsn: Vsn,
    counter: u32,
}

impl Socket {
    pub(crate) async fn open(plane: &Plane, vsn: Vsn) -> Self {
        let version = match vsn {
            Vsn::V1 => "1.0.0",
            Vsn::V2 => "2.0.0",
        };
        let url = format!(
            "ws://{}/realtime/v1/websocket?apikey={}&vsn={version}&eventsPerSecond=10",
            plane.address, plane.anon_key
        );
        let (stream, _) = connect_async(url).await.expect("the socket opens");
        Self {
            stream,
            vsn,
            counter: 0,
        }
    }

    /// Sends a message and gives its ref.
    pub(crate) async fn send(&mut self, join_ref: Option<&str>, topic: &str, event: &str, payload: Value) -> String {
        self.counter += 1;
        let reference = self.counter.to_string();
        let join_ref = if event == "phx_join" {
            Some(reference.as_str())
        } else {
            join_ref
        };
        let frame = Frame::new(topic, event, payload).with_refs(join_ref.map(str::to_owned), Some(reference.clone()));
        let text = Message::Text(frame.encode(self.vsn).into());
        self.stream.send(text).await.expect("the message is sent");
        reference
    }

    /// The next frame; `None` when the server closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(30), self.stream.next())
                .await
                .expect("the server says something");
            match message {
                Some(Ok(Message::Text(text))) => return Some(Frame::decode(self.vsn, &text).expect("a frame")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        self.next().await.expect("the socket is open")
    }

    /// Joins a channel with bindings; gives the join's ref after the reply and the announcement.
    pub(crate) async fn join(&mut self, topic: &str, token: &str, bindings: Value) -> String {
        let nothing = bindings.as_array().is_some_and(Vec::is_empty);
        let payload = json!({
            "config": {
                "broadcast": {"ack": false, "self": false}, "presence": {"key": "", "enabled": false},
                "postgres_changes": bindings, "private": false
            },
            "access_token": token,
        });
        let reference = self.send(None, topic, "phx_join", payload).await;
        let reply = self.frame().await;
        assert_eq!(
            (reply.event.as_str(), &reply.payload["status"]),
            ("phx_reply", &json!("ok")),
            "{reply:?}"
        );
        if !nothing {
            let announced = self.frame().await;
            assert_eq!(
                announced.payload["message"], "Subscribed to PostgreSQL",
                "{announced:?}"
            );
        }
        reference
    }

    /// The next change; anything else fails the test.
    pub(crate) async fn change(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame.event, "postgres_changes", "{frame:?}");
        frame.payload
    }

    /// Proves that nothing was sent: the answer to a heartbeat is the next frame.
    pub(crate) async fn assert_silent(&mut self) {
        let reference = self.send(None, "phoenix", "heartbeat", json!({})).await;
        let frame = self.frame().await;
        assert_eq!(
            (frame.event.as_str(), frame.reference),
            ("phx_reply", Some(reference)),
            "{:?}",
            frame.payload
        );
    }
}
