//! One session: a shell that runs, what it said, and how it ends.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::events::{Event, Events, Stream};
use super::input::Keyboard;
use crate::domain::clock::{self, wire_time};
use crate::domain::limits::PIPE_GRACE;
use crate::job::handler::Identity;
use crate::process::containment::{Held, Method};
use crate::process::interactive::{Interactive, Output, Size};
use crate::process::mark;

/// Bytes read from a shell at once.
const READ_BYTES: usize = 16 * 1024;
/// How long output that begins like a key waits for its rest.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    Exited,
    Failed,
    Closed,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// Why a session was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody asked for it.
    Request,
    /// Anything else.
    Reason(String),
}

impl Why {
    fn text(&self) -> String {
        match self {
            Self::Request => "Session closed by request".to_owned(),
            Self::Reason(why) => format!("Session closed: {why}"),
        }
    }
}

/// What never changes.
#[derive(Debug)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) resource_id: String,
    pub(super) owner: Identity,
    pub(super) shell: String,
    pub(super) shell_args: Vec<String>,
    pub(super) cwd: String,
    /// What every descendant carries in its environment.
    pub(super) mark: String,
    pub(super) held_by: Method,
    /// How long it runs on when nobody asks about it.
    pub(super) idle: Duration,
    pub(super) created_at: Timestamp,
}

/// What changes.
#[derive(Debug)]
struct State {
    status: Status,
    updated_at: Timestamp,
    updated: Instant,
    asked: Instant,
    exit_code: Option<i32>,
    signal: Option<i32>,
    error: Option<String>,
    size: Option<Size>,
    events: Events,
    survivors: usize,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) about: About,
    pub(super) keyboard: Keyboard,
    state: Mutex<State>,
    why: OnceLock<Why>,
    stop: CancellationToken,
    gone: CancellationToken,
}

enum End {
    Exited(ExitStatus),
    Lost(io::Error),
    Closed(Option<ExitStatus>),
}

