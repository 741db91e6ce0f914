//! Events on their way out while the agent works: gathered, numbered, sent, and never in its way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backend::runs::Inserted;
use crate::backend::{BackendError, Runs};
use crate::domain::backoff::Backoff;
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::outgoing::{Outgoing, Pieces};
use crate::domain::run::RunEvent;
use crate::domain::text::storable;

/// Events are gathered for so long, or until there are so many.
const GATHER: Duration = Duration::from_millis(250);
const BATCH: usize = 200;
/// Bytes of one request.
const BATCH_BYTES: usize = 1024 * 1024;
/// Events and bytes that may wait, on their way included.
pub(super) const WAITING: usize = 20_000;
const WAITING_BYTES: usize = 8 * 1024 * 1024;
/// What one value or member takes beside its text.
const OVERHEAD: usize = 64;
/// Longest payload, in UTF-16 units of its JSON, as the wire counts them.
const LONGEST: usize = 200_000;
/// After the run, the next batch gets this long: the end of the run waits for it, and is not in the journal yet.
const FLUSH: Duration = Duration::from_secs(15);

/// Says that events are missing.
const GAP: &str = "events_dropped";

/// An event as it is written: its type and its payload.
pub(super) type Written = (String, Value);

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes on their way.
    waiting: AtomicUsize,
    /// Events that found no room and were not told of yet.
    lost: AtomicU64,
    /// Batches so far.
    dealt_with: AtomicU64,
}

impl Shared {
    /// After the end of the run: until no batch got through for as long as one may take.
    async fn stands_still_after(&self, over: &CancellationToken) {
        over.cancelled().await;
        let mut before = None;
        while before != Some(self.dealt_with.load(Relaxed)) {
            before = Some(self.dealt_with.load(Relaxed));
            sleep(FLUSH).await;
        }
    }
}

/// Where events go in. Never waits: what finds no room is counted.
#[derive(Debug, Clone)]
pub(super) struct Inlet {
    sender: mpsc::Sender<Written>,
    shared: Arc<Shared>,
    outgoing: Outgoing,
    /// The text that comes in pieces.
    pieces: Pieces,
}

impl Inlet {
    pub(super) fn push(&mut self, event: &RunEvent) {
        if let RunEvent::Partial { text } = event {
            let ready = self.pieces.push(text);
            return self.push_piece(ready);
        }
        self.finish();
        self.push_written(written(event));
    }

    /// No more pieces of this text come.
    pub(super) fn finish(&mut self) {
        let rest = self.pieces.finish();
        self.push_piece(rest);
    }

    fn push_piece(&mut self, text: String) {
        if !text.is_empty() {
            self.admit_or_count(written(&RunEvent::Partial { text }));
        }
    }

    pub(super) fn push_written(&mut self, mut event: Written) {
        self.outgoing.value(&mut event.1);
        self.admit_or_count(event);
    }

    fn admit_or_count(&self, event: Written) {
        let lost = self.shared.lost.load(Relaxed);
        let told = lost == 0 || self.admit(gap(lost));
        if told {
            self.shared.lost.fetch_sub(lost, Relaxed);
        }
        if !(told && self.admit(bounded(event))) {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    /// Whether there was room for it.
    fn admit(&self, event: Written) -> bool {
        let weight = weight(&event.1);
        let waiting = self.shared.waiting.fetch_add(weight, Relaxed).saturating_add(weight);
        let admitted = waiting <= WAITING_BYTES && self.sender.try_send(event).is_ok();
        if !admitted {
            self.shared.waiting.fetch_sub(weight, Relaxed);
        }
        admitted
    }
}

fn written(event: &RunEvent) -> Written {
    (event.event_type().to_owned(), event.payload())
}

/// Stands where events are missing.
pub(super) fn gap(events: u64) -> Written {
    let told = json!({"phase": GAP, "dropped": events});
    ("run_progress".to_owned(), told)
}

/// Events in a batch; a gap stands for those that are missing there.
fn count(batch: &[Written]) -> u64 {
    let events = |(_, payload): &Written| match payload.get("phase").and_then(Value::as_str) {
        Some(GAP) => payload.get("dropped").and_then(Value::as_u64).unwrap_or_default(),
        Some(_) | None => 1,
    };
    batch.iter().map(events).sum()
}

/// Sends what comes in.
#[derive(Debug)]
pub(super) struct Publisher {
    runs: Runs,
    run: RunId,
    subagent: SubagentId,
    receiver: mpsc::Receiver<Written>,
    shared: Arc<Shared>,
    next: Option<i64>,
    batch: Vec<Written>,
    /// Weight of what is in the batch.
    bytes: usize,
    refused: u64,
}

/// Both ends for one run.
pub(super) fn pipe(runs: &Runs, outgoing: &Outgoing, (run, subagent): (&RunId, &SubagentId)) -> (Inlet, Publisher) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let shared = Arc::<Shared>::default();
    let publisher = Publisher {
        runs: runs.clone(),
        run: run.clone(),
        subagent: subagent.clone(),
        receiver,
        shared: Arc::clone(&shared),
        next: None,
        batch: Vec::new(),
        bytes: 0,
        refused: 0,
    };
    let inlet = Inlet {
        sender,
        shared,
        outgoing: outgoing.clone(),
        pieces: Pieces::new(outgoing),
    };
    (inlet, publisher)
}

impl Publisher {
    /// Sends until the inlet is gone and everything arrived, or, once the run is over, nothing arrives any more; tells
    /// how many events did not.
    pub(super) async fn run(mut self, over: &CancellationToken) -> u64 {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = self.send_all() => {}
            () = shared.stands_still_after(over) => {}
        }
        self.missing()
    }

    async fn send_all(&mut self) {
        while self.gather().await {
            self.deliver().await;
        }
        self.deliver().await;
    }

