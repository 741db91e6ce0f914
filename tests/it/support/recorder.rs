//! Stands before a control plane, writes down what the daemon says, and can be told to be down or to refuse results.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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
    /// What is answered with 403 and not passed on.
    refused: Mutex<Option<Which>>,
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

/// What becomes of a request.
enum Fate {
    Pass,
    Swallow,
    Cut,
    Refuse(u16),
}

impl Shared {
    fn fate(&self, seen: &Seen) -> Fate {
        if self.refused.lock().unwrap().is_some_and(|which| which(seen)) {
            return Fate::Refuse(403);
        }
        let events = *self.events.lock().unwrap();
        match events.filter(|_| seen.target.contains("gateway_events")) {
            Some(EventFate::Silence) => return Fate::Swallow,
            Some(EventFate::Refused(status)) => return Fate::Refuse(status),
            None => {}
        }
        let result = seen.method == "PATCH" && seen.target.contains("status=eq.running");
        if result && self.refuse_results.load(Ordering::SeqCst) {
            return Fate::Cut;
        }
        let limit = *self.limit.lock().unwrap();
        match limit.filter(|(bytes, _)| result && seen.body.len() > *bytes) {
            Some((_, status)) => Fate::Refuse(status),
            None => Fate::Pass,
        }
    }
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

    /// Requests of that kind are answered with 403 and not passed on.
    pub(crate) fn refuse(&self, which: Which) {
        *self.shared.refused.lock().unwrap() = Some(which);
    }

    /// The ends of jobs are answered with an error and not passed on.
    pub(crate) fn refuse_results(&self, refuse: bool) {
        self.shared.refuse_results.store(refuse, Ordering::SeqCst);
    }

    /// The ends of jobs that are longer than `bytes` are answered with `status` and not passed on.
    pub(crate) fn limit_results(&self, bytes: usize, status: u16) {
        *self.shared.limit.lock().unwrap() = Some((bytes, status));
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
                let fate = shared.fate(&seen);
                shared.seen.lock().unwrap().push(seen);
                match fate {
                    Fate::Pass => {}
                    Fate::Swallow => continue,
                    Fate::Cut => return None,
                    Fate::Refuse(status) => return Some(status),
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
    let refused = tokio::select! {
        refused = up => refused,
        () = down => None,
    };
    if let Some(status) = refused {
        // Nobody may be there to hear it.
        drop(to_client.write_all(refusal(status).as_bytes()).await);
    }
}

fn refusal(status: u16) -> String {
    let body = r#"{"code":"22P02","message":"refused by the test"}"#;
    format!(
        "HTTP/1.1 {status} Refused\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
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
