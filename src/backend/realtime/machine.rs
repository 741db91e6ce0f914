//! The channel's state machine: time, randomness and IO are handed in.
//!
//! ```text
//!  Waiting --time--> Opening --Opened--> Live(Joining) --reply ok--> Live(Joined)
//!     ^                 |                      |                          |
//!     +---- any failure, with a growing, jittered wait -------------------+
//! ```
//! One channel per socket: whatever ends the channel ends the socket too, and the next join brings a fresh token. A
//! server that closes only the channel (`phx_close` after an expired token) is thus no special case.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::backend::realtime::protocol::{self, Reading};
use crate::backend::realtime::{Binding, RealtimeEvent};
use crate::domain::backoff::Backoff;
use crate::domain::secret::Secret;
use crate::wire::phoenix::Frame;

/// Time from one heartbeat to the next; the server closes after 60 s of silence.
pub const HEARTBEAT: Duration = Duration::from_secs(25);
/// How long a heartbeat's reply may take before the peer counts as dead.
pub const HEARTBEAT_REPLY: Duration = Duration::from_secs(10);
/// How long a join's reply may take.
pub const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long token, address, TLS and upgrade may take together.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// No frame for so long: dead, whatever else was said.
pub const DEAD_PEER: Duration = Duration::from_secs(40);
/// Only a subscription that lived so long resets the waits: a crash-looping server is not hammered.
pub const HEALTHY: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// While the channel is away the rows are asked for every few seconds: a longer wait would spare the server nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The socket is open; the token is the one to join with.
    Opened(Secret),
    /// A message came.
    Frame(Frame),
    /// Something came that is no message: a ping, or nonsense.
    Alive,
    /// The socket could not be opened, or ended.
    Closed {
        /// Why, for people.
        reason: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The token changed.
    Token(Secret),
    /// Whatever is open leads nowhere any more.
    Abandoned,
}

/// What has to be done outside.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Open a socket; `renew` when the server called the last token bad.
    Open {
        /// Refresh the token first, even if it looks fresh.
        renew: bool,
    },
    /// Send a message.
    Send(Frame),
    /// Drop the socket, or the attempt to open one.
    Close,
    /// Good moment to see whether the token is due.
    CheckToken,
    /// Tell the caller.
    Emit(RealtimeEvent),
}

enum Phase {
    Waiting { until: Instant },
    Opening { deadline: Instant },
    Live(Link),
}

/// One socket with its one channel.
struct Link {
    join_ref: String,
    /// Joined since, or the deadline of the join.
    joined: Result<Instant, Instant>,
    last_frame: Instant,
    beat: Beat,
    /// The token the server knows.
    told: Secret,
    /// The token it should know.
    token: Secret,
}

enum Beat {
    Due(Instant),
    Sent { reference: String, at: Instant },
}

/// A random number in `0.0..1.0`.
pub type Random = Box<dyn FnMut() -> f64 + Send>;

/// The channel.
pub struct Machine {
    topic: String,
    bindings: Vec<Binding>,
    phase: Phase,
    backoff: Backoff,
    random: Random,
    references: u64,
    suspect: bool,
    malformed: u64,
    actions: VecDeque<Action>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Waiting { .. } => "waiting",
            Phase::Opening { .. } => "opening",
            Phase::Live(link) if link.joined.is_ok() => "joined",
            Phase::Live(_) => "joining",
        };
        f.debug_struct("Machine").field("phase", &phase).finish_non_exhaustive()
    }
}

impl Machine {
    /// A channel that opens at `now`.
    #[must_use]
    pub fn new(channel: &str, bindings: Vec<Binding>, now: Instant, random: Random) -> Self {
        Self {
            topic: format!("realtime:{channel}"),
            bindings,
            phase: Phase::Waiting { until: now },
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            random,
            references: 0,
            suspect: false,
            malformed: 0,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, if there is one.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When a [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Waiting { until } => *until,
            Phase::Opening { deadline } => *deadline,
            Phase::Live(link) => link.deadline(),
        }
    }

    /// Whether changes can be expected.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        matches!(&self.phase, Phase::Live(Link { joined: Ok(_), .. }))
    }

