//! Stands before a control plane, writes down what the daemon says, and can be told to be down or to refuse results.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::older::Older;

/// One request as it came over the socket.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Tells requests apart.
type Which = fn(&Seen) -> bool;

/// What becomes of the gateway's events, which are not passed on then.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventFate {
    /// No answer at all.
    Silence,
    /// An error.
    Refused(u16),
}

#[derive(Debug, Default)]
struct Shared {
    down: AtomicBool,
    refuse_results: AtomicBool,
    events: Mutex<Option<EventFate>>,
    /// Ends of jobs with more bytes than this are answered with the status; no status, no limit.
    limit: Mutex<Option<(usize, u16)>>,
    older: Mutex<Option<Arc<Older>>>,
    /// What is answered with that status and not passed on.
    refused: Mutex<Option<(Which, u16)>>,
    seen: Mutex<Vec<Seen>>,
    /// Websocket text frames of the client.
    frames: Mutex<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Recorder {
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut serving = JoinSet::new();
        let kept = Arc::clone(&shared);
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(relay(client, target, Arc::clone(&kept)));
            }
        });
        Self {
            address,
            shared,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// New connections, and open ones at their next request, are cut.
    pub(crate) fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn end_events_in(&self, fate: EventFate) {
        *self.shared.events.lock().unwrap() = Some(fate);
    }

    /// Requests of that kind are answered with `status` and not passed on.
    pub(crate) fn refuse(&self, which: Which, status: u16) {
        *self.shared.refused.lock().unwrap() = Some((which, status));
    }

    /// The ends of jobs are answered with an error and not passed on.
    pub(crate) fn refuse_results(&self, refuse: bool) {
        self.shared.refuse_results.store(refuse, Ordering::SeqCst);
    }

    /// The ends of jobs that are longer than `bytes` are answered with `status` and not passed on.
    pub(crate) fn limit_results(&self, bytes: usize, status: u16) {
        *self.shared.limit.lock().unwrap() = Some((bytes, status));
    }

    /// From now on the control plane is of the older kind.
    pub(crate) fn older(&self, older: &Arc<Older>) {
        *self.shared.older.lock().unwrap() = Some(Arc::clone(older));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn frames(&self) -> Vec<String> {
        self.shared.frames.lock().unwrap().clone()
    }
}

async fn relay(client: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    if shared.down.load(Ordering::SeqCst) {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut held = Vec::new();
        let mut websocket = false;
        loop {
            let mut chunk = [0; 64 * 1024];
            let Ok(length @ 1..) = from_client.read(&mut chunk).await else {
                return None;
            };
            if shared.down.load(Ordering::SeqCst) {
                return None;
            }
            held.extend_from_slice(&chunk[..length]);
            if websocket {
                take_frames(&mut held, &shared);
            } else if let Some((seen, _)) = take_request(&mut held) {
                websocket = seen.header("upgrade").is_some();
                shared.seen.lock().unwrap().push(seen.clone());
                match what_becomes_of(&seen, &shared).await {
                    Fate::Passed => {}
                    Fate::Silence => continue,
                    Fate::Cut => return None,
                    Fate::Answered(status, body) => return Some((status, body)),
                }
            }
            if to_server.write_all(&chunk[..length]).await.is_err() {
                return None;
            }
        }
    };
    let down = async {
        // An end of either side ends both.
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
    };
    let answer = tokio::select! {
        answer = up => answer,
        () = down => None,
    };
    if let Some((status, body)) = answer {
        // Nobody may be there to hear it.
        drop(
            to_client
                .write_all(response(status, &body.to_string()).as_bytes())
                .await,
        );
    }
}

/// What happens to a request.
enum Fate {
    Passed,
    Silence,
    Cut,
    Answered(u16, Value),
}

async fn what_becomes_of(seen: &Seen, shared: &Shared) -> Fate {
    let older = shared.older.lock().unwrap().clone();
    if let Some(older) = older
        && let Some((status, body)) = older.answer(seen).await
    {
        return Fate::Answered(status, body);
    }
    let refuse = *shared.refused.lock().unwrap();
    if let Some((_, status)) = refuse.filter(|(which, _)| which(seen)) {
        return Fate::Answered(status, refused());
    }
    if seen.target.contains("gateway_events") {
        match *shared.events.lock().unwrap() {
            Some(EventFate::Silence) => return Fate::Silence,
            Some(EventFate::Refused(status)) => return Fate::Answered(status, refused()),
            None => {}
        }
    }
    let jobs = seen.target.starts_with("/rest/v1/gateway_jobs");
    if seen.method != "PATCH" || !jobs || !seen.target.contains("status=eq.running") {
        return Fate::Passed;
    }
    if shared.refuse_results.load(Ordering::SeqCst) {
        return Fate::Cut;
    }
    match *shared.limit.lock().unwrap() {
        Some((bytes, status)) if seen.body.len() > bytes => Fate::Answered(status, refused()),
        Some(_) | None => Fate::Passed,
    }
}

fn refused() -> Value {
    json!({"code": "22P02", "message": "refused by the test"})
}

fn response(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Here\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A whole request out of the bytes so far; clients send the next one only after the answer.
fn take_request(held: &mut Vec<u8>) -> Option<(Seen, usize)> {
    let end = held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&held[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let body = held.get(end..end + length)?;
    let seen = Seen {
        method,
        target,
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
    };
    held.drain(..end + length);
    Some((seen, end + length))
}

/// Unmasks the client's text frames.
fn take_frames(held: &mut Vec<u8>, shared: &Shared) {
    while held.len() >= 6 {
        let (opcode, short) = (held[0] & 0x0f, usize::from(held[1] & 0x7f));
        let (length, at) = match short {
            126 if held.len() >= 8 => (usize::from(u16::from_be_bytes([held[2], held[3]])), 4),
            126 | 127 => return,
            short => (short, 2),
        };
        let Some(masked) = held.get(at + 4..at + 4 + length) else {
            return;
        };
        let mask = [held[at], held[at + 1], held[at + 2], held[at + 3]];
        let text: Vec<u8> = masked
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        if opcode == 1 {
            shared
                .frames
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&text).into_owned());
        }
        held.drain(..at + 4 + length);
    }
}
