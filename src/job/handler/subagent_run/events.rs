//! Events on their way out while the agent works: gathered, numbered, sent, and never in its way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use crate::backend::runs::Inserted;
use crate::backend::{BackendError, Runs};
use crate::domain::backoff::Backoff;
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::run::RunEvent;

/// Events are gathered for so long, or until there are so many.
const GATHER: Duration = Duration::from_millis(250);
const BATCH: usize = 200;
/// Bytes of one request.
const BATCH_BYTES: usize = 1024 * 1024;
/// Events and bytes that may wait while the control plane is away.
pub(super) const WAITING: usize = 20_000;
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Longest payload, in UTF-16 units of its JSON, as the wire counts them.
const LONGEST: usize = 200_000;
/// After the run, what still waits gets this long.
const FLUSH: Duration = Duration::from_secs(15);

/// An event as it is written: its type and its payload.
pub(super) type Written = (String, Value);

/// Where events go in. Never waits: what finds no room is counted.
#[derive(Debug)]
pub(super) struct Inlet {
    sender: mpsc::Sender<Written>,
    lost: u64,
}

impl Inlet {
    pub(super) fn push(&mut self, event: &RunEvent) {
        self.push_written((event.event_type().to_owned(), event.payload()));
    }

    pub(super) fn push_written(&mut self, event: Written) {
        let event = match self.lost {
            0 => event,
            lost => {
                let told = json!({"phase": "events_dropped", "dropped": lost});
                match self.sender.try_send(("run_progress".to_owned(), told)) {
                    Ok(()) => self.lost = 0,
                    Err(_full) => {
                        self.lost = lost.saturating_add(1);
                        return;
                    }
                }
                event
            }
        };
        if self.sender.try_send(event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

/// Sends what comes in.
#[derive(Debug)]
pub(super) struct Publisher {
    runs: Runs,
    run: RunId,
    subagent: SubagentId,
    receiver: mpsc::Receiver<Written>,
    next: Option<i64>,
    batch: Vec<Written>,
    bytes: usize,
    dropped: u64,
}

/// Both ends for one run.
pub(super) fn pipe(runs: &Runs, run: &RunId, subagent: &SubagentId) -> (Inlet, Publisher) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let publisher = Publisher {
        runs: runs.clone(),
        run: run.clone(),
        subagent: subagent.clone(),
        receiver,
        next: None,
        batch: Vec::new(),
        bytes: 0,
        dropped: 0,
    };
    (Inlet { sender, lost: 0 }, publisher)
}

impl Publisher {
    /// Sends until the inlet is gone and everything arrived, or its time is up.
    pub(super) async fn run(mut self) {
        let mut open = true;
        while open {
            open = self.gather().await;
            if open {
                self.deliver(None).await;
            }
        }
        let deadline = Instant::now() + FLUSH;
        while !self.batch.is_empty() || !self.receiver.is_empty() {
            self.deliver(Some(deadline)).await;
            if Instant::now() >= deadline {
                warn!(run = %self.run, left = self.batch.len() + self.receiver.len(), "Events of a run were not delivered");
                return;
            }
            while self.batch.len() < BATCH && self.bytes < BATCH_BYTES {
                let Ok(event) = self.receiver.try_recv() else { break };
                self.add(event);
            }
        }
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
    fn add(&mut self, event: Written) {
        if self.bytes > WAITING_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let (event_type, payload) = bounded(event);
        if let Some(piece) = partial(&event_type, &payload)
            && let Some((last_type, last)) = self.batch.last_mut()
            && partial(last_type, last).is_some_and(|text| text.len() + piece.len() < LONGEST / 2)
        {
            let joined = [partial(last_type, last).unwrap_or_default(), piece].concat();
            self.bytes += piece.len();
            *last = json!({"phase": "partial_text", "text": joined});
            return;
        }
        self.bytes += 64 + payload_bytes(&payload);
        self.batch.push((event_type, payload));
    }

    /// Sends the batch, again and again while that may help. What is refused for good is dropped and said.
    async fn deliver(&mut self, deadline: Option<Instant>) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        while !self.batch.is_empty() {
            let sent = match deadline {
                None => self.send().await,
                Some(deadline) => match timeout_at(deadline, self.send()).await {
                    Ok(sent) => sent,
                    Err(_elapsed) => return,
                },
            };
            match sent {
                Ok(()) => {
                    self.batch.clear();
                    self.bytes = 0;
                }
                Err(error) if !error.is_transient() => {
                    warn!(run = %self.run, %error, lost = self.batch.len(), "Events of a run were refused");
                    self.dropped += self.batch.len() as u64;
                    self.batch.clear();
                    self.bytes = 0;
                }
                Err(error) => {
                    let pause = backoff.ceiling_step().max(error.retry_after().unwrap_or_default());
                    let until = Instant::now() + pause;
                    sleep_until(deadline.map_or(until, |deadline| until.min(deadline))).await;
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return;
                    }
                }
            }
        }
    }

    async fn send(&mut self) -> Result<(), BackendError> {
        if self.dropped > 0 {
            let told = json!({"phase": "events_dropped", "dropped": self.dropped});
            self.batch.push(("run_progress".to_owned(), told));
            self.dropped = 0;
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

fn payload_bytes(payload: &Value) -> usize {
    match payload {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(payload_bytes).sum(),
        Value::Object(members) => members.iter().map(|(key, item)| key.len() + payload_bytes(item)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// An oversized payload goes as a piece of its JSON.
fn bounded((event_type, payload): Written) -> Written {
    if payload_bytes(&payload) * 6 < LONGEST {
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
