//! Bodies on their way in: each read into one piece, and only so many megabytes of them at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::Request;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{MOST_BODY_BYTES, headers};
use crate::control_plane::problem::Problem;

/// Bodies up to this size wait for nobody.
const SMALL: usize = 256 * 1024;
/// Bytes of bigger bodies being worked on, on all connections together. Each costs about three times its size while
/// it is written.
const MOST_AT_WORK: usize = 2 * MOST_BODY_BYTES;
/// Longest wait for room. Nothing of the body is read meanwhile, so waiting costs nothing; senders repeat themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way in, shared by all requests.
#[derive(Debug, Clone)]
pub(super) struct Intake(Arc<Semaphore>);

/// Room for a body, taken until its rows are written.
pub(super) type Room = Option<OwnedSemaphorePermit>;

impl Default for Intake {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_AT_WORK)))
    }
}

impl Intake {
    /// The whole body, if it has at most so many bytes.
    ///
    /// # Errors
    /// PGRST102, 54000 for one that is too big, 53300 when there is no room for it.
    pub(super) async fn read(&self, request: Request, limit: usize) -> Result<(Bytes, Room), Problem> {
        headers::content_type(request.headers())?;
        let body = request.into_body();
        let announced = body.size_hint().exact();
        // Who does not say how much comes may send the most.
        let most = announced.map_or(limit, |length| usize::try_from(length).unwrap_or(usize::MAX));
        within(limit, most)?;
        let mut room = match announced {
            Some(_) if most > SMALL => Some(self.room(most).await?),
            Some(_) | None => None,
        };
        let mut bytes = Vec::with_capacity(announced.map_or(0, |_| most));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_broken| Problem::new("PGRST102", "the body did not arrive whole"))?;
            within(limit, bytes.len().saturating_add(chunk.len()))?;
            if room.is_none() && bytes.len().saturating_add(chunk.len()) > SMALL {
                room = Some(self.room(most).await?);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.into(), room))
    }

    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(bytes)).await;
        taken.ok().and_then(Result::ok).ok_or_else(|| {
            Problem::new("53300", "too many big bodies are being written").hint("Send it again in a while.")
        })
    }
}

fn within(limit: usize, bytes: usize) -> Result<(), Problem> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Problem::new("54000", format!("the body is over {limit} bytes")))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const MEGABYTE: usize = 1024 * 1024;

    async fn read(intake: &Intake, body: Body) -> Result<(Bytes, Room), Problem> {
        let request = Request::builder().header("content-type", "application/json");
        intake.read(request.body(body).unwrap(), MOST_BODY_BYTES).await
    }

    /// A body whose length nobody announced.
    fn stream(chunks: usize) -> Body {
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; MEGABYTE]);
        Body::from_stream(futures_util::stream::iter((0..chunks).map(move |_| chunk())))
    }

    #[tokio::test(start_paused = true)]
    async fn big_bodies_wait_for_room_and_small_ones_do_not() {
        let intake = Intake::default();
        let big = || read(&intake, vec![b' '; 60 * MEGABYTE].into());
        let (first, second) = (big().await.unwrap(), big().await.unwrap());
        assert_eq!(big().await.unwrap_err().code, "53300");
        let (small, none) = read(&intake, "{}".into()).await.unwrap();
        assert!(small == "{}" && none.is_none());
        drop(first);
        let (_third, _second) = (big().await.unwrap(), second);
        assert_eq!(read(&intake, stream(2)).await.unwrap_err().code, "53300");
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_read_whole_up_to_the_limit() {
        let intake = Intake::default();
        let (body, room) = read(&intake, stream(3)).await.unwrap();
        assert!(body.len() == 3 * MEGABYTE && room.is_some());
        assert_eq!(read(&intake, stream(65)).await.unwrap_err().code, "54000");
        drop(room);
        assert_eq!(intake.0.available_permits(), MOST_AT_WORK);
    }
}
