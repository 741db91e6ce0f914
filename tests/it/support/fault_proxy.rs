//! Stands before a control plane on loopback and can be told to fail.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to websocket upgrades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// Passed on.
    Pass,
    /// Refused with 503.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    sockets: Sockets,
    /// Open websockets pass no byte any more, but stay open.
    half_open: bool,
    /// A change of this number cuts every open websocket.
    cuts: u64,
    /// No connection goes through.
    blackout: bool,
    /// Requests are taken, and wait.
    stalled: bool,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    lose_answers: Arc<Mutex<VecDeque<Vec<String>>>>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free loopback port and passes everything to `target`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the proxy's accept loop lives as long as the value"
    )]
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, watch) = watch::channel(Mode {
            sockets: Sockets::Pass,
            half_open: false,
            cuts: 0,
            blackout: false,
            stalled: false,
        });
        let lose_answers = Arc::new(Mutex::new(VecDeque::new()));
        let losing = Arc::clone(&lose_answers);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, watch.clone(), Arc::clone(&losing)));
            }
        });
        Self {
            address,
            mode,
            lose_answers,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn sockets(&self, sockets: Sockets) {
        self.mode.send_modify(|mode| mode.sockets = sockets);
    }

    /// Resets every open websocket once.
    pub(crate) fn cut_sockets(&self) {
        self.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Open websockets fall silent, as when a path dies without a word.
    pub(crate) fn half_open(&self, silent: bool) {
        self.mode.send_modify(|mode| mode.half_open = silent);
    }

    /// No connection reaches the control plane.
    pub(crate) fn blackout(&self, dark: bool) {
        self.mode.send_modify(|mode| mode.blackout = dark);
    }

    /// Requests wait at the door until it is over.
    pub(crate) fn stall(&self, stalled: bool) {
        self.mode.send_modify(|mode| mode.stalled = stalled);
    }

    /// The next request whose head contains all `parts` is delivered, its answer is not.
    pub(crate) fn lose_answer_to(&self, parts: &[&str]) {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        self.lose_answers.lock().unwrap().push_back(parts);
    }

    /// Whether every answer that was to get lost has got lost.
    pub(crate) fn has_lost_all(&self) -> bool {
        self.lose_answers.lock().unwrap().is_empty()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    lose: Arc<Mutex<VecDeque<Vec<String>>>>,
) {
    if mode.borrow().blackout {
        return;
    }
    let mut head = vec![0_u8; 16 * 1024];
    let Ok(length) = client.read(&mut head).await else {
        return;
    };
    head.truncate(length);
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let websocket = text.contains("upgrade: websocket");
    if websocket && mode.borrow().sockets == Sockets::Refuse {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _client_left = client.write_all(refusal).await.is_err();
        return;
    }
    if !websocket && mode.wait_for(|mode| !mode.stalled).await.is_err() {
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(target).await else {
        return;
    };
    if upstream.write_all(&head).await.is_err() {
        return;
    }
    if websocket {
        relay_socket(client, upstream, &mut mode).await;
    } else {
        relay_http(client, upstream, &mut mode, &lose, &head).await;
    }
}

async fn relay_socket(mut client: TcpStream, mut upstream: TcpStream, mode: &mut watch::Receiver<Mode>) {
    let cuts = mode.borrow().cuts;
    let silent = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut upstream) => false,
        changed = mode.wait_for(|mode| mode.cuts != cuts || mode.half_open || mode.blackout) =>
            changed.is_ok_and(|mode| mode.half_open),
    };
    if !silent {
        // A cut is a reset: what a dying path looks like. A blackout closes, so that what was sent still arrives.
        if mode.borrow().cuts != cuts {
            let _unsupported = client.set_zero_linger().is_err();
        }
        return;
    }
    // Held open and silent until the test ends it.
    let _ended = mode
        .wait_for(|mode| mode.cuts != cuts || mode.blackout || !mode.half_open)
        .await
        .is_err();
}

/// Relays one keep-alive connection, watching each request's head for one whose answer must get lost.
async fn relay_http(
    mut client: TcpStream,
    mut upstream: TcpStream,
    mode: &mut watch::Receiver<Mode>,
    lose: &Mutex<VecDeque<Vec<String>>>,
    first: &[u8],
) {
    let mut losing = must_lose(lose, first);
    let (mut from_client, mut from_upstream) = (vec![0_u8; 64 * 1024], vec![0_u8; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                losing |= must_lose(lose, &from_client[..length]);
                if mode.wait_for(|mode| !mode.stalled).await.is_err() { return }
                if upstream.write_all(&from_client[..length]).await.is_err() { return }
            }
            read = upstream.read(&mut from_upstream) => {
                let Ok(length @ 1..) = read else { return };
                if losing || client.write_all(&from_upstream[..length]).await.is_err() { return }
            }
            () = until_dark(mode) => return,
        }
    }
}

/// Returns when the blackout begins, or when the proxy itself is gone.
async fn until_dark(mode: &mut watch::Receiver<Mode>) {
    let _proxy_gone = mode.wait_for(|mode| mode.blackout).await.is_err();
}

fn must_lose(lose: &Mutex<VecDeque<Vec<String>>>, bytes: &[u8]) -> bool {
    let mut waiting = lose.lock().unwrap();
    let text = String::from_utf8_lossy(bytes);
    let hit = waiting
        .front()
        .is_some_and(|parts| parts.iter().all(|part| text.contains(part.as_str())));
    if hit {
        waiting.pop_front();
    }
    hit
}
