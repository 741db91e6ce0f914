//! Questions to the running daemon, over the owner-only Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::cli::error::CliError;
use crate::state::socket_path::SocketPath;
use crate::wire::local::{DaemonStatus, LocalReply, LocalRequest, MAX_LINE_BYTES};

/// A local answer comes at once or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// Nobody listens.
    #[error("no daemon listens on {}", .0.display())]
    NotListening(PathBuf),
    /// Somebody listens and stays silent.
    #[error("the daemon did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    /// The connection broke.
    #[error("the connection to the daemon broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The answer was not understood.
    #[error("the daemon's answer was not understood: {0}")]
    Garbled(#[from] serde_json::Error),
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
}

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        Self::failed("The running gateway could not be asked.")
            .detail(error.to_string())
            .hint("`gateway logs --no-follow` shows what it does; `gateway stop --now` ends it")
    }
}

/// Asks one question.
pub(crate) async fn ask(socket: &Path, request: &LocalRequest) -> Result<LocalReply, LocalError> {
    let nobody = || LocalError::NotListening(socket.to_owned());
    let path = SocketPath::of(socket).map_err(|_no_directory| nobody())?;
    let stream = UnixStream::connect(path.as_path())
        .await
        .map_err(|_no_listener| nobody())?;
    tokio::time::timeout(ANSWER_WITHIN, exchange(stream, request))
        .await
        .map_err(|_elapsed| LocalError::Silent)?
}

/// The daemon's account of itself, or `None` when nobody listens.
pub(crate) async fn status(socket: &Path) -> Result<Option<DaemonStatus>, LocalError> {
    match ask(socket, &LocalRequest::Status).await {
        Ok(LocalReply::Status(status)) => Ok(Some(*status)),
        Ok(LocalReply::Ok) => Err(LocalError::Refused("an answer without a status".to_owned())),
        Ok(LocalReply::Error { message }) => Err(LocalError::Refused(message)),
        Err(LocalError::NotListening(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for something to be done.
pub(crate) async fn command(socket: &Path, request: &LocalRequest) -> Result<(), LocalError> {
    match ask(socket, request).await? {
        LocalReply::Ok | LocalReply::Status(_) => Ok(()),
        LocalReply::Error { message } => Err(LocalError::Refused(message)),
    }
}

async fn exchange(mut stream: UnixStream, request: &LocalRequest) -> Result<LocalReply, LocalError> {
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut answer = String::new();
    BufReader::new(stream.take(limit)).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