impl Session {
    pub(super) fn new(
        about: About,
        (keyboard, gone): (Keyboard, CancellationToken),
        size: Option<Size>,
        mut events: Events,
    ) -> Self {
        let (at, now) = (about.created_at, Instant::now());
        let line = std::iter::once(about.shell.as_str()).chain(about.shell_args.iter().map(String::as_str));
        events.system(format!("Session opened ({})", line.collect::<Vec<_>>().join(" ")), at);
        Self {
            about,
            keyboard,
            state: Mutex::new(State {
                status: Status::Running,
                updated_at: at,
                updated: now,
                asked: now,
                exit_code: None,
                signal: None,
                error: None,
                size,
                events,
                survivors: 0,
            }),
            why: OnceLock::new(),
            stop: CancellationToken::new(),
            gone,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Status {
        self.state().status
    }

    /// How long it has been over; none while it runs.
    pub(super) fn over_for(&self) -> Option<Duration> {
        let state = self.state();
        (state.status != Status::Running).then(|| state.updated.elapsed())
    }

    /// Somebody asked about the session, so it is not forgotten.
    pub(super) fn asked(&self) {
        self.state().asked = Instant::now();
    }

    pub(super) fn size(&self) -> Option<Size> {
        self.state().size
    }

    pub(super) fn resized(&self, size: Size) {
        self.state().size = Some(size);
    }

    /// The session in every answer.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let (about, mut state) = (&self.about, self.state());
        let members: [(&str, Value); 12] = [
            ("session_id", about.id.clone().into()),
            ("resource_id", about.resource_id.clone().into()),
            ("status", state.status.as_str().into()),
            ("shell", about.shell.clone().into()),
            ("shell_args", about.shell_args.clone().into()),
            ("cwd", about.cwd.clone().into()),
            ("created_at", wire_time(about.created_at).into()),
            ("updated_at", wire_time(state.updated_at).into()),
            ("exit_code", state.exit_code.into()),
            ("signal", state.signal.into()),
            ("error", state.error.clone().into()),
            ("latest_sequence", state.events.latest().into()),
        ];
        members
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect()
    }

    /// At most `max` events after `sequence`, and whether there are more.
    pub(super) fn read(&self, sequence: u64, max: usize) -> (Vec<Event>, bool) {
        self.state().events.since(sequence, max)
    }

    /// Ends the session, everything of its process group and everything that carries its mark.
    pub(super) async fn close(&self, why: Why) {
        // An earlier reason is the one that ends it.
        drop(self.why.set(why.clone()));
        self.stop.cancel();
        self.gone.cancelled().await;
        if self.status() == Status::Closed {
            return;
        }
        // It had ended by itself; what it left in the background ends now.
        self.sweep().await;
        self.change(|state, at| {
            state.status = Status::Closed;
            state.events.system(why.text(), at);
        });
    }

    async fn sweep(&self) {
        let swept = mark::kill_marked(&std::iter::once(self.about.mark.as_str()).collect()).await;
        self.state().survivors = swept.survivors.len();
    }

    /// How well its processes are held.
    pub(super) fn held(&self) -> Held {
        Held {
            by: self.about.held_by,
            survivors: self.state().survivors,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State, Timestamp)) {
        let (mut state, at) = (self.state(), clock::now());
        (state.updated_at, state.updated) = (at, Instant::now());
        change(&mut state, at);
    }

    /// Listens to the shell until it ends, by itself or because it has to.
    pub(super) async fn tend(self: Arc<Self>, process: Interactive, streams: (Output, Option<Output>)) {
        self.outlive(self.listen_to(process, streams)).await;
    }

    /// However the tending ends, the session is over then: whoever closes it waits for that.
    async fn outlive(&self, tending: impl Future<Output = ()>) {
        let _gone = self.gone.clone().drop_guard();
        if AssertUnwindSafe(tending).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(
            session = self.about.id,
            "The care for a shell session failed; it is ended"
        );
        self.sweep().await;
        self.change(|state, _| {
            state.status = Status::Failed;
            state.error = Some("Session error: the gateway failed to look after it".to_owned());
        });
    }

    async fn listen_to(&self, mut process: Interactive, streams: (Output, Option<Output>)) {
        let (stdout, stderr) = streams;
        let end = {
            let mut pumps = pin!(
                async {
                    tokio::join!(
                        self.listen(Stream::Stdout, Some(stdout)),
                        self.listen(Stream::Stderr, stderr)
                    )
                }
                .fuse()
            );
            let forever = async {
                pumps.as_mut().await;
                pending::<Infallible>().await
            };
            let end = tokio::select! {
                biased;
                end = self.supervise(&mut process) => end,
                never = forever => match never {},
            };
            if !pumps.is_terminated() {
                // Background work may hold the other end; what it says from here on is not the session's.
                drop(timeout(PIPE_GRACE, pumps).await);
            }
            end
        };
        self.finish(end);
        self.gone.cancel();
        self.keyboard.unplug().await;
    }

    async fn supervise(&self, process: &mut Interactive) -> End {
        tokio::select! {
            status = process.wait() => return status.map_or_else(End::Lost, End::Exited),
            () = self.stop.cancelled() => {}
            () = self.forgotten() => {
                let idle = self.about.idle.as_secs();
                drop(self.why.set(Why::Reason(format!("nobody used it for {idle} s"))));
            }
        }
        let status = process.end().await;
        self.sweep().await;
        End::Closed(status)
    }

    /// Returns when nobody has asked about the session for too long.
    async fn forgotten(&self) {
        loop {
            let Some(due) = self.state().asked.checked_add(self.about.idle) else {
                return pending().await;
            };
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    }

    async fn listen(&self, stream: Stream, output: Option<Output>) {
        let Some(mut output) = output else { return };
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = self.heard(stream, output.read(&mut buffer)).await;
            if length == 0 {
                return;
            }
            let piece = buffer.get(..length).unwrap_or_default();
            self.change(|state, at| state.events.output(stream, piece, at));
        }
    }

    /// What was read. Whoever types must not wait for the next key to see the last ones.
    async fn heard(&self, stream: Stream, read: impl Future<Output = usize>) -> usize {
        let mut read = pin!(read);
        let holds = self.state().events.holds(stream);
        if holds {
            if let Ok(length) = timeout(PAUSE, &mut read).await {
                return length;
            }
            self.change(|state, at| state.events.pause(stream, at));
        }
        read.await
    }

    fn finish(&self, end: End) {
        let exit = match &end {
            End::Exited(status) => Some(*status),
            End::Closed(status) => *status,
            End::Lost(_) => None,
        };
        let code = exit.and_then(|status| status.code());
        let (status, text, error) = match end {
            End::Exited(_) => {
                let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
                (Status::Exited, format!("Session exited with code {code}"), None)
            }
            End::Lost(error) => (
                Status::Failed,
                format!("Session error: {error}"),
                Some(error.to_string()),
            ),
            End::Closed(_) => (Status::Closed, self.why.get().unwrap_or(&Why::Request).text(), None),
        };
        self.change(|state, at| {
            for stream in [Stream::Stdout, Stream::Stderr] {
                state.events.output(stream, b"", at);
            }
            state.events.system(text, at);
            (state.status, state.error) = (status, error);
            (state.exit_code, state.signal) = (code, exit.and_then(|status| status.signal()));
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::unix::pipe;

    use super::*;
    use crate::domain::ids::{GatewayId, TeamId};
    use crate::process::interactive::Input;

    fn session() -> Session {
        let about = About {
            id: "s".to_owned(),
            resource_id: "r".to_owned(),
            owner: Identity {
                gateway_id: GatewayId::new("g").unwrap(),
                team_id: TeamId::new("t").unwrap(),
            },
            shell: "/bin/sh".to_owned(),
            shell_args: Vec::new(),
            cwd: "/".to_owned(),
            mark: format!("nobody-{}", std::process::id()),
            held_by: Method::Group,
            idle: Duration::MAX,
            created_at: clock::now(),
        };
        let gone = CancellationToken::new();
        let (input, _reads) = pipe::pipe().unwrap();
        let keyboard = Keyboard::new(Input::Pipe(input), gone.clone());
        Session::new(about, (keyboard, gone), None, Events::default())
    }

    #[tokio::test]
    async fn a_session_that_nobody_can_look_after_is_over_and_can_be_closed() {
        let session = session();
        session.outlive(async { panic!("by the test") }).await;
        assert_eq!(session.status(), Status::Failed);
        session.close(Why::Request).await;
        assert_eq!(session.status(), Status::Closed);
    }

    #[tokio::test]
    async fn a_session_whose_tending_is_given_up_can_be_closed() {
        let session = session();
        assert!(session.outlive(pending()).now_or_never().is_none());
        session.close(Why::Request).await;
        assert_eq!(session.status(), Status::Closed);
    }
}
