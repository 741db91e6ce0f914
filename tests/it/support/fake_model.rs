//! The scripted model, served in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use gateway::fake_model::{Asked, How, Observer, Seen, ServeOptions, serve};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A scripted model; it ends with this value.
#[derive(Debug)]
pub(crate) struct FakeModel {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl FakeModel {
    pub(crate) async fn start() -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        let options = ServeOptions {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            observer: Observer::new(move |seen| kept.lock().unwrap().push(seen.clone())),
        };
        let (bound, address) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let on_bound = |address| bound.send(address).unwrap();
            serve(options, on_bound, std::future::pending()).await.unwrap();
        });
        Self {
            address: address.await.unwrap(),
            seen,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The questions to a model so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter_map(|seen| match seen {
            Seen::Asked(asked) if asked.api.is_some() => Some(asked.as_ref().clone()),
            Seen::Asked(_) | Seen::Ended(_) => None,
        });
        asked.collect()
    }

    /// How the answer to question `n` ended, if it has.
    pub(crate) fn end_of(&self, n: u64) -> Option<How> {
        let seen = self.seen.lock().unwrap();
        seen.iter().find_map(|seen| match seen {
            Seen::Ended(ended) if ended.n == n => Some(ended.how),
            Seen::Ended(_) | Seen::Asked(_) => None,
        })
    }
}
