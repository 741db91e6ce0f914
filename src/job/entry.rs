//! A job's own entry in the journal, as far as the job is still at work: which process does it, and what that says.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::outgoing::Outgoing;
use crate::domain::run::RunEvent;
use crate::process::capture::Ends;
use crate::process::hold::{Begun, Unregistered};
use crate::state::journal::{Journal, ProcessIdentityRecord};

/// How often what was said is written down.
const PERIOD: Duration = Duration::from_millis(500);
/// Bytes of each stream that are written down, its beginning and its end.
const KEPT: usize = 64 * 1024;

/// The entry. Clones are the same; the default one is nowhere, and takes everything.
#[derive(Debug, Clone, Default)]
pub struct Entry(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    journal: Journal,
    job: JobId,
    outgoing: Outgoing,
    started_at: OnceLock<Timestamp>,
}

impl Entry {
    /// The entry of this job, which has been written.
    #[must_use]
    pub fn of(journal: Journal, job: JobId, outgoing: Outgoing) -> Self {
        Self(Some(Arc::new(Place {
            journal,
            job,
            outgoing,
            started_at: OnceLock::new(),
        })))
    }

    /// When the first process of the job began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.0.as_ref()?.started_at.get().copied()
    }

    /// A process of the job is about to begin. On disk when this returns.
    ///
    /// # Errors
    /// [`Unregistered`] when the journal takes no more.
    pub async fn started(&self, begun: Begun) -> Result<(), Unregistered> {
        let Some(place) = &self.0 else { return Ok(()) };
        let (process, held) = (begun.process, held(&begun));
        let record = ProcessIdentityRecord {
            pid: process.pid,
            start_ticks: process.start_ticks.unwrap_or_default(),
            pgid: process.pgid,
            at: clock::now(),
        };
        let written = place.journal.started(&place.job, record, held).await;
        written.map_err(|error| {
            tracing::warn!(job = %place.job, %error, "Failed to note the job's process in the journal; it is not run");
            Unregistered("Gateway journal cannot be written".to_owned())
        })?;
        // A later process of the same job changes nothing about when it began.
        place.started_at.get_or_init(|| record.at);
        Ok(())
    }
}

/// For the row of the job, should nobody else be left to tell.
fn held(begun: &Begun) -> Value {
    let cgroup = begun.cgroup.as_ref().map(|dir| dir.display().to_string());
    json!({"method": begun.held_by.as_str(), "cgroup": cgroup})
}

/// What a job says while it runs, written down again and again: should this program die, that much is left.
#[derive(Debug)]
pub struct Said<const N: usize> {
    entry: Entry,
    fields: [Mutex<Field>; N],
}

/// One raw field of the result to be.
#[derive(Debug)]
struct Field {
    heard: Ends,
    is_written: bool,
}

impl<const N: usize> Said<N> {
    /// Nothing has been said in any of the raw fields.
    #[must_use]
    pub fn new(entry: &Entry) -> Self {
        let field = |_| {
            Mutex::new(Field {
                heard: Ends::new(KEPT),
                is_written: true,
            })
        };
        Self {
            entry: entry.clone(),
            fields: std::array::from_fn(field),
        }
    }

    /// Hears more of a field.
    pub fn hear(&self, field: usize, bytes: &[u8]) {
        if let Some(field) = self.fields.get(field) {
            let mut field = lock(field);
            field.heard.hear(bytes);
            field.is_written = false;
        }
    }

    /// Hears an agent: its whole messages go to the first field, what it only thinks does not.
    pub fn hear_agent(&self, event: &RunEvent) {
        if let RunEvent::Message {
            content,
            reasoning: false,
            ..
        } = event
        {
            self.hear(0, content.as_bytes());
            self.hear(0, b"\n");
        }
    }

    /// Writes down what was said, for as long as `work` takes.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.keep() => match never {},
        }
    }

    async fn keep(&self) -> std::convert::Infallible {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            for (number, field) in (0..).zip(&self.fields) {
                self.write(number, field).await;
            }
        }
    }

    async fn write(&self, number: i64, field: &Mutex<Field>) {
        let Some(place) = &self.entry.0 else { return };
        let said = {
            let mut field = lock(field);
            let is_written = std::mem::replace(&mut field.is_written, true);
            (!is_written).then(|| field.heard.clone())
        };
        let Some(said) = said else { return };
        let mut bytes = said.finish().bytes;
        place.outgoing.bytes(&mut bytes);
        if let Err(error) = place.journal.said(&place.job, number, bytes).await {
            tracing::debug!(job = %place.job, %error, "What a job says is not written down");
        }
    }
}

fn lock(field: &Mutex<Field>) -> MutexGuard<'_, Field> {
    field.lock().unwrap_or_else(PoisonError::into_inner)
}
