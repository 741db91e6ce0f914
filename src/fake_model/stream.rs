//! The body of a streamed answer: paced, and broken where the script says so.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;

use crate::fake_model::api::Api;
use crate::fake_model::event::Events;
use crate::fake_model::reply::Fault;
use crate::fake_model::seen::{Exchange, How};

/// How long a silent answer is kept open.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_hours(1);

/// A streamed answer on its way.
pub(super) struct Paced {
    pub(super) api: Api,
    pub(super) events: Events,
    pub(super) slow: Duration,
    pub(super) fault: Option<Fault>,
    pub(super) exchange: Exchange,
}

enum Phase {
    Flowing,
    Breaking(Fault),
    /// The last bytes of a connection that is lost.
    Losing,
    Over,
}

impl Paced {
    pub(super) fn body(self) -> Body {
        Body::from_stream(stream::unfold((self, Phase::Flowing), async |(mut paced, phase)| {
            let (piece, phase) = paced.next(phase).await?;
            Some((piece, (paced, phase)))
        }))
    }

    async fn next(&mut self, phase: Phase) -> Option<(io::Result<Bytes>, Phase)> {
        match phase {
            Phase::Flowing => self.flow().await,
            Phase::Breaking(fault) => self.breaks(fault).await,
            Phase::Losing => {
                self.exchange.ends(How::Broken);
                // What was sent so far leaves before the connection goes.
                tokio::task::yield_now().await;
                Some((Err(io::ErrorKind::ConnectionReset.into()), Phase::Over))
            }
            Phase::Over => None,
        }
    }

    async fn flow(&mut self) -> Option<(io::Result<Bytes>, Phase)> {
        let Some(event) = self.events.next() else {
            self.exchange.ends(How::Complete);
            return None;
        };
        if event.word && !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
        let fault = self.fault.take_if(|_| event.word);
        let phase = fault.map_or(Phase::Flowing, Phase::Breaking);
        Some((Ok(event.wire().into()), phase))
    }

    async fn breaks(&mut self, fault: Fault) -> Option<(io::Result<Bytes>, Phase)> {
        match fault {
            Fault::Hang => {
                tokio::time::sleep(LONGEST_SILENCE).await;
                self.exchange.ends(How::Broken);
                None
            }
            Fault::Cut => {
                self.exchange.ends(How::Broken);
                None
            }
            Fault::Drop => {
                let next = self.events.next().map(|event| event.wire()).unwrap_or_default();
                let half: String = next.chars().take(next.chars().count() / 2).collect();
                Some((Ok(half.into()), Phase::Losing))
            }
            Fault::Error(kind) => {
                self.exchange.ends(How::Broken);
                Some((Ok(self.api.broken(&kind).wire().into()), Phase::Over))
            }
        }
    }
}