    /// Events that were not delivered, and whose absence was not told either.
    fn missing(mut self) -> u64 {
        while let Ok(event) = self.receiver.try_recv() {
            self.batch.push(event);
        }
        let missing = count(&self.batch) + self.refused + self.shared.lost.load(Relaxed);
        if missing > 0 {
            warn!(run = %self.run, missing, "Events of a run were not delivered");
        }
        missing
    }

    /// Gathers until a batch is worth sending; tells whether more may come.
    async fn gather(&mut self) -> bool {
        if self.batch.is_empty() {
            match self.receiver.recv().await {
                Some(event) => self.add(event),
                None => return false,
            }
        }
        let ripe = Instant::now() + GATHER;
        while self.batch.len() < BATCH && self.bytes < BATCH_BYTES {
            tokio::select! {
                () = sleep_until(ripe) => return true,
                event = self.receiver.recv() => match event {
                    Some(event) => self.add(event),
                    None => return false,
                },
            }
        }
        true
    }

    /// Pieces of one message that wait together become one piece.
    fn add(&mut self, (event_type, payload): Written) {
        self.bytes += weight(&payload);
        if let Some(piece) = partial(&event_type, &payload)
            && let Some((last_type, last)) = self.batch.last_mut()
            && let Some(before) = partial(last_type, last)
            && before.len() + piece.len() < LONGEST / 2
        {
            let joined = [before, piece].concat();
            *last = json!({"phase": "partial_text", "text": joined});
            return;
        }
        self.batch.push((event_type, payload));
    }

    /// The batch is dealt with, one way or the other.
    fn clear(&mut self) {
        self.batch.clear();
        self.shared.dealt_with.fetch_add(1, Relaxed);
        self.shared.waiting.fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
    }

    /// Sends the batch, again and again while that may help. What is refused for good is dropped and said.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        while !self.batch.is_empty() {
            match self.send().await {
                Ok(()) => self.clear(),
                Err(error) if !error.is_transient() => {
                    warn!(run = %self.run, %error, lost = self.batch.len(), "Events of a run were refused");
                    self.refused = self.refused.saturating_add(count(&self.batch));
                    self.clear();
                }
                Err(error) => sleep(backoff.ceiling_step().max(error.retry_after().unwrap_or_default())).await,
            }
        }
    }

    async fn send(&mut self) -> Result<(), BackendError> {
        if self.refused > 0 {
            let refused = std::mem::take(&mut self.refused);
            self.batch.insert(0, gap(refused));
        }
        // Somebody else may write events of this run too; twice in a row nobody takes our numbers.
        for _try in 0..5 {
            let first = match self.next {
                Some(next) => next,
                None => self.runs.next_event(&self.run).await?,
            };
            let written = self
                .runs
                .write_events(&self.run, &self.subagent, first, &self.batch)
                .await;
            match written {
                Ok(Inserted::New) => {
                    let count = i64::try_from(self.batch.len()).unwrap_or_default();
                    self.next = Some(first.saturating_add(count));
                    return Ok(());
                }
                Ok(Inserted::Duplicate) if self.arrived(first).await? => {
                    self.next = None;
                    return Ok(());
                }
                Ok(Inserted::Duplicate) => self.next = None,
                Err(error) => {
                    // Keep the numbers: a batch whose answer was lost is known by them.
                    self.next = Some(first);
                    return Err(error);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        warn!(run = %self.run, lost = self.batch.len(), "Somebody else takes the numbers of a run's events");
        self.refused = self.refused.saturating_add(count(&self.batch));
        Ok(())
    }

    /// Whether the batch is there already: the last of its numbers holds the last of its events.
    async fn arrived(&self, first: i64) -> Result<bool, BackendError> {
        let offset = i64::try_from(self.batch.len()).unwrap_or_default().saturating_sub(1);
        let stored = self.runs.event(&self.run, first.saturating_add(offset)).await?;
        Ok(stored.is_some_and(|stored| self.batch.last() == Some(&stored)))
    }
}

fn partial<'a>(event_type: &str, payload: &'a Value) -> Option<&'a str> {
    if event_type == "run_progress" && payload.get("phase").and_then(Value::as_str) == Some("partial_text") {
        return payload.get("text").and_then(Value::as_str);
    }
    None
}

/// About what a payload takes in memory.
fn weight(payload: &Value) -> usize {
    let inside = match payload {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(key, item)| OVERHEAD + key.len() + weight(item))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    OVERHEAD + inside
}

/// As every database takes it; an oversized payload goes as a piece of its JSON.
fn bounded((event_type, payload): Written) -> Written {
    let payload = storable(payload);
    if weight(&payload) * 6 < LONGEST {
        return (event_type, payload);
    }
    let text = payload.to_string();
    let units = text.encode_utf16().count();
    if units <= LONGEST {
        return (event_type, payload);
    }
    let mut left = LONGEST;
    let preview: String = text
        .chars()
        .take_while(|character| {
            let fits = left >= character.len_utf16();
            left = left.saturating_sub(character.len_utf16());
            fits
        })
        .collect();
    (
        event_type,
        json!({"truncated": true, "original_bytes": units, "preview": preview}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversized_payload_is_cut_and_says_so() {
        let (_, small) = bounded(("message".to_owned(), json!({"content": "hi"})));
        assert_eq!(small, json!({"content": "hi"}));
        let (_, big) = bounded(("message".to_owned(), json!({"content": "ä".repeat(LONGEST)})));
        assert_eq!(
            (&big["truncated"], big["preview"].as_str().unwrap().chars().count()),
            (&json!(true), LONGEST)
        );
        assert!(big["original_bytes"].as_u64().unwrap() > LONGEST as u64);
    }
}
