//! The channels of one socket: what a client's message changes, and what is answered.
//!
//! Nothing here touches the socket. Frames go in, frames come out, time is handed in.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control_plane::auth::{Auth, Denied};
use crate::control_plane::claims::Claims;
use crate::control_plane::keys;
use crate::control_plane::realtime::bindings::{self, Binding};
use crate::control_plane::realtime::frames::{self, Push, Refusal};
use crate::control_plane::realtime::hub::{Hub, Outbox, Registration, Subscription};
use crate::control_plane::store::Store;
use crate::domain::secret::Secret;
use crate::wire::phoenix::Frame;

/// Most channels of one socket, the limit of the hosted service.
pub const MAX_CHANNELS: usize = 100;
/// Longest topic, in bytes.
const MAX_TOPIC_BYTES: usize = 1024;

/// A joined channel.
#[derive(Debug)]
struct Channel {
    join_ref: Option<String>,
    generation: u64,
    bindings: Arc<[Binding]>,
    /// The client's token; `None` while it speaks with the public key alone.
    token: Option<Secret>,
    claims: Claims,
    _registration: Registration,
}

/// All channels of one socket.
#[derive(Debug)]
pub struct Channels {
    auth: Auth,
    store: Store,
    hub: Hub,
    outbox: Outbox,
    joined: HashMap<Arc<str>, Channel>,
    generations: u64,
}

impl Channels {
    /// A socket with no channel yet, whose changes go to `outbox`.
    #[must_use]
    pub fn new(auth: Auth, store: Store, hub: Hub, outbox: Outbox) -> Self {
        Self {
            auth,
            store,
            hub,
            outbox,
            joined: HashMap::new(),
            generations: 0,
        }
    }

    /// Handles one message.
    pub async fn handle(&mut self, message: &Frame) -> Vec<Frame> {
        if message.topic == "phoenix" && message.event == "heartbeat" {
            return vec![message.reply("ok", json!({}))];
        }
        if message.event == "phx_join" && message.topic.starts_with("realtime:") {
            return self.join(message).await;
        }
        let Some(channel) = self.joined.get(message.topic.as_str()) else {
            return vec![frames::unmatched(message)];
        };
        // A message of an earlier generation of the channel means nothing to this one.
        if message.join_ref.is_some() && message.join_ref != channel.join_ref {
            return Vec::new();
        }
        match message.event.as_str() {
            "phx_leave" => self.leave(message),
            "access_token" => self.renew(message).await,
            _ if message.reference.is_some() => vec![message.reply("error", json!({"reason": "unsupported event"}))],
            _ => Vec::new(),
        }
    }

    /// Whether a change is for a channel generation that still exists.
    #[must_use]
    pub fn is_current(&self, push: &Push) -> bool {
        self.joined
            .get(&push.topic)
            .is_some_and(|channel| channel.generation == push.generation)
    }

