//! What the CLI and a running daemon say to each other over the owner-only Unix socket.
//!
//! One JSON line asks, one JSON line answers, then the daemon closes the connection.

use serde::{Deserialize, Serialize};

/// Longest line in either direction, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A question to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LocalRequest {
    /// Tell the state.
    Status,
    /// Stop; the answer comes at once, the end is when the lock is free.
    Stop {
        /// How.
        how: StopHow,
    },
    /// Machine control of this host was changed on disk: read it again and tell the backend.
    ReloadFullControl,
}

/// How a daemon is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum StopHow {
    /// Let running jobs end for at most so many milliseconds, then cancel them.
    Drain {
        /// The bound.
        grace_ms: u64,
    },
    /// Cancel running jobs at once.
    Now,
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum LocalReply {
    /// The state.
    Status(Box<DaemonStatus>),
    /// Done, or begun.
    Ok,
    /// Not done.
    Error {
        /// Why.
        message: String,
    },
}

/// Local state word: finer than the wire's four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// Not yet connected for the first time.
    Starting,
    /// Takes jobs.
    Ready,
    /// The control plane cannot be reached; retrying.
    Offline,
    /// The session was refused; needs `pair`.
    Unauthenticated,
    /// Works, with a limit that `reason` names.
    Degraded,
    /// Ends running jobs, takes no new ones.
    Draining,
}

/// What holds the processes of one job together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containment {
    /// `cgroup`, `process group and mark`, or `process group`.
    pub method: String,
    /// Where the cgroups of jobs are made.
    pub cgroup: Option<String>,
    /// Why none are.
    pub reason: Option<String>,
    /// Process id of whoever ends the jobs of a daemon that was killed.
    #[serde(default)]
    pub guardian: Option<u32>,
}

impl Containment {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let why = self.reason.as_deref().map(|reason| format!(" ({reason})"));
        format!("{}{}", self.method, why.unwrap_or_default())
    }
}

/// Results that are not sent any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// How many.
    pub results: u64,
    /// Why the latest of them is not.
    pub reason: String,
}

impl SetAside {
    /// What a person can do.
    pub const NEXT: &'static str = "gateway logs names the jobs: submit again what still matters. The results stay in \
                                    journal.sqlite for a month";

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} (the latest: {})", self.results, self.reason)
    }
}

/// A running daemon's own account of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// State word.
    pub state: DaemonState,
    /// Why, when it is not `ready`.
    pub reason: Option<String>,
    /// Process id.
    pub pid: u32,
    /// Version of the running daemon.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Control plane address.
    pub backend_url: String,
    /// Its gateway id.
    pub gateway_id: String,
    /// Its team id.
    pub team_id: String,
    /// Device name.
    pub device_name: String,
    /// Host layer of machine control.
    pub full_control_enabled: bool,
    /// Whether the Realtime channel is joined.
    pub realtime: bool,
    /// Last good heartbeat, RFC 3339.
    pub last_heartbeat_at: Option<String>,
    /// Last good reconcile, RFC 3339.
    pub last_reconcile_at: Option<String>,
    /// Jobs running now.
    pub running_jobs: u32,
    /// Jobs waiting in memory.
    pub queued_jobs: u32,
    /// Results not yet confirmed by the control plane.
    pub unreported_results: u32,
    /// Results that are not sent any more, if there are any; older daemons do not say.
    #[serde(default)]
    pub set_aside: Option<SetAside>,
    /// Rows and frames that could not be decoded, since the start.
    pub malformed_rows: u64,
    /// What holds its jobs together; older daemons do not say.
    #[serde(default)]
    pub containment: Option<Containment>,
}

impl DaemonStatus {
    /// What holds its jobs, in one line.
    #[must_use]
    pub fn held_by(&self) -> Option<String> {
        let held = self.containment.as_ref()?;
        let guard = if held.guardian.is_none() { ", no guardian" } else { "" };
        Some(format!("{}{guard}", held.line()))
    }
}
