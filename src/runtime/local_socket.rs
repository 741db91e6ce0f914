//! The owner-only Unix socket: one line asks, one line answers. A stop is answered at once; its end is the lock's.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::state::socket_path::SocketPath;
use crate::wire::local::{LocalReply, LocalRequest, MAX_LINE_BYTES};

/// Conversations at the same time; more wait in the kernel.
const MAX_CONVERSATIONS: usize = 16;
/// The longest conversation.
const DEADLINE: Duration = Duration::from_secs(10);

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: LocalRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<LocalReply>,
}

/// Opens the socket. The directory is the owner's alone, and the state's lock is held: whatever lies at the path is
/// left over.
///
/// # Errors
/// When the path cannot be bound.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(SocketPath::of(path)?.as_path())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until dropped.
pub async fn serve(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let mut talking = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if talking.len() < MAX_CONVERSATIONS => match accepted {
                Ok((stream, _)) => talking.push(tokio::time::timeout(DEADLINE, converse(stream, asked.clone()))),
                Err(error) => {
                    warn!(%error, "Failed to accept on the local socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = talking.next() => if let Ok(Err(error)) = ended {
                warn!(%error, "A conversation on the local socket failed");
            },
        }
    }
}

async fn converse(stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let bound = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(read.take(bound)).read_until(b'\n', &mut line).await?;
    let reply = match serde_json::from_slice(&line) {
        Ok(request) => ask(request, &asked).await,
        Err(error) => refusal(&format!("not a request: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    write.shutdown().await
}

async fn ask(request: LocalRequest, asked: &mpsc::Sender<Asked>) -> LocalReply {
    let (answer, answered) = oneshot::channel();
    if asked.send(Asked { request, answer }).await.is_err() {
        return refusal("the gateway is ending");
    }
    answered.await.unwrap_or_else(|_| refusal("the gateway is ending"))
}

fn refusal(message: &str) -> LocalReply {
    LocalReply::Error {
        message: message.to_owned(),
    }
}
