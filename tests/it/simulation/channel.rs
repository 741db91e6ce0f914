//! The Realtime channel: the real machine, and a server that does what the real one does.

use std::time::Duration;

use gateway::backend::RealtimeEvent;
use gateway::backend::realtime::Binding;
use gateway::backend::realtime::machine::{Action, Input, Machine};
use gateway::domain::secret::Secret;
use gateway::wire::phoenix::{Frame, Vsn};
use tokio::time::Instant;

use crate::simulation::network::Fate;
use crate::simulation::{Event, Millis, World};

/// Something that comes over a channel.
#[derive(Debug)]
pub(super) enum Word {
    Opened,
    Refused,
    Says(String),
    Insert(usize),
}

/// The channel of the daemon; every socket has a number.
pub(super) struct Channel {
    machine: Machine,
    epoch: Instant,
    socket: u64,
    is_open: bool,
    /// Whether the server sends changes.
    flows: bool,
}

impl Channel {
    pub(super) fn new(unit: f64) -> Self {
        let binding = Binding {
            event: "INSERT".to_owned(),
            table: "gateway_jobs".to_owned(),
            filter: None,
        };
        let epoch = Instant::now();
        Self {
            machine: Machine::new("jobs", vec![binding], epoch, Box::new(move || unit)),
            epoch,
            socket: 0,
            is_open: false,
            flows: false,
        }
    }

    /// When the machine wants to be asked.
    pub(super) fn deadline(&self) -> Millis {
        let at = self.machine.deadline().saturating_duration_since(self.epoch);
        Millis::try_from(at.as_millis()).unwrap() + 1
    }

    pub(super) fn tick(&mut self, world: &mut World) -> Vec<RealtimeEvent> {
        match self.machine.deadline() <= self.at(world) {
            true => self.give(world, Input::Tick),
            false => Vec::new(),
        }
    }

    /// A word on the socket of that number. The row of an insertion, and what the machine tells.
    pub(super) fn hears(&mut self, world: &mut World, socket: u64, word: Word) -> (Option<usize>, Vec<RealtimeEvent>) {
        if socket != self.socket {
            return (None, Vec::new());
        }
        match word {
            Word::Opened => {
                self.is_open = true;
                (None, self.give(world, Input::Opened(Secret::new("J"))))
            }
            Word::Refused => (None, self.closes(world)),
            Word::Says(text) => {
                self.flows |= text.contains("\"system\"");
                let frame = Frame::decode(Vsn::V2, &text).unwrap();
                (None, self.give(world, Input::Frame(frame)))
            }
            Word::Insert(job) => (self.machine.is_joined().then_some(job), self.give(world, Input::Alive)),
        }
    }

    pub(super) fn closes(&mut self, world: &mut World) -> Vec<RealtimeEvent> {
        let input = Input::Closed {
            reason: "closed".to_owned(),
            retry_after: None,
        };
        self.give(world, input)
    }

    /// A row was inserted: the server tells, if it can.
    pub(super) fn inserted(&self, world: &mut World, job: usize) {
        if self.flows && world.network.carries_messages() {
            let after = world.between(1, 50);
            world.plan(after, Event::Channel(self.socket, Word::Insert(job)));
        }
    }

    fn at(&self, world: &World) -> Instant {
        self.epoch + Duration::from_millis(world.now)
    }

    fn give(&mut self, world: &mut World, input: Input) -> Vec<RealtimeEvent> {
        self.machine.handle(self.at(world), input);
        let actions: Vec<_> = std::iter::from_fn(|| self.machine.action()).collect();
        actions
            .into_iter()
            .filter_map(|action| self.act(world, action))
            .collect()
    }

    fn act(&mut self, world: &mut World, action: Action) -> Option<RealtimeEvent> {
        match action {
            Action::Emit(event) => return Some(event),
            Action::CheckToken => {}
            Action::Close => (self.is_open, self.flows, self.socket) = (false, false, self.socket + 1),
            Action::Open { .. } => {
                let (fate, took) = world.network.carry(&mut world.random);
                let word = if fate == Fate::Answered {
                    Word::Opened
                } else {
                    Word::Refused
                };
                world.plan(took, Event::Channel(self.socket, word));
            }
            Action::Send(frame) => self.serve(world, &frame),
        }
        None
    }

    /// What the server answers.
    fn serve(&self, world: &mut World, frame: &Frame) {
        if !self.is_open || !world.network.carries_messages() {
            return;
        }
        let reference = frame.reference.as_deref().unwrap_or_default();
        let says = match (frame.topic.as_str(), frame.event.as_str()) {
            ("phoenix", _) => vec![format!(
                r#"[null,"{reference}","phoenix","phx_reply",{{"status":"ok","response":{{}}}}]"#
            )],
            (topic, "phx_join") => vec![
                format!(
                    r#"["{reference}","{reference}","{topic}","phx_reply",{{"status":"ok","response":{{"postgres_changes":[{{"id":1,"event":"INSERT","schema":"public","table":"gateway_jobs"}}]}}}}]"#
                ),
                format!(
                    r#"[null,null,"{topic}","system",{{"extension":"postgres_changes","status":"ok","message":"Subscribed to PostgreSQL","channel":"jobs"}}]"#
                ),
            ],
            _ => Vec::new(),
        };
        let mut after = 0;
        for text in says {
            after += world.between(1, 300);
            world.plan(after, Event::Channel(self.socket, Word::Says(text)));
        }
    }
}
