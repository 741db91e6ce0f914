//! One WebSocket: reads messages, writes answers and changes, and ends when either side has had enough.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control_plane::realtime::channels::Channels;
use crate::control_plane::realtime::frames::Push;
use crate::control_plane::realtime::hub::Inbox;
use crate::domain::clock;
use crate::wire::phoenix::{Frame, Vsn};

/// A client that says nothing for so long is gone; clients send a heartbeat every 25 s.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// A write that makes no progress for so long ends the socket.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How often tokens are checked against the store.
const REVALIDATION: Duration = Duration::from_secs(60);
/// How many changes are written between two looks at what the client says.
const BATCH: usize = 256;
/// Close code of a server that goes away and will be back.
const SERVICE_RESTART: u16 = 1012;
/// Close code of a client that could not keep up.
const TRY_AGAIN_LATER: u16 = 1013;

/// Why a socket ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed or vanished.
    Client,
    /// It was silent for too long.
    Silence,
    /// It read too slowly.
    Slow,
    /// It sent what is no message of the protocol.
    Protocol,
    /// The server stops.
    Shutdown,
}

/// A socket on its way through life.
#[derive(Debug)]
pub struct Socket {
    /// The upgraded connection.
    pub stream: WebSocket,
    /// Serializer version.
    pub vsn: Vsn,
    /// Its channels.
    pub channels: Channels,
    /// Its changes.
    pub inbox: Inbox,
}

impl Socket {
    /// Serves the socket until it ends.
    pub async fn run(mut self, stop: CancellationToken) -> End {
        let end = self.serve(&stop).await;
        let code = match end {
            End::Client => return end,
            End::Slow => TRY_AGAIN_LATER,
            End::Shutdown => SERVICE_RESTART,
            End::Silence => 1000,
            End::Protocol => 1002,
        };
        let goodbye = Message::Close(Some(CloseFrame {
            code,
            reason: "".into(),
        }));
        let _ended = tokio::time::timeout(Duration::from_secs(1), self.stream.send(goodbye)).await;
        end
    }

    async fn serve(&mut self, stop: &CancellationToken) -> End {
        let overflow = self.inbox.overflow.clone();
        let mut silence_ends = Instant::now() + MAX_SILENCE;
        let mut check_at = Instant::now() + REVALIDATION;
        let mut batch: Vec<Push> = Vec::new();
        loop {
            let expiry = self.until_expiry();
            let answered = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Shutdown,
                () = overflow.cancelled() => return End::Slow,
                message = self.stream.recv() => {
                    silence_ends = Instant::now() + MAX_SILENCE;
                    match self.heard(message).await {
                        Ok(frames) => self.write_frames(frames).await,
                        Err(end) => return end,
                    }
                }
                () = self.inbox.receive(&mut batch, BATCH) => self.write_changes(&mut batch).await,
                () = tokio::time::sleep(expiry) => {
                    let ended = self.channels.expire(clock::now());
                    self.write_frames(ended).await
                }
                () = tokio::time::sleep_until(check_at) => {
                    check_at = Instant::now() + REVALIDATION;
                    let ended = self.channels.revalidate().await;
                    self.write_frames(ended).await
                }
                () = tokio::time::sleep_until(silence_ends) => return End::Silence,
            };
            if let Err(end) = answered {
                return end;
            }
        }
    }

    /// Time until the first token ends, by the wall clock; rechecked at least hourly because that clock can be set.
    fn until_expiry(&self) -> Duration {
        let hour = Duration::from_secs(3600);
        self.channels.next_expiry().map_or(hour, |end| {
            let left = end.duration_since(clock::now());
            Duration::try_from(left).unwrap_or(Duration::ZERO).min(hour)
        })
    }

    async fn heard(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Vec<Frame>, End> {
        match message {
            Some(Ok(Message::Text(text))) => match Frame::decode(self.vsn, &text) {
                Ok(frame) => Ok(self.channels.handle(&frame).await),
                Err(_not_ours) => Err(End::Protocol),
            },
            // Binary frames are user broadcasts, which have no listeners here; pings are answered by the transport.
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(Vec::new()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Client),
        }
    }

    async fn write_frames(&mut self, frames: Vec<Frame>) -> Result<(), End> {
        let texts: Vec<String> = frames.iter().map(|frame| frame.encode(self.vsn)).collect();
        self.write(texts).await
    }

    async fn write_changes(&mut self, batch: &mut Vec<Push>) -> Result<(), End> {
        let texts: Vec<String> = batch
            .drain(..)
            .filter(|push| self.channels.is_current(push))
            .map(|push| push.encode(self.vsn))
            .collect();
        self.write(texts).await
    }

    async fn write(&mut self, texts: Vec<String>) -> Result<(), End> {
        if texts.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let writing = async {
            for text in texts {
                stream.feed(Message::Text(text.into())).await?;
            }
            stream.flush().await
        };
        match tokio::time::timeout(WRITE_LIMIT, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(End::Client),
            Err(_elapsed) => Err(End::Slow),
        }
    }
}