    /// Messages without a readable content since the start.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Counts something that was no message, and tells of the first.
    pub fn count_malformed(&mut self) {
        if self.malformed == 0 {
            warn!("A message of the realtime channel makes no sense; such messages are counted from now on");
        }
        self.malformed = self.malformed.saturating_add(1);
    }

    /// The message that leaves the channel, while there is one.
    pub fn leave(&mut self) -> Option<Frame> {
        let Phase::Live(link) = &self.phase else { return None };
        let join_ref = link.join_ref.clone();
        let reference = self.reference();
        Some(protocol::leave(&self.topic).with_refs(Some(join_ref), Some(reference)))
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Tick => self.tick(now),
            Input::Opened(token) => self.opened(now, token),
            Input::Alive => self.alive(now),
            Input::Token(token) => self.token(token),
            Input::Abandoned => self.abandon(now),
            Input::Closed { reason, retry_after } => match &self.phase {
                Phase::Waiting { .. } => {}
                Phase::Opening { .. } | Phase::Live(_) => self.fail(now, reason, retry_after),
            },
            Input::Frame(frame) => self.frame(now, frame),
        }
    }

    fn reference(&mut self) -> String {
        self.references = self.references.saturating_add(1);
        self.references.to_string()
    }

    fn tick(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => {
                self.phase = Phase::Opening {
                    deadline: now + OPEN_DEADLINE,
                };
                let renew = std::mem::take(&mut self.suspect);
                self.actions.push_back(Action::Open { renew });
            }
            Phase::Opening { deadline } if *deadline <= now => {
                self.fail(now, "the websocket could not be opened in time".to_owned(), None);
            }
            Phase::Live(link) => match link.overdue(now) {
                Overdue::Nothing => {}
                Overdue::Dead(reason) => self.fail(now, reason.to_owned(), None),
                Overdue::Heartbeat => self.beat(now),
            },
            Phase::Waiting { .. } | Phase::Opening { .. } => {}
        }
    }

    fn beat(&mut self, now: Instant) {
        let reference = self.reference();
        if let Phase::Live(link) = &mut self.phase {
            link.beat = Beat::Sent {
                reference: reference.clone(),
                at: now,
            };
            let frame = protocol::heartbeat().with_refs(None, Some(reference));
            self.actions.extend([Action::Send(frame), Action::CheckToken]);
        }
    }

    fn opened(&mut self, now: Instant, token: Secret) {
        let Phase::Opening { .. } = self.phase else { return };
        self.references = 0;
        let join_ref = self.reference();
        let join = protocol::join(&self.topic, &self.bindings, &token);
        let frame = join.with_refs(Some(join_ref.clone()), Some(join_ref.clone()));
        self.actions.push_back(Action::Send(frame));
        self.phase = Phase::Live(Link {
            join_ref,
            joined: Err(now + JOIN_DEADLINE),
            last_frame: now,
            beat: Beat::Due(now + HEARTBEAT),
            told: token.clone(),
            token,
        });
    }

    fn alive(&mut self, now: Instant) {
        if let Phase::Live(link) = &mut self.phase {
            link.last_frame = now;
        }
    }

    fn token(&mut self, token: Secret) {
        if let Phase::Live(link) = &mut self.phase {
            link.token = token;
            self.tell_token();
        }
    }

    /// Pushes a changed token to a joined channel; there is no reply.
    fn tell_token(&mut self) {
        let Phase::Live(link) = &mut self.phase else { return };
        if link.joined.is_err() || link.told == link.token {
            return;
        }
        link.told = link.token.clone();
        let frame = protocol::access_token(&self.topic, &link.token);
        let join_ref = link.join_ref.clone();
        let reference = self.reference();
        self.actions
            .push_back(Action::Send(frame.with_refs(Some(join_ref), Some(reference))));
    }

    fn frame(&mut self, now: Instant, frame: Frame) {
        let Phase::Live(link) = &mut self.phase else { return };
        link.last_frame = now;
        if let Beat::Sent { reference, at } = &link.beat
            && frame.topic == "phoenix"
            && frame.reference.as_ref() == Some(reference)
        {
            link.beat = Beat::Due(*at + HEARTBEAT);
        }
        // A frame of an earlier join of this topic is of no concern.
        let stale = frame.join_ref.as_ref().is_some_and(|of| *of != link.join_ref);
        if frame.topic != self.topic || stale {
            return;
        }
        let joining = link.joined.is_err();
        let is_join_reply = joining && frame.reference.as_ref() == Some(&link.join_ref);
        let secret = link.told.clone();
        match protocol::read(frame, is_join_reply, &self.bindings) {
            Reading::Ignored => {}
            Reading::Malformed => self.count_malformed(),
            Reading::Joined => self.joined(now),
            Reading::SystemOk => self.actions.push_back(Action::Emit(RealtimeEvent::SystemOk)),
            Reading::Change(change) => self.actions.push_back(Action::Emit(RealtimeEvent::Change(change))),
            Reading::Mismatch => {
                self.fail(
                    now,
                    "the server subscribed to something else than asked".to_owned(),
                    None,
                );
            }
            Reading::Ended { reason, token_refused } => {
                self.suspect |= token_refused;
                self.fail(now, reason.replace(secret.expose(), "[secret]"), None);
            }
        }
    }

    fn joined(&mut self, now: Instant) {
        if let Phase::Live(link) = &mut self.phase {
            link.joined = Ok(now);
            self.actions.push_back(Action::Emit(RealtimeEvent::Subscribed));
            self.tell_token();
        }
    }

    fn abandon(&mut self, now: Instant) {
        self.backoff.reset();
        if !matches!(self.phase, Phase::Waiting { .. }) {
            let (reason, retry_in) = ("the connection was given up".to_owned(), Duration::ZERO);
            let down = RealtimeEvent::Down { reason, retry_in };
            self.actions.extend([Action::Close, Action::Emit(down)]);
        }
        self.phase = Phase::Waiting { until: now };
    }

    fn fail(&mut self, now: Instant, reason: String, retry_after: Option<Duration>) {
        if let Phase::Live(Link { joined: Ok(since), .. }) = &self.phase
            && now.saturating_duration_since(*since) >= HEALTHY
        {
            self.backoff.reset();
        }
        let wait = self.backoff.next((self.random)());
        let retry_in = wait.saturating_add(retry_after.unwrap_or_default());
        self.phase = Phase::Waiting { until: now + retry_in };
        let down = RealtimeEvent::Down { reason, retry_in };
        self.actions.extend([Action::Close, Action::Emit(down)]);
    }
}

