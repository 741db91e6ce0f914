//! What a session has said: numbered, bounded, the oldest goes first.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::clock;
use crate::domain::decoder::Decoder;
use crate::domain::needles::{self, Needles};
use crate::domain::shapes;

/// Events kept of one session.
pub(super) const MAX_EVENTS: usize = 800;
/// What their data and overhead may add up to.
pub(super) const MAX_BYTES: usize = 1_000_000;
/// What an event costs beside its data.
const OVERHEAD: usize = 64;
/// Output is joined to the event before it, if nobody knows of that one yet, up to so much.
const JOINED_BYTES: usize = 16 * 1024;

/// Where a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stream {
    Stdout,
    Stderr,
    System,
}

/// One piece of what was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    pub(super) sequence: u64,
    pub(super) stream: Stream,
    pub(super) data: String,
    #[serde(serialize_with = "clock::serialize")]
    timestamp: Timestamp,
}

impl Event {
    fn cost(&self) -> usize {
        self.data.len() + OVERHEAD
    }
}

/// The events of a session.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: VecDeque<Event>,
    bytes: usize,
    latest: u64,
    /// Up to here somebody was told; these do not change any more.
    told: u64,
    stdout: Channel,
    stderr: Channel,
}

/// From the bytes of a stream to text without secrets and keys.
#[derive(Debug, Default)]
struct Channel {
    clean: needles::Stream,
    decoder: Decoder,
    keys: shapes::Stream,
}

impl Channel {
    fn new(secrets: &Needles) -> Self {
        Self {
            clean: needles::Stream::new(secrets.clone()),
            ..Self::default()
        }
    }

    /// Nothing at all says that it ended.
    fn text(&mut self, piece: &[u8]) -> String {
        if piece.is_empty() {
            let rest = self.clean.finish();
            let rest = self.decoder.push(&rest) + &self.decoder.finish();
            return self.keys.push(&rest) + &self.keys.finish();
        }
        let clean = self.clean.push(piece);
        self.keys.push(&self.decoder.push(&clean))
    }
}

impl Events {
    pub(super) fn without(secrets: &Needles) -> Self {
        Self {
            stdout: Channel::new(secrets),
            stderr: Channel::new(secrets),
            ..Self::default()
        }
    }

    /// Bytes of an output stream; nothing at all says that it ended.
    pub(super) fn output(&mut self, stream: Stream, piece: &[u8], at: Timestamp) {
        let text = self.channel(stream).map(|channel| channel.text(piece));
        self.say(stream, text.unwrap_or_default(), at);
    }

    /// Whether somebody would wait for what only began like a key.
    pub(super) fn holds(&mut self, stream: Stream) -> bool {
        self.channel(stream).is_some_and(|channel| channel.keys.holds())
    }

    /// Nothing came for a while: somebody may have typed that.
    pub(super) fn pause(&mut self, stream: Stream, at: Timestamp) {
        let text = self.channel(stream).map(|channel| channel.keys.pause());
        self.say(stream, text.unwrap_or_default(), at);
    }

    const fn channel(&mut self, stream: Stream) -> Option<&mut Channel> {
        match stream {
            Stream::Stdout => Some(&mut self.stdout),
            Stream::Stderr => Some(&mut self.stderr),
            Stream::System => None,
        }
    }

    /// Words of ours.
    pub(super) fn system(&mut self, text: String, at: Timestamp) {
        self.say(Stream::System, text, at);
    }

    /// The number of the latest event. Whoever asks may ask for what comes after it, so it is not added to.
    pub(super) const fn latest(&mut self) -> u64 {
        self.told = self.latest;
        self.latest
    }

    /// At most `max` events after `sequence`, and whether there are more.
    pub(super) fn since(&mut self, sequence: u64, max: usize) -> (Vec<Event>, bool) {
        self.told = self.latest;
        let mut after = self.kept.iter().filter(|event| event.sequence > sequence);
        let events = after.by_ref().take(max).cloned().collect();
        (events, after.next().is_some())
    }

