//! Stands before a control plane on loopback and can be told to fail: as a whole, or at the requests that it is told.

mod message;
mod relay;
mod rules;
mod sockets;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::rules::Fault;
use self::rules::{Lasting, Rule, Rules};

/// Frames that may wait to be slipped in.
const SLIPPED_IN: usize = 4_096;

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
    /// A change of this number cuts every open websocket.
    cuts: u64,
    /// A change of this number silences every open websocket.
    freezes: u64,
    /// A change of this number silences every other open connection.
    strandings: u64,
    /// A change of this number lets go what is held.
    heals: u64,
    /// No connection goes through.
    blackout: bool,
    /// Requests are taken, and wait.
    stalled: bool,
}

/// What every connection knows.
#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    rules: Mutex<Rules>,
    /// Text frames of the control plane, as they came.
    heard: Mutex<Vec<String>>,
    slipped_in: broadcast::Sender<String>,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on a free loopback port and passes everything to `target`.
    pub(crate) async fn before(target: SocketAddr) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// The same at an address of one's own.
    pub(crate) async fn at(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Mode {
            sockets: Sockets::Pass,
            cuts: 0,
            freezes: 0,
            strandings: 0,
            heals: 0,
            blackout: false,
            stalled: false,
        };
        let shared = Arc::new(Shared {
            target,
            mode: watch::Sender::new(mode),
            rules: Mutex::default(),
            heard: Mutex::default(),
            slipped_in: broadcast::Sender::new(SLIPPED_IN),
        });
        let mut serving = JoinSet::new();
        let known = Arc::clone(&shared);
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(relay::serve(client, Arc::clone(&known)));
                while open.try_join_next().is_some() {}
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

    #[cfg(target_os = "linux")]
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Names requests: those whose first line contains all `parts`.
    pub(crate) fn on<'a>(&'a self, parts: &[&str]) -> On<'a> {
        On {
            proxy: self,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            over: 0,
        }
    }

    /// The first lines of all requests that came in a time.
    pub(crate) fn lines(&self, from: Instant, to: Instant) -> Vec<String> {
        self.rules().lines(from, to)
    }

    /// Every rule is forgotten, and what is held goes on its way.
    pub(crate) fn heal(&self) {
        self.rules().forget();
        self.shared.mode.send_modify(|mode| mode.heals += 1);
    }

    pub(crate) fn sockets(&self, sockets: Sockets) {
        self.shared.mode.send_modify(|mode| mode.sockets = sockets);
    }

    /// Resets every open websocket once.
    pub(crate) fn cut_sockets(&self) {
        self.shared.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Open websockets fall silent for good, as when a path dies without a word. New ones work.
    pub(crate) fn freeze_sockets(&self) {
        self.shared.mode.send_modify(|mode| mode.freezes += 1);
    }

    /// The same for every open connection, as after a sleep of the host.
    #[cfg(target_os = "linux")]
    pub(crate) fn strand(&self) {
        self.shared.mode.send_modify(|mode| {
            mode.freezes += 1;
            mode.strandings += 1;
        });
    }

    /// Sends a text frame to every open websocket's client, as if the control plane had.
    pub(crate) fn slip_in(&self, text: &str) {
        self.shared.slipped_in.send(text.to_owned()).unwrap();
    }

    /// The last text frame of the control plane that contains all `parts`.
    pub(crate) fn heard(&self, parts: &[&str]) -> Option<String> {
        let heard = self.shared.heard.lock().unwrap();
        heard.iter().rev().find(|text| has_all(text, parts)).cloned()
    }

    /// No connection reaches the control plane.
    pub(crate) fn blackout(&self, dark: bool) {
        self.shared.mode.send_modify(|mode| mode.blackout = dark);
    }

    /// Requests wait at the door until it is over.
    pub(crate) fn stall(&self, stalled: bool) {
        self.shared.mode.send_modify(|mode| mode.stalled = stalled);
    }

    /// The next request whose first line contains all `parts` is delivered, its answer is not.
    pub(crate) fn lose_answer_to(&self, parts: &[&str]) {
        self.on(parts).next(1, Fault::LoseAnswer);
    }

    /// Whether every fault that was to come a number of times has come.
    pub(crate) fn has_lost_all(&self) -> bool {
        self.rules().are_spent()
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared.rules.lock().unwrap()
    }
}

/// Some requests; see [`FaultProxy::on`].
#[derive(Debug)]
pub(crate) struct On<'a> {
    proxy: &'a FaultProxy,
    parts: Vec<String>,
    over: usize,
}

impl On<'_> {
    /// Only those with a longer body.
    pub(crate) fn over(mut self, bytes: usize) -> Self {
        self.over = bytes;
        self
    }

    /// The next `times` of them end so.
    pub(crate) fn next(self, times: usize, fault: Fault) {
        self.add(Lasting::Times(times), fault);
    }

    /// All of them end so for a time.
    pub(crate) fn during(self, time: Duration, fault: Fault) {
        self.add(Lasting::Until(Instant::now() + time), fault);
    }

    /// All of them end so until [`FaultProxy::heal`].
    pub(crate) fn always(self, fault: Fault) {
        self.add(Lasting::Always, fault);
    }

    /// When they came so far.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.proxy.rules().times(&self.parts, self.over)
    }

    /// How many came so far.
    pub(crate) fn count(&self) -> usize {
        self.times().len()
    }

    fn add(self, lasting: Lasting, fault: Fault) {
        let Self { proxy, parts, over } = self;
        proxy.rules().add(Rule {
            parts,
            over,
            lasting,
            fault,
        });
    }
}

fn has_all(text: &str, parts: &[impl AsRef<str>]) -> bool {
    parts.iter().all(|part| text.contains(part.as_ref()))
}
