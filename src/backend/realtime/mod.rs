//! Realtime: a subscription to changes of rows that mends itself.
//!
//! A pure state machine ([`machine`]) decides; the driver here owns the socket. Events are hints, rows are the truth:
//! after [`RealtimeEvent::Subscribed`] and [`RealtimeEvent::SystemOk`] the caller queries, because a change between
//! two subscriptions is never delivered.

pub mod machine;
mod protocol;
mod socket;

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::backend::client::Client;
use crate::backend::realtime::machine::{Action, Input, Machine};
use crate::backend::realtime::socket::{Received, Refusal, Socket};
use crate::domain::secret::Secret;

const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

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

type Opening = BoxFuture<'static, Result<(Socket, Secret), Refusal>>;

/// A subscription that is always there or on its way back.
pub struct Realtime {
    client: Client,
    machine: Machine,
    opening: Option<Opening>,
    socket: Option<Socket>,
    checking: Option<BoxFuture<'static, ()>>,
    token_change: BoxFuture<'static, watch::Receiver<u64>>,
    timer: Pin<Box<Sleep>>,
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine.fmt(f)
    }
}

impl Realtime {
    /// A subscription under a free channel name. Nothing happens before the first [`Realtime::next_event`].
    ///
    /// Must be called inside a tokio runtime: it arms a timer.
    #[must_use]
    pub fn new(client: Client, channel: &str, bindings: Vec<Binding>) -> Self {
        let now = Instant::now();
        let token_change = changed(client.auth().token_changes());
        Self {
            client,
            machine: Machine::new(channel, bindings, now, Box::new(rand::random::<f64>)),
            opening: None,
            socket: None,
            checking: None,
            token_change,
            timer: Box::pin(tokio::time::sleep_until(now)),
        }
    }

    /// The next event. May be dropped and called again at any time without losing anything.
    pub async fn next_event(&mut self) -> RealtimeEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Whether the channel is joined.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        self.machine.is_joined()
    }

    /// Messages that could not be read since the start.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.machine.malformed()
    }

    /// Drops the socket, which leads nowhere any more, and opens another at once.
    pub fn reconnect(&mut self) {
        self.machine.handle(Instant::now(), Input::Abandoned);
    }

    /// Leaves the channel and closes the socket, within two seconds.
    pub async fn close(mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        if let Some(leave) = self.machine.leave() {
            socket.send(&leave);
        }
        // A peer that does not answer is left as it is.
        drop(tokio::time::timeout(CLOSE_DEADLINE, socket.close()).await);
    }

    /// Everything is kept in `self` between two polls: that is what makes `next_event` safe to drop.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<RealtimeEvent> {
        loop {
            while let Some(action) = self.machine.action() {
                if let Some(event) = self.act(action) {
                    return Poll::Ready(event);
                }
            }
            let Poll::Ready(input) = self.poll_input(cx) else {
                return Poll::Pending;
            };
            self.machine.handle(Instant::now(), input);
        }
    }

    fn act(&mut self, action: Action) -> Option<RealtimeEvent> {
        match action {
            Action::Emit(event) => return Some(event),
            Action::Open { renew } => self.opening = Some(socket::open(self.client.clone(), renew).boxed()),
            Action::Close => {
                self.opening = None;
                self.socket = None;
            }
            Action::Send(frame) => {
                if let Some(socket) = &mut self.socket {
                    socket.send(&frame);
                }
            }
            Action::CheckToken => {
                let auth = self.client.auth().clone();
                // Only for its side effect; what it finds arrives as a token change or as a session loss elsewhere.
                self.checking = Some(async move { drop(auth.bearer().await) }.boxed());
            }
        }
        None
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        // First, so that a flood of messages cannot keep a heartbeat from being sent.
        if self.machine.deadline() <= Instant::now() {
            return Poll::Ready(Input::Tick);
        }
        if let Poll::Ready(input) = self.poll_opening(cx) {
            return Poll::Ready(input);
        }
        if let Poll::Ready(input) = self.poll_socket(cx) {
            return Poll::Ready(input);
        }
        if let Some(checking) = &mut self.checking
            && checking.poll_unpin(cx).is_ready()
        {
            self.checking = None;
        }
        if let Poll::Ready(receiver) = self.token_change.poll_unpin(cx) {
            self.token_change = changed(receiver);
            return Poll::Ready(Input::Token(self.client.auth().current()));
        }
        let deadline = self.machine.deadline();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).map(|()| Input::Tick)
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let Some(opening) = &mut self.opening else {
            return Poll::Pending;
        };
        opening.poll_unpin(cx).map(|result| {
            self.opening = None;
            match result {
                Ok((socket, token)) => {
                    self.socket = Some(socket);
                    Input::Opened(token)
                }
                Err(Refusal { reason, retry_after }) => Input::Closed { reason, retry_after },
            }
        })
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let Some(socket) = &mut self.socket else {
            return Poll::Pending;
        };
        let closed = |reason: String| Input::Closed {
            reason,
            retry_after: None,
        };
        if let Poll::Ready(reason) = socket.poll_send(cx) {
            return Poll::Ready(closed(reason));
        }
        socket.poll_receive(cx).map(|received| match received {
            Received::Frame(frame) => Input::Frame(frame),
            Received::Alive => Input::Alive,
            Received::Nonsense => {
                self.machine.count_malformed();
                Input::Alive
            }
            Received::Closed(reason) => closed(reason),
        })
    }
}

/// Resolves when the token changes; for ever pending once nobody can change it any more.
fn changed(mut receiver: watch::Receiver<u64>) -> BoxFuture<'static, watch::Receiver<u64>> {
    async move {
        if receiver.changed().await.is_err() {
            return std::future::pending().await;
        }
        receiver
    }
    .boxed()
}