enum Overdue {
    Nothing,
    Heartbeat,
    Dead(&'static str),
}

impl Link {
    fn deadline(&self) -> Instant {
        let beat = match &self.beat {
            Beat::Due(at) => *at,
            Beat::Sent { at, .. } => *at + HEARTBEAT_REPLY,
        };
        let join = self.joined.err();
        let silence = self.last_frame + DEAD_PEER;
        join.into_iter().fold(beat.min(silence), Ord::min)
    }

    fn overdue(&mut self, now: Instant) -> Overdue {
        if self.joined.is_err_and(|deadline| deadline <= now) {
            return Overdue::Dead("the join was not answered in time");
        }
        if self.last_frame + DEAD_PEER <= now {
            return Overdue::Dead("nothing was heard from the server for too long");
        }
        match &self.beat {
            Beat::Due(at) if *at <= now => Overdue::Heartbeat,
            Beat::Sent { at, .. } if *at + HEARTBEAT_REPLY <= now => {
                if self.last_frame <= *at {
                    return Overdue::Dead("a heartbeat was not answered in time");
                }
                // No reply, but other messages: the peer lives.
                self.beat = Beat::Due((*at + HEARTBEAT).max(now));
                Overdue::Nothing
            }
            Beat::Due(_) | Beat::Sent { .. } => Overdue::Nothing,
        }
    }
}