    /// When the first token of a channel ends.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.joined
            .values()
            .filter_map(|channel| channel.claims.expires_at)
            .min()
    }

    /// Closes the channels whose token has ended.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Frame> {
        let over = |channel: &Channel| channel.claims.expires_at.filter(|end| *end <= now);
        let ended: Vec<(Arc<str>, i64)> = self
            .joined
            .iter()
            .filter_map(|(topic, channel)| {
                over(channel).map(|end| (Arc::clone(topic), now.as_second() - end.as_second()))
            })
            .collect();
        ended
            .into_iter()
            .flat_map(|(topic, late)| self.shut(&topic, &format!("Token has expired {late} seconds ago")))
            .collect()
    }

    /// Asks again whether the tokens still count, and closes the channels of those that do not.
    pub async fn revalidate(&mut self) -> Vec<Frame> {
        let tokens: Vec<(Arc<str>, Secret)> = self
            .joined
            .iter()
            .filter_map(|(topic, channel)| Some((Arc::clone(topic), channel.token.clone()?)))
            .collect();
        let mut out = Vec::new();
        for (topic, token) in tokens {
            match self.identify(Some(&token)).await {
                Ok(_) | Err(Refusal::Unavailable) => {}
                Err(refusal) => out.extend(self.shut(&topic, &refusal.to_string())),
            }
        }
        out
    }

    async fn join(&mut self, message: &Frame) -> Vec<Frame> {
        let mut out = Vec::new();
        let topic = message.topic.as_str();
        if let Some(old) = self.joined.remove(topic) {
            out.push(frames::close(topic, old.join_ref.as_deref()));
        }
        match self.admit(message).await {
            Ok(frames) => out.extend(frames),
            Err(refusal) => out.push(message.reply("error", json!({"reason": refusal.to_string()}))),
        }
        out
    }

    async fn admit(&mut self, message: &Frame) -> Result<Vec<Frame>, Refusal> {
        if message.topic == "realtime:" || message.topic.len() > MAX_TOPIC_BYTES {
            return Err(Refusal::Topic);
        }
        if self.joined.len() >= MAX_CHANNELS {
            return Err(Refusal::Channels);
        }
        let token = presented(&message.payload);
        let claims = self.identify(token.as_ref()).await?;
        let asked = bindings::read(&message.payload)?;
        let nothing_asked = asked.echo.is_empty();
        let reply = message.reply("ok", json!({"postgres_changes": asked.echo}));
        let (bindings, announcement) = match asked.bindings {
            Ok(bindings) => (bindings, frames::subscribed(&message.topic)),
            Err(problem) => (
                Vec::new(),
                frames::system(&message.topic, "postgres_changes", "error", &problem),
            ),
        };
        self.generations += 1;
        // Listening starts here, before anything is announced: nothing can fall between the two.
        let (topic, bindings): (Arc<str>, Arc<[Binding]>) = (Arc::from(message.topic.as_str()), bindings.into());
        let registration = self.listen(&topic, self.generations, claims.clone(), &bindings).await?;
        self.joined.insert(
            topic,
            Channel {
                join_ref: message.join_ref.clone().or_else(|| message.reference.clone()),
                generation: self.generations,
                bindings,
                token,
                claims,
                _registration: registration,
            },
        );
        Ok(if nothing_asked {
            vec![reply]
        } else {
            vec![reply, announcement]
        })
    }

    fn leave(&mut self, message: &Frame) -> Vec<Frame> {
        let left = self.joined.remove(message.topic.as_str());
        let join_ref = left.and_then(|channel| channel.join_ref);
        vec![
            message.reply("ok", json!({})),
            frames::close(&message.topic, join_ref.as_deref()),
        ]
    }

    /// A new token for a channel. A good one is not answered, a bad one ends the channel.
    async fn renew(&mut self, message: &Frame) -> Vec<Frame> {
        let topic: Arc<str> = Arc::from(message.topic.as_str());
        let token = presented(&message.payload);
        let Some(channel) = self.joined.get(&topic) else {
            return Vec::new();
        };
        if message.payload.get("access_token").is_none_or(Value::is_null) || token == channel.token {
            return Vec::new();
        }
        let claims = match self.identify(token.as_ref()).await {
            Ok(claims) => claims,
            Err(Refusal::Unavailable) => return Vec::new(),
            Err(refusal) => return self.shut(&topic, &refusal.to_string()),
        };
        // Somebody else listens now: subscribe anew under the new rights, then say so.
        let heir = if channel.claims.role == claims.role {
            None
        } else {
            let heir = self.listen(&topic, channel.generation, claims.clone(), &channel.bindings);
            match heir.await {
                Ok(registration) => Some(registration),
                Err(refusal) => return self.shut(&topic, &refusal.to_string()),
            }
        };
        let Some(channel) = self.joined.get_mut(&topic) else {
            return Vec::new();
        };
        channel.token = token;
        channel.claims = claims;
        let Some(heir) = heir else {
            return Vec::new();
        };
        channel._registration = heir;
        if channel.bindings.is_empty() {
            Vec::new()
        } else {
            vec![frames::subscribed(&topic)]
        }
    }

    async fn listen(
        &self,
        topic: &Arc<str>,
        generation: u64,
        claims: Claims,
        bindings: &Arc<[Binding]>,
    ) -> Result<Registration, Refusal> {
        let past = self.store.past().await.map_err(|_away| Refusal::Unavailable)?;
        Ok(self.hub.subscribe(Subscription {
            topic: Arc::clone(topic),
            generation,
            claims,
            bindings: Arc::clone(bindings),
            past,
            outbox: self.outbox.clone(),
        }))
    }

    /// Ends a channel from our side. The client does not join again by itself.
    fn shut(&mut self, topic: &str, why: &str) -> Vec<Frame> {
        let Some(channel) = self.joined.remove(topic) else {
            return Vec::new();
        };
        vec![
            frames::system(topic, "system", "error", why).with_refs(channel.join_ref.clone(), None),
            frames::close(topic, channel.join_ref.as_deref()),
        ]
    }

    async fn identify(&self, token: Option<&Secret>) -> Result<Claims, Refusal> {
        let Some(token) = token else {
            return Ok(Claims::anon());
        };
        self.auth
            .identify(token.expose(), 0)
            .await
            .map_err(|denied| match denied {
                Denied::Expired { seconds } => Refusal::Expired(seconds),
                Denied::Malformed => Refusal::Malformed,
                Denied::Signature => Refusal::Signature,
                Denied::Revoked => Refusal::Unknown,
                Denied::Store(_) => Refusal::Unavailable,
            })
    }
}

/// The token of a payload; a publishable key there stands for the socket's own key.
fn presented(payload: &Value) -> Option<Secret> {
    payload
        .get("access_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty() && !token.starts_with(keys::SUPABASE_KEY_PREFIX))
        .map(Secret::new)
}
