//! Who listens to what on this node, and the fan-out of a change to them.
//!
//! A change is read once, serialised once and shared. Every socket has one bounded queue; a socket whose reader is
//! too slow for it is cut off, since a client that missed something must reconnect and reconcile anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control_plane::claims::Claims;
use crate::control_plane::realtime::bindings::Binding;
use crate::control_plane::realtime::event::Event;
use crate::control_plane::realtime::frames::Push;
use crate::control_plane::store::Past;

/// Most changes that wait for one socket.
const MAX_WAITING: usize = 4096;
/// Most bytes that wait for one socket. Shared records count for every socket.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;

/// The sending end of a socket's queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    sender: mpsc::Sender<Push>,
    waiting_bytes: Arc<AtomicUsize>,
    overflow: CancellationToken,
}

/// The receiving end of a socket's queue.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Push>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Cancelled when something had to be left out.
    pub overflow: CancellationToken,
}

/// A socket's queue.
#[must_use]
pub fn queue() -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let overflow = CancellationToken::new();
    let inbox = Inbox {
        receiver,
        waiting_bytes: Arc::clone(&waiting_bytes),
        overflow: overflow.clone(),
    };
    let outbox = Outbox {
        sender,
        waiting_bytes,
        overflow,
    };
    (outbox, inbox)
}

impl Outbox {
    fn push(&self, push: Push) {
        let size = push.size();
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        if waiting.saturating_add(size) > MAX_WAITING_BYTES || self.sender.try_send(push).is_err() {
            self.overflow.cancel();
        }
    }
}

