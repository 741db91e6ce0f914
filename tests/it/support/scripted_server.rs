//! A backend that misbehaves on purpose: every answer is written by the test, byte by byte where it matters.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::backend::{Auth, Client, Endpoint, Http};
use gateway::domain::secret::Secret;
use gateway::wire::phoenix::{Frame, Vsn};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The public key of every scripted backend.
pub(crate) const KEY: &str = "sb_publishable_test";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A JSON answer.
    Json(u16, Value),
    /// A JSON answer with further header lines.
    With(u16, Vec<(&'static str, String)>, Value),
    /// Exactly these bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and resets the connection: the answer is lost.
    Cut,
    /// Answers as soon as the headers are read, without reading the body, and closes.
    Early(u16),
    /// Becomes a websocket, handed to the test.
    Upgrade,
}

impl Reply {
    pub(crate) fn html() -> Self {
        let page = "<html>please log in</html>";
        let length = page.len();
        Self::Raw(
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}")
                .into_bytes(),
        )
    }
}

type Decide = Box<dyn FnMut(&Seen) -> Reply + Send>;

#[derive(Clone)]
struct Shared {
    decide: Arc<Mutex<Decide>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    sockets: mpsc::Sender<ServerSocket>,
}

/// The server; ends with the value.
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    sockets: mpsc::Receiver<ServerSocket>,
    tasks: JoinSet<()>,
}

impl ScriptedServer {
    /// Answers every request as `decide` says.
    pub(crate) async fn start(decide: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", decide).await
    }

    /// As [`ScriptedServer::start`], at an address that a client knows already.
    pub(crate) async fn start_at(address: &str, decide: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, sockets) = mpsc::channel(16);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Shared {
            decide: Arc::new(Mutex::new(Box::new(decide))),
            seen: Arc::clone(&seen),
            connections: Arc::clone(&connections),
            sockets: sender,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared));
        Self {
            url,
            seen,
            connections,
            sockets,
            tasks,
        }
    }

    /// Answers the first request with the first reply and so on; afterwards with 500.
    pub(crate) async fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        Self::start(move |_| {
            replies
                .pop_front()
                .unwrap_or(Reply::Json(500, json!({"message": "no more"})))
        })
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn http(&self) -> Http {
        Http::new(Endpoint::new(&self.url, Secret::new(KEY)).unwrap()).unwrap()
    }

    /// A client with a token that never changes.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.http(), Auth::fixed(Secret::new("token-1")))
    }

    /// The next websocket a client opened.
    pub(crate) async fn socket(&mut self) -> ServerSocket {
        self.sockets.recv().await.expect("the server lives")
    }

    /// Stops listening; open connections die with it.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, shared: Shared) {
    let mut buffer = Vec::new();
    while let Some(head_end) = read_until(&mut stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n")).await {
        let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
        let mut seen = parse_head(&head);
        buffer.drain(..head_end + 4);
        let reply = {
            let mut decide = shared.decide.lock().unwrap();
            decide(&seen)
        };
        if let Reply::Early(_) = reply {
            shared.seen.lock().unwrap().push(seen);
            answer(&mut stream, reply).await;
            return;
        }
        let length: usize = seen.header("content-length").map_or(0, |text| text.parse().unwrap());
        let whole = |bytes: &[u8]| (bytes.len() >= length).then_some(length);
        if read_until(&mut stream, &mut buffer, whole).await.is_none() {
            return;
        }
        seen.body = buffer.drain(..length).collect();
        let key = seen.header("sec-websocket-key").map(str::to_owned);
        shared.seen.lock().unwrap().push(seen);
        if let Reply::Upgrade = reply {
            let socket = upgrade(stream, &key.unwrap()).await;
            drop(shared.sockets.send(socket).await);
            return;
        }
        if !answer(&mut stream, reply).await {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn answer(stream: &mut TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Json(status, body) => write_json(stream, status, &[], &body).await,
        Reply::With(status, headers, body) => write_json(stream, status, &headers, &body).await,
        Reply::Raw(bytes) => {
            stream.write_all(&bytes).await.unwrap();
            false
        }
        Reply::Hang => std::future::pending().await,
        Reply::Cut | Reply::Upgrade => {
            stream.set_zero_linger().unwrap();
            false
        }
        Reply::Early(status) => {
            write_json(
                stream,
                status,
                &[("connection", "close".to_owned())],
                &json!({"message": "too large"}),
            )
            .await;
            stream.shutdown().await.unwrap();
            // Drains as a decent server does, so that the answer is not lost in a reset.
            drop(tokio::io::copy(stream, &mut tokio::io::sink()).await);
            false
        }
    }
}

async fn write_json(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &Value) -> bool {
    let body = if status == 204 { String::new() } else { body.to_string() };
    let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes()).await.is_ok()
}

async fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(at) = done(buffer) {
            return Some(at);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse_head(head: &str) -> Seen {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    Seen {
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    }
}

async fn upgrade(mut stream: TcpStream, key: &str) -> ServerSocket {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    ServerSocket(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
}

/// The server's end of a websocket, driven by the test. Not driven, it is a half-open peer.
pub(crate) struct ServerSocket(WebSocketStream<TcpStream>);

impl ServerSocket {
    /// The next message; `None` after the end.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        while let Some(Ok(message)) = self.0.next().await {
            if let Message::Text(text) = message {
                return Some(Frame::decode(Vsn::V2, &text).unwrap());
            }
        }
        None
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.send_text(frame.encode(Vsn::V2)).await;
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// Takes the join and accepts it as asked; gives the join.
    pub(crate) async fn accept_join(&mut self) -> Frame {
        let join = self.receive().await.expect("a join");
        assert_eq!(join.event, "phx_join");
        let asked = join.payload["config"]["postgres_changes"].as_array().unwrap();
        let echo: Vec<_> = (1..)
            .zip(asked)
            .map(|(id, asked)| {
                let mut echo = asked.clone();
                echo["id"] = json!(id);
                echo
            })
            .collect();
        self.send(&join.reply("ok", json!({"postgres_changes": echo}))).await;
        join
    }

    /// Sends one text frame of so many bytes, as far as it is taken; tells how many bytes were.
    pub(crate) async fn flood(mut self, bytes: u64) -> u64 {
        const FINAL_TEXT: u8 = 0x81;
        const LENGTH_IN_EIGHT: u8 = 127;
        let stream = self.0.get_mut();
        let head = [&[FINAL_TEXT, LENGTH_IN_EIGHT][..], &bytes.to_be_bytes()].concat();
        let block = vec![b'x'; 64 * 1024];
        let mut taken = 0;
        let mut sent = stream.write_all(&head).await;
        while sent.is_ok() && taken < bytes {
            sent = stream.write_all(&block).await;
            taken += block.len() as u64;
        }
        taken
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.0.get_ref().set_zero_linger().unwrap();
    }
}
