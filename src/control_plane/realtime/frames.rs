//! The frames this server writes. Every shape is held against a recorded one in the tests below.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::wire::phoenix::{Frame, Vsn};

/// Why a join or a token is refused; clients match the word before the colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's life is over.
    #[error("InvalidJWTToken: Token has expired {0} seconds ago")]
    Expired(i64),
    /// Not a token at all.
    #[error("MalformedJWT: The token provided is not a valid JWT")]
    Malformed,
    /// Signed by somebody else.
    #[error("JwtSignatureError: Failed to validate JWT signature")]
    Signature,
    /// Revoked, or never issued.
    #[error("Unauthorized: The token provided is not or no longer known")]
    Unknown,
    /// The store could not be asked.
    #[error("UnableToConnectToProject: The database cannot be reached")]
    Unavailable,
    /// Too many channels on one socket.
    #[error("ChannelRateLimitReached: Too many channels")]
    Channels,
    /// A topic without a name.
    #[error("TopicNameRequired: You must provide a topic name")]
    Topic,
    /// The join's `config` is not of the protocol's shape.
    #[error("InvalidJoinPayload: {0}")]
    Payload(String),
}

/// `system`, sent by a channel about its subscription or itself.
#[must_use]
pub fn system(topic: &str, extension: &str, status: &str, message: &str) -> Frame {
    let channel = topic.strip_prefix("realtime:").unwrap_or(topic);
    Frame::new(
        topic,
        "system",
        json!({"extension": extension, "status": status, "message": message, "channel": channel}),
    )
}

/// The announcement that changes are delivered from now on.
#[must_use]
pub fn subscribed(topic: &str) -> Frame {
    system(topic, "postgres_changes", "ok", "Subscribed to PostgreSQL")
}

/// The end of a channel generation; both refs are those of its join.
#[must_use]
pub fn close(topic: &str, join_ref: Option<&str>) -> Frame {
    let join_ref = join_ref.map(str::to_owned);
    Frame::new(topic, "phx_close", json!({})).with_refs(join_ref.clone(), join_ref)
}

/// The answer to a message nobody listens to.
#[must_use]
pub fn unmatched(message: &Frame) -> Frame {
    message.reply("error", json!({"reason": "unmatched topic"}))
}

/// A change on its way to one channel. The `data` text is shared by all channels that get it.
#[derive(Debug, Clone)]
pub struct Push {
    /// Which join of which channel it is for: stale ones are dropped.
    pub generation: u64,
    /// The channel.
    pub topic: Arc<str>,
    /// The bindings that matched.
    pub ids: Vec<u32>,
    /// The change as JSON text.
    pub data: Arc<str>,
}

impl Push {
    /// About how many bytes it will take on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.topic.len() + 64
    }

    /// The text frame. Written by hand so that a record is serialised once, not once per channel.
    #[must_use]
    pub fn encode(&self, vsn: Vsn) -> String {
        let topic = Value::from(&*self.topic);
        let ids = Value::from(self.ids.clone());
        let data = &self.data;
        match vsn {
            Vsn::V1 => format!(
                r#"{{"topic":{topic},"event":"postgres_changes","payload":{{"ids":{ids},"data":{data}}},"ref":null}}"#
            ),
            Vsn::V2 => format!(r#"[null,null,{topic},"postgres_changes",{{"ids":{ids},"data":{data}}}]"#),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "realtime:gateway_jobs_G";

    fn join() -> Frame {
        Frame::decode(
            Vsn::V2,
            r#"["1","1","realtime:gateway_jobs_G","phx_join",{"config":{},"access_token":"J"}]"#,
        )
        .unwrap()
    }

    #[test]
    fn replies_have_the_recorded_shapes() {
        let ok = join().reply(
            "ok",
            json!({"postgres_changes": [{"id": 93_486_771, "event": "INSERT"}]}),
        );
        assert_eq!(
            ok.encode(Vsn::V2),
            r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"ok","response":{"postgres_changes":[{"id":93486771,"event":"INSERT"}]}}]"#
        );
        let refused = join().reply("error", json!({"reason": Refusal::Expired(12).to_string()}));
        assert_eq!(
            refused.encode(Vsn::V2),
            r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"error","response":{"reason":"InvalidJWTToken: Token has expired 12 seconds ago"}}]"#
        );
        assert_eq!(
            Frame::new("phoenix", "heartbeat", json!({}))
                .with_refs(None, Some("2".into()))
                .reply("ok", json!({}))
                .encode(Vsn::V2),
            r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#
        );
        let v1: Value = serde_json::from_str(&unmatched(&join()).encode(Vsn::V1)).unwrap();
        assert_eq!(
            (&v1["ref"], &v1["event"], &v1["payload"]),
            (
                &json!("1"),
                &json!("phx_reply"),
                &json!({"status": "error", "response": {"reason": "unmatched topic"}})
            )
        );
    }

    #[test]
    fn system_and_close_have_the_recorded_shapes() {
        assert_eq!(
            subscribed(TOPIC).encode(Vsn::V2),
            r#"[null,null,"realtime:gateway_jobs_G","system",{"extension":"postgres_changes","status":"ok","message":"Subscribed to PostgreSQL","channel":"gateway_jobs_G"}]"#
        );
        assert_eq!(
            system(TOPIC, "system", "error", "Token has expired 0 seconds ago")
                .with_refs(Some("1".into()), None)
                .encode(Vsn::V2),
            r#"["1",null,"realtime:gateway_jobs_G","system",{"extension":"system","status":"error","message":"Token has expired 0 seconds ago","channel":"gateway_jobs_G"}]"#
        );
        assert_eq!(
            close(TOPIC, Some("1")).encode(Vsn::V2),
            r#"["1","1","realtime:gateway_jobs_G","phx_close",{}]"#
        );
    }

    #[test]
    fn a_push_is_the_recorded_event_in_both_versions() {
        let push = Push {
            generation: 1,
            topic: Arc::from(TOPIC),
            ids: vec![93_486_771],
            data: Arc::from(r#"{"schema":"public","table":"gateway_jobs","type":"INSERT"}"#),
        };
        assert_eq!(
            push.encode(Vsn::V2),
            r#"[null,null,"realtime:gateway_jobs_G","postgres_changes",{"ids":[93486771],"data":{"schema":"public","table":"gateway_jobs","type":"INSERT"}}]"#
        );
        let (v1, v2) = (
            Frame::decode(Vsn::V1, &push.encode(Vsn::V1)).unwrap(),
            Frame::decode(Vsn::V2, &push.encode(Vsn::V2)).unwrap(),
        );
        assert_eq!(v1, v2);
    }
}