    fn say(&mut self, stream: Stream, data: String, timestamp: Timestamp) {
        if data.is_empty() {
            return;
        }
        let told = self.told;
        let open = |last: &&mut Event| {
            last.stream == stream && last.sequence > told && last.data.len() + data.len() <= JOINED_BYTES
        };
        if let Some(last) = self.kept.back_mut().filter(open) {
            last.data.push_str(&data);
            self.bytes += data.len();
        } else {
            self.latest += 1;
            let event = Event {
                sequence: self.latest,
                stream,
                data,
                timestamp,
            };
            self.bytes += event.cost();
            self.kept.push_back(event);
        }
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        while self.kept.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.cost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn texts(events: &mut Events) -> Vec<(u64, String)> {
        let (events, more) = events.since(0, usize::MAX);
        assert!(!more);
        events.into_iter().map(|event| (event.sequence, event.data)).collect()
    }

    #[test]
    fn output_nobody_knows_of_is_joined() {
        let (mut events, now) = (Events::default(), clock::now());
        events.output(Stream::Stdout, b"a", now);
        events.output(Stream::Stdout, b"b", now);
        events.output(Stream::Stderr, b"c", now);
        assert_eq!(texts(&mut events), [(1, "ab".to_owned()), (2, "c".to_owned())]);
        events.output(Stream::Stderr, b"d", now);
        assert_eq!(events.latest(), 3);
        events.output(Stream::Stderr, b"e", now);
        assert_eq!(events.since(2, 1).0.first().unwrap().data, "d");
        assert!(events.since(2, 1).1);
        assert!(!events.since(3, 1).1);
    }

    #[test]
    fn the_oldest_goes_by_number_and_by_size() {
        let (mut events, now) = (Events::default(), clock::now());
        for number in 0..=MAX_EVENTS {
            events.system(format!("{number}"), now);
            events.latest();
        }
        assert_eq!(
            (events.kept.len(), events.kept.front().unwrap().sequence),
            (MAX_EVENTS, 2)
        );
        for _ in 0..100 {
            events.output(Stream::Stdout, &[b'x'; JOINED_BYTES], now);
        }
        assert!(events.bytes <= MAX_BYTES && events.bytes > MAX_BYTES - JOINED_BYTES - OVERHEAD);
        assert_eq!(events.bytes, events.kept.iter().map(Event::cost).sum::<usize>());
    }

    #[test]
    fn a_secret_in_two_pieces_is_none() {
        let secrets = Needles::default();
        secrets.hold(&Secret::new("a-secret-of-ours"));
        let (mut events, now) = (Events::without(&secrets), clock::now());
        events.output(Stream::Stdout, b"x a-secret", now);
        assert_eq!(texts(&mut events), [(1, "x ".to_owned())]);
        events.output(Stream::Stdout, b"-of-ours y a-secret", now);
        events.output(Stream::Stdout, b"", now);
        assert_eq!(
            texts(&mut events),
            [(1, "x ".to_owned()), (2, "[REDACTED] y [REDACTED]".to_owned())]
        );
    }

    #[test]
    fn a_key_in_two_pieces_is_none() {
        let key = ["sk-ant-", "api03-abcdefghij"].concat();
        for at in 1..key.len() {
            let (mut events, now) = (Events::default(), clock::now());
            let (first, last) = key.as_bytes().split_at(at);
            events.output(Stream::Stdout, &[b"\xff", first].concat(), now);
            let before = texts(&mut events);
            events.output(Stream::Stdout, &[last, b"\n"].concat(), now);
            let shown: String = texts(&mut events).into_iter().map(|(_, data)| data).collect();
            let begun = if at < 3 { key.get(..at).unwrap() } else { "" };
            assert_eq!(before, [(1, format!("\\xff{begun}"))], "{at}");
            assert_eq!(shown, format!("\\xff{begun}[REDACTED]\n"), "{at}");
        }
    }

    #[test]
    fn what_begins_like_a_key_comes_out_in_a_pause() {
        let (mut events, now) = (Events::default(), clock::now());
        events.output(Stream::Stdout, b"$ sk-le", now);
        assert_eq!(texts(&mut events), [(1, "$ ".to_owned())]);
        assert!(events.holds(Stream::Stdout) && !events.holds(Stream::Stderr));
        events.pause(Stream::Stdout, now);
        assert_eq!(texts(&mut events).pop(), Some((2, "sk-le".to_owned())));
        assert!(!events.holds(Stream::Stdout));
        events.pause(Stream::Stdout, now);
        assert_eq!(events.latest(), 2);
    }

    #[test]
    fn a_character_in_two_pieces_is_one() {
        let (mut events, now) = (Events::default(), clock::now());
        events.output(Stream::Stdout, b"\xe2\x82", now);
        assert_eq!(events.latest(), 0);
        events.output(Stream::Stdout, b"\xac\xe2", now);
        events.output(Stream::Stdout, b"", now);
        assert_eq!(texts(&mut events), [(1, "€\\xe2".to_owned())]);
    }
}
