//! The one sender of heartbeats: at once, every 30 s, on every change, and `offline` as the last word.
//!
//! It never waits for anything but its own request: what it says is read from watches at the moment of sending.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::client::Client;
use crate::backend::{BackendError, SessionLost};
use crate::domain::backoff::Backoff;
use crate::domain::outgoing::Outgoing;
use crate::job::handler::InstallSwitch;
use crate::provider::document::{self, HostFacts, Picture};
use crate::runtime::supervisor::Note;
use crate::wire::heartbeat::{Capabilities, Heartbeat, WireStatus};

/// Between two heartbeats that say the same.
pub const INTERVAL: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// The goodbye must not hold the end up.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(3);

/// What a heartbeat says and where it goes.
#[derive(Debug)]
pub struct Sender {
    /// The control plane.
    pub client: Client,
    /// Label of the host.
    pub device_name: String,
    /// The host's layer of machine control.
    pub install: InstallSwitch,
    /// What is known about the agent CLIs.
    pub picture: watch::Receiver<Arc<Picture>>,
    /// Takes secrets out of what the agent CLIs said.
    pub outgoing: Outgoing,
    /// The wire's status word; `offline` ends the sender.
    pub status: watch::Receiver<WireStatus>,
    /// Between two heartbeats that say the same.
    pub interval: Duration,
    /// Where news go.
    pub notes: mpsc::Sender<Note>,
}

/// How a heartbeat went.
#[derive(Debug, Clone, PartialEq)]
pub enum Beat {
    /// The control plane has it.
    Accepted,
    /// It did not arrive, or was not accepted.
    Failed(String),
    /// The session is over.
    SessionLost(SessionLost),
}

impl Sender {
    /// Sends until the status is `offline`. `hurry` asks for one at once.
    pub async fn run(mut self, hurry: Arc<Notify>) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut said = None;
        loop {
            let status = *self.status.borrow_and_update();
            self.picture.mark_unchanged();
            if status == WireStatus::Offline {
                return self.say_goodbye(said).await;
            }
            let sent_at = Instant::now();
            let (beat, asked_wait) = self.beat(status).await;
            said = (beat == Beat::Accepted).then_some(status).or(said);
            let next = match &beat {
                Beat::Accepted => {
                    backoff.reset();
                    sent_at + self.interval
                }
                Beat::Failed(_) | Beat::SessionLost(_) => {
                    let step = backoff.ceiling_step();
                    Instant::now() + step / 2 + (step / 2).mul_f64(rand::random())
                }
            };
            let rest = Instant::now() + asked_wait.unwrap_or_default().min(self.interval);
            // At the end nobody listens, and the goodbye is still to be said.
            drop(self.notes.send(Note::Beat { sent_at, beat }).await);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = hurry.notified() => {}
                Ok(()) = self.status.changed() => {}
                Ok(()) = self.picture.changed() => {}
            }
            self.rest(rest).await;
        }
    }

    /// Keeps the rest that was asked for, whatever is new; only the goodbye cannot wait.
    async fn rest(&mut self, until: Instant) {
        let mut status = self.status.clone();
        let goodbye = status.wait_for(|status| *status == WireStatus::Offline);
        drop(tokio::time::timeout_at(until, goodbye).await);
    }

    /// How it went, and how long the control plane asks to be left alone.
    async fn beat(&self, status: WireStatus) -> (Beat, Option<Duration>) {
        match self.client.functions().heartbeat(&self.message(status)).await {
            Ok(reply) if reply.success => (Beat::Accepted, None),
            Ok(_) => {
                let why = "the control plane did not accept the heartbeat";
                (Beat::Failed(why.to_owned()), None)
            }
            Err(BackendError::SessionLost(lost)) => (Beat::SessionLost(lost), None),
            Err(error) => {
                warn!(%error, "Failed to send gateway heartbeat");
                (Beat::Failed(error.to_string()), error.retry_after())
            }
        }
    }

    /// The steps are the same however short the end was: a gateway that was ready says `pending` before it is gone.
    async fn say_goodbye(&self, said: Option<WireStatus>) {
        let goodbye = async {
            if said == Some(WireStatus::Ready) {
                drop(self.beat(WireStatus::Pending).await);
            }
            self.beat(WireStatus::Offline).await
        };
        match tokio::time::timeout(GOODBYE_DEADLINE, goodbye).await {
            Ok((Beat::Accepted, _)) => info!("Told the control plane that this gateway is offline"),
            Ok((Beat::Failed(_) | Beat::SessionLost(_), _)) | Err(_) => {
                warn!("The control plane did not hear the goodbye");
            }
        }
    }

    fn message(&self, status: WireStatus) -> Heartbeat {
        let host = HostFacts {
            device_name: self.device_name.clone(),
            full_control_enabled: self.install.enabled(),
        };
        Heartbeat {
            status,
            capabilities: self.cleaned(document::capabilities(&host, &self.picture.borrow())),
            device_name: self.device_name.clone(),
        }
    }

    /// A CLI that cannot say its version may say anything.
    fn cleaned(&self, mut document: Capabilities) -> Capabilities {
        for provider in document.providers.values_mut() {
            let health = provider.health.as_mut().and_then(|health| health.error.as_mut());
            let words = [provider.version.as_mut(), provider.error.as_mut(), health];
            for text in words.into_iter().flatten() {
                *text = self.outgoing.text(text).into_owned();
            }
        }
        document
    }
}