impl Inbox {
    /// Waits for changes and moves up to `most` of them into `batch`.
    pub async fn receive(&mut self, batch: &mut Vec<Push>, most: usize) {
        self.receiver.recv_many(batch, most).await;
        let size = batch.iter().map(Push::size).sum();
        self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// One channel generation that listens.
#[derive(Debug)]
pub struct Subscription {
    /// The channel.
    pub topic: Arc<str>,
    /// Which join of it.
    pub generation: u64,
    /// Who listens.
    pub claims: Claims,
    /// To what.
    pub bindings: Arc<[Binding]>,
    /// What was there before the listening began, and is not offered.
    pub past: Past,
    /// Where to.
    pub outbox: Outbox,
}

impl Subscription {
    fn offer(&self, event: &Event) {
        let wanting: Vec<&Binding> = self
            .bindings
            .iter()
            .filter(|binding| binding.wants(event.table, event.op, &event.row))
            .collect();
        let Some(first) = wanting.first() else { return };
        if self.past.includes(event.position()) || !event.visible_to(&self.claims) {
            return;
        }
        // One frame for all bindings of the channel, unless they want different columns.
        if wanting.iter().all(|binding| binding.select == first.select) {
            let ids = wanting.iter().map(|binding| binding.id).collect();
            self.outbox.push(self.push(ids, event.data(first.select.as_deref())));
            return;
        }
        for binding in wanting {
            self.outbox
                .push(self.push(vec![binding.id], event.data(binding.select.as_deref())));
        }
    }

    fn push(&self, ids: Vec<u32>, data: Arc<str>) -> Push {
        Push {
            generation: self.generation,
            topic: Arc::clone(&self.topic),
            ids,
            data,
        }
    }
}

type ByTable = HashMap<&'static str, Vec<Arc<Subscription>>>;

/// All subscriptions of this node.
#[derive(Debug, Default, Clone)]
pub struct Hub(Arc<Mutex<ByTable>>);

/// Keeps a subscription alive.
#[must_use = "dropping it ends the subscription"]
#[derive(Debug)]
pub struct Registration {
    hub: Hub,
    subscription: Arc<Subscription>,
}

impl Hub {
    /// Adds a subscription: every change that the node reads from now on is offered to it.
    pub fn subscribe(&self, subscription: Subscription) -> Registration {
        let subscription = Arc::new(subscription);
        self.with(|by_table| {
            for name in table_names(&subscription) {
                by_table.entry(name).or_default().push(Arc::clone(&subscription));
            }
        });
        Registration {
            hub: self.clone(),
            subscription,
        }
    }

    /// Offers a change to everybody who listens to its table.
    pub fn publish(&self, event: &Event) {
        let listeners = self.with(|by_table| by_table.get(event.table.name).cloned().unwrap_or_default());
        for subscription in &listeners {
            subscription.offer(event);
        }
    }

    /// Ends the socket of everybody who listens: something was missed, and whoever connects anew asks for the rows.
    pub fn cut_off(&self) {
        self.with(|by_table| {
            for subscription in by_table.values().flatten() {
                subscription.outbox.overflow.cancel();
            }
        });
    }

    /// Whether anybody listens to the table; if not, its changes need not even be parsed.
    #[must_use]
    pub fn has_listeners(&self, table: &str) -> bool {
        self.with(|by_table| by_table.get(table).is_some_and(|list| !list.is_empty()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut ByTable) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.with(|by_table| {
            for name in table_names(&self.subscription) {
                if let Some(list) = by_table.get_mut(name) {
                    list.retain(|one| !Arc::ptr_eq(one, &self.subscription));
                }
            }
        });
    }
}

fn table_names(subscription: &Subscription) -> Vec<&'static str> {
    let mut names: Vec<_> = subscription
        .bindings
        .iter()
        .flat_map(|binding| binding.tables.iter().map(|table| table.name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::control_plane::claims::Role;
    use crate::control_plane::realtime::bindings;
    use crate::control_plane::store::{Change, ChangeOp, Position};
    use crate::domain::ids::TeamId;

    fn subscription(outbox: Outbox, entries: &Value) -> Subscription {
        let asked = bindings::read(&json!({"config": {"postgres_changes": entries}})).unwrap();
        Subscription {
            topic: Arc::from("realtime:x"),
            generation: 1,
            claims: Claims::new(Role::Operator {
                team_id: TeamId::new("T").unwrap(),
                user_id: "U".to_owned(),
            }),
            bindings: asked.bindings.unwrap().into(),
            past: Past::UpTo(0),
            outbox,
        }
    }

    fn event(team: &str) -> Event {
        let row = json!({"id": "J", "team_id": team, "gateway_id": "G", "status": "queued"});
        Event::read(Change {
            position: Position { txid: 0, seq: 1 },
            at: "2026-11-21T01:08:28.234567+00:00".to_owned(),
            table: "gateway_jobs".to_owned(),
            op: ChangeOp::Insert,
            new: Some(row.to_string()),
            old: None,
            cut: false,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn two_bindings_of_a_channel_share_one_frame() {
        let hub = Hub::default();
        let (outbox, mut inbox) = queue();
        let entries = json!([{"event": "INSERT", "table": "gateway_jobs"}, {"event": "*", "schema": "public"}]);
        let registration = hub.subscribe(subscription(outbox, &entries));
        hub.publish(&event("T"));
        hub.publish(&event("other"));
        drop(registration);
        hub.publish(&event("T"));
        let mut batch = Vec::new();
        inbox.receive(&mut batch, 10).await;
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].ids.len(), 2);
        assert!(!hub.has_listeners("gateway_jobs"));
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_cut_off_and_others_are_not() {
        let hub = Hub::default();
        let entries = json!([{"event": "INSERT", "table": "gateway_jobs"}]);
        let ((slow, slow_inbox), (quick, mut quick_inbox)) = (queue(), queue());
        let _slow = hub.subscribe(subscription(slow, &entries));
        let _quick = hub.subscribe(subscription(quick, &entries));
        let event = event("T");
        let mut batch = Vec::new();
        for _round in 0..=MAX_WAITING {
            hub.publish(&event);
            batch.clear();
            quick_inbox.receive(&mut batch, 10).await;
        }
        assert!(slow_inbox.overflow.is_cancelled());
        assert!(!quick_inbox.overflow.is_cancelled());
        hub.cut_off();
        assert!(quick_inbox.overflow.is_cancelled());
    }
}
