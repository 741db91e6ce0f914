//! The frame codec of Supabase Realtime (Phoenix channels), serializer versions 1.0.0 and 2.0.0.
//!
//! Source: `realtime-js` 2.119 and the Phoenix serializers; 1.0.0 is a JSON object, 2.0.0 a JSON array
//! `[join_ref, ref, topic, event, payload]`. Only text frames exist for `postgres_changes`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Largest frame accepted, in bytes, the limit of the hosted service.
pub const MAX_FRAME_BYTES: usize = 5 * 1024 * 1024;

/// Serializer version, `vsn` in the socket address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vsn {
    /// Objects; what a client without `vsn` means.
    #[default]
    V1,
    /// Arrays; what today's clients ask for.
    V2,
}

impl Vsn {
    /// Reads the `vsn` query parameter.
    #[must_use]
    pub fn from_query(vsn: Option<&str>) -> Option<Self> {
        match vsn {
            None | Some("1.0.0") => Some(Self::V1),
            Some("2.0.0") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// One message in either direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Ref of the `phx_join` this message belongs to; absent in 1.0.0 frames of the server.
    pub join_ref: Option<String>,
    /// Ref that a reply repeats; decimal text from one counter per socket.
    pub reference: Option<String>,
    /// `phoenix` or `realtime:<name>`.
    pub topic: String,
    /// `phx_join`, `phx_reply`, `heartbeat`, `postgres_changes`, ...
    pub event: String,
    /// Event-specific body.
    pub payload: Value,
}

/// A text frame that is no message of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// Not JSON, or not of the version's shape.
    #[error("frame is not a Realtime message: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct ObjectFrame {
    topic: String,
    event: String,
    payload: Value,
    #[serde(rename = "ref")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    join_ref: Option<String>,
}

impl Frame {
    /// A message that belongs to no join, such as the socket's heartbeat.
    #[must_use]
    pub fn new(topic: impl Into<String>, event: impl Into<String>, payload: Value) -> Self {
        Self {
            join_ref: None,
            reference: None,
            topic: topic.into(),
            event: event.into(),
            payload,
        }
    }

    /// Sets both refs.
    #[must_use]
    pub fn with_refs(mut self, join_ref: Option<String>, reference: Option<String>) -> Self {
        self.join_ref = join_ref;
        self.reference = reference;
        self
    }

    /// The `phx_reply` to this message: `status` is `ok` or `error`.
    #[must_use]
    pub fn reply(&self, status: &str, response: Value) -> Self {
        let payload = Map::from_iter([
            ("status".to_owned(), Value::from(status)),
            ("response".to_owned(), response),
        ]);
        Self::new(self.topic.clone(), "phx_reply", Value::Object(payload))
            .with_refs(self.join_ref.clone(), self.reference.clone())
    }

    /// Reads a text frame.
    ///
    /// # Errors
    /// [`FrameError`] when it is too large or not of the version's shape.
    pub fn decode(vsn: Vsn, text: &str) -> Result<Self, FrameError> {
        if text.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(text.len()));
        }
        match vsn {
            Vsn::V1 => {
                let frame: ObjectFrame = serde_json::from_str(text)?;
                Ok(Self {
                    join_ref: frame.join_ref,
                    reference: frame.reference,
                    topic: frame.topic,
                    event: frame.event,
                    payload: frame.payload,
                })
            }
            Vsn::V2 => {
                let (join_ref, reference, topic, event, payload) = serde_json::from_str(text)?;
                Ok(Self {
                    join_ref,
                    reference,
                    topic,
                    event,
                    payload,
                })
            }
        }
    }

    /// Writes a text frame.
    #[must_use]
    pub fn encode(&self, vsn: Vsn) -> String {
        match vsn {
            Vsn::V1 => json!({
                "topic": self.topic, "event": self.event, "payload": self.payload,
                "ref": self.reference, "join_ref": self.join_ref,
            }),
            Vsn::V2 => json!([self.join_ref, self.reference, self.topic, self.event, self.payload]),
        }
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_two_join_decodes() {
        let text = r#"["1","1","realtime:gateway_jobs_G","phx_join",{"config":{"private":false},"access_token":"J"}]"#;
        let frame = Frame::decode(Vsn::V2, text).unwrap();
        assert_eq!(
            (frame.topic.as_str(), frame.event.as_str()),
            ("realtime:gateway_jobs_G", "phx_join")
        );
        assert_eq!(frame.encode(Vsn::V2), text);
    }

    #[test]
    fn version_one_server_frame_needs_no_join_ref() {
        let text = r#"{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"2"}"#;
        let frame = Frame::decode(Vsn::V1, text).unwrap();
        assert_eq!((frame.join_ref, frame.reference.as_deref()), (None, Some("2")));
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(Frame::decode(Vsn::V2, "{}").is_err());
        assert!(Frame::decode(Vsn::V1, "[]").is_err());
        assert!(Frame::decode(Vsn::V2, "not json").is_err());
        assert!(matches!(
            Frame::decode(Vsn::V2, &"x".repeat(MAX_FRAME_BYTES + 1)),
            Err(FrameError::TooLarge(_))
        ));
    }

    fn payload() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_frame_survives_both_versions(
            topic in ".*", event in ".*", payload in payload(),
            join_ref in proptest::option::of(".{0,5}"), reference in proptest::option::of(".{0,5}"),
        ) {
            let frame = Frame::new(topic, event, payload).with_refs(join_ref, reference);
            for vsn in [Vsn::V1, Vsn::V2] {
                prop_assert_eq!(&Frame::decode(vsn, &frame.encode(vsn)).unwrap(), &frame);
            }
        }

        #[test]
        fn no_text_makes_it_panic_and_what_is_a_frame_stays_one(
            text in prop_oneof![".*", r#"[\[{]?("(ref|topic|event|payload|join_ref|x)"[:,]?|null|[0-9]|[\[\]{},:"]){0,12}"#],
        ) {
            for vsn in [Vsn::V1, Vsn::V2] {
                if let Ok(frame) = Frame::decode(vsn, &text) {
                    prop_assert_eq!(&Frame::decode(vsn, &frame.encode(vsn)).unwrap(), &frame);
                }
            }
        }
    }
}
