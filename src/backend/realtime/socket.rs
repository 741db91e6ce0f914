//! The websocket: opened with a deadline, bounded in both directions, polled without losing anything.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink as _, Stream as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::backend::client::Client;
use crate::backend::error::without_secrets;
use crate::backend::http::{self, Http};
use crate::domain::secret::Secret;
use crate::wire::phoenix::{Frame, MAX_FRAME_BYTES, Vsn};
use crate::wire::problem::Problem;

const BUFFER_BYTES: usize = 16 * 1024;
/// Messages waiting to be sent; a peer that reads nothing is dead long before.
const MAX_WAITING: usize = 64;

/// Why there is no socket.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

/// Something that came.
pub(super) enum Received {
    Frame(Frame),
    /// A ping or pong.
    Alive,
    /// No message of the protocol.
    Nonsense,
    /// The end.
    Closed(String),
}

/// An open socket with what waits to be sent.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    waiting: VecDeque<Message>,
    unflushed: bool,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// Gets a token and opens a socket for it.
pub(super) async fn open(client: Client, renew: bool) -> Result<(Socket, Secret), Refusal> {
    client.http().turn().await.map_err(|error| error.to_string())?;
    let token = token(&client, renew).await?;
    let address = address(client.http())?;
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = BUFFER_BYTES;
    config.write_buffer_size = 0;
    config.max_message_size = Some(MAX_FRAME_BYTES);
    config.max_frame_size = Some(MAX_FRAME_BYTES);
    let opened = tokio_tungstenite::connect_async_with_config(address, Some(config), true).await;
    let (stream, _response) = opened.map_err(|error| refusal(client.http(), &error))?;
    let socket = Socket {
        stream,
        waiting: VecDeque::new(),
        unflushed: false,
    };
    Ok((socket, token))
}

async fn token(client: &Client, renew: bool) -> Result<Secret, Refusal> {
    let auth = client.auth();
    if renew && let Ok(Some(fresh)) = auth.renew(&auth.current()).await {
        return Ok(fresh);
    }
    auth.bearer().await.map_err(|error| Refusal {
        reason: error.to_string(),
        retry_after: error.retry_after(),
    })
}

fn address(http: &Http) -> Result<String, Refusal> {
    let mut url = http.endpoint().at("/realtime/v1/websocket");
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme)
        .map_err(|()| "the address has no websocket form".to_owned())?;
    url.query_pairs_mut()
        .append_pair("apikey", http.endpoint().key().expose())
        .append_pair("eventsPerSecond", "10")
        .append_pair("vsn", "2.0.0");
    Ok(url.into())
}

fn refusal(http: &Http, error: &Error) -> Refusal {
    let host = http.endpoint().host();
    let Error::Http(response) = error else {
        return format!("cannot open a websocket to {host}: {}", shown(http, error)).into();
    };
    let body = response.body().as_deref().unwrap_or_default();
    let said = Problem::read(body)
        .message
        .map(|text| without_secrets(text, &[http.endpoint().key()]));
    let status = response.status().as_u16();
    Refusal {
        reason: match said {
            Some(said) => format!("{host} refused the websocket: {said} (HTTP {status})"),
            None => format!("{host} refused the websocket (HTTP {status})"),
        },
        retry_after: http::retry_after(response.headers(), http.server_time()),
    }
}

/// An error's text; the address, which holds the key, is never part of it.
fn shown(http: &Http, error: &Error) -> String {
    without_secrets(error.to_string(), &[http.endpoint().key()])
}

impl Socket {
    /// Puts a message into the queue; [`Socket::poll_send`] sends it.
    pub(super) fn send(&mut self, frame: &Frame) {
        self.waiting.push_back(Message::text(frame.encode(Vsn::V2)));
    }

    /// Sends what waits. `Ready` means that the socket is broken.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if self.waiting.len() > MAX_WAITING {
            return Poll::Ready("the server does not read".to_owned());
        }
        while !self.waiting.is_empty() {
            match Pin::new(&mut self.stream).poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Ready(Ok(())) => {}
            }
            if let Some(message) = self.waiting.pop_front()
                && let Err(error) = Pin::new(&mut self.stream).start_send(message)
            {
                return Poll::Ready(broken(&error));
            }
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
            }
        }
        Poll::Pending
    }

    /// The next thing the server sent.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        Pin::new(&mut self.stream).poll_next(cx).map(|next| match next {
            None => Received::Closed("the server closed the connection".to_owned()),
            Some(Err(error)) => Received::Closed(broken(&error)),
            Some(Ok(Message::Text(text))) => Frame::decode(Vsn::V2, &text).map_or(Received::Nonsense, Received::Frame),
            Some(Ok(Message::Binary(_))) => Received::Nonsense,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Alive,
            Some(Ok(Message::Close(frame))) => Received::Closed(match frame {
                Some(frame) => format!("the server closed the connection ({})", u16::from(frame.code)),
                None => "the server closed the connection".to_owned(),
            }),
        })
    }

    /// Sends what waits and says goodbye.
    pub(super) async fn close(mut self) {
        let sent = std::future::poll_fn(|cx| match self.poll_send(cx) {
            Poll::Ready(_broken) => Poll::Ready(()),
            Poll::Pending if self.waiting.is_empty() && !self.unflushed => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        });
        sent.await;
        drop(self.stream.close(None).await);
    }
}

fn broken(error: &Error) -> String {
    format!("the connection broke: {error}")
}
