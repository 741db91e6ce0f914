//! `gateway status`.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::duration::uptime;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::local::{self, LocalError};
use crate::cli::output::Details;
use crate::cli::plane::address::{self, PlaneAddress};
use crate::cli::times::{second, to_the_second};
use crate::state::last_exit::LastExit;
use crate::state::session::{Session, SessionError};
use crate::wire::local::{DaemonState, DaemonStatus, SetAside};

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0, running or not. Programs read `--json`: `.running` and `.state`.

Examples:
  gateway status
  gateway status -v
  gateway status --json"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// All that is known without asking the control plane. Text and JSON are two views of it.
struct Report {
    daemon: Result<Option<DaemonStatus>, LocalError>,
    /// Process id of the lock's holder.
    holder: Option<u32>,
    /// Process id in the PID file.
    recorded: Option<u32>,
    session: Result<Option<Session>, SessionError>,
    last_exit: Option<LastExit>,
    plane: Option<PlaneAddress>,
}

pub(crate) async fn run(args: &StatusArgs, cx: &Context) -> CliResult {
    let report = Report::collect(cx).await;
    if args.json.json {
        cx.out.document(&report.document(cx))?;
    } else {
        report.print(cx);
    }
    Ok(Exit::OK)
}

impl Report {
    async fn collect(cx: &Context) -> Self {
        Self {
            daemon: local::status(&cx.paths.socket()).await,
            holder: cx.daemon_pid(),
            recorded: cx.recorded_pid(),
            session: cx.sessions().load(),
            last_exit: cx.last_exit(),
            plane: address::running(cx),
        }
    }

    fn status(&self) -> Option<&DaemonStatus> {
        self.daemon.as_ref().ok().and_then(Option::as_ref)
    }

    fn session(&self) -> Option<&Session> {
        self.session.as_ref().ok().and_then(Option::as_ref)
    }

    fn running(&self) -> bool {
        self.holder.is_some() || self.status().is_some()
    }

    fn pid(&self) -> Option<u32> {
        self.status().map(|status| status.pid).or(self.holder)
    }

    /// A PID that is recorded although nothing runs.
    fn stale_pid(&self) -> Option<u32> {
        self.recorded.filter(|_| !self.running())
    }

    fn state(&self) -> &'static str {
        match (self.status(), self.holder) {
            (Some(status), _) => state_word(status.state),
            (None, Some(_)) => "silent",
            (None, None) => "stopped",
        }
    }

    fn reason(&self) -> Option<String> {
        match (&self.daemon, self.status()) {
            (_, Some(status)) => status.reason.clone(),
            (Err(error), None) => Some(error.to_string()),
            (Ok(_), None) => None,
        }
    }

    /// How the last one ended. One that was killed could not say so.
    fn last_exit(&self) -> Option<String> {
        if self.running() {
            return None;
        }
        let said = self.last_exit.as_ref();
        match self.stale_pid() {
            Some(pid) if said.is_none_or(|last| last.pid != pid) => Some(format!(
                "PID {pid} was killed, or the machine went down; `gateway start` reports what it was doing"
            )),
            Some(_) | None => said.map(|last| format!("{} ({})", last.reason, second(last.at))),
        }
    }

    fn print(&self, cx: &Context) {
        let word = if self.running() { "Running" } else { "Stopped" };
        let status = self.status();
        let version = status.map_or(env!("CARGO_PKG_VERSION"), |status| status.version.as_str());
        let details = Details::new()
            .add("Version", version)
            .maybe("State", self.running().then(|| self.state()))
            .maybe("Reason", self.reason())
            .maybe("Uptime", status.map(|status| uptime(status.uptime_seconds)));
        let details = details.maybe("Last exit", self.last_exit());
        let details = self.add_pairing(details);
        let details = self.add_work(details, status);
        let details = self.add_places(details, cx);
        cx.out.heading(&format!("Gateway Status: {word}"), &details);
        if let Err(error) = &self.session {
            let details = Details::new().add("Details", error).maybe("Next", error.mend());
            cx.out.warn("The session file cannot be used.", &details);
        }
    }

    fn add_pairing(&self, details: Details) -> Details {
        let session = self.session();
        let details = details
            .add("Paired", paired_word(&self.session))
            .maybe(
                "Host machine control",
                session.map(|session| enabled(session.full_control_enabled)),
            )
            .maybe("Control plane", session.map(|session| session.supabase_url.as_str()));
        details
            .maybe_verbose("Device", session.and_then(|session| session.device_name.as_deref()))
            .maybe_verbose("Gateway ID", session.map(|session| &session.gateway_id))
            .maybe_verbose("Team ID", session.map(|session| &session.team_id))
    }

    fn add_work(&self, details: Details, status: Option<&DaemonStatus>) -> Details {
        let Some(status) = status else { return details };
        let jobs = format!(
            "{} running, {} waiting, {} results to deliver",
            status.running_jobs, status.queued_jobs, status.unreported_results
        );
        details
            .add("Ingress", if status.realtime { "push" } else { "poll" })
            .add("Jobs", jobs)
            .maybe("Results set aside", status.set_aside.as_ref().map(SetAside::line))
            .maybe("Next", status.set_aside.as_ref().map(|_| SetAside::NEXT))
            .maybe("Jobs are held by", status.held_by())
            .maybe_verbose("Last heartbeat", status.last_heartbeat_at.as_deref().map(to_the_second))
            .maybe_verbose("Last reconcile", status.last_reconcile_at.as_deref().map(to_the_second))
            .verbose("Malformed rows", status.malformed_rows)
    }

    fn add_places(&self, details: Details, cx: &Context) -> Details {
        details
            .maybe_verbose("PID", self.pid())
            .maybe_verbose("Stale PID", self.stale_pid())
            .maybe(
                "Embedded control plane",
                self.plane.as_ref().map(|plane| plane.url.as_str()),
            )
            .verbose("Config Path", cx.out.path(&cx.paths.config_file))
            .verbose("Log Path", cx.out.path(&cx.paths.log_file))
            .verbose("PID Path", cx.out.path(&cx.paths.pid_file))
    }

    fn paired(&self) -> bool {
        self.session().is_some()
    }

    fn document(&self, cx: &Context) -> Value {
        let session = self.session();
        json!({
            "running": self.running(),
            "state": self.state(),
            "reason": self.reason(),
            "version": self.status().map_or(env!("CARGO_PKG_VERSION"), |status| status.version.as_str()),
            "uptime_seconds": self.status().map(|status| status.uptime_seconds),
            "paired": self.paired(),
            "session_error": self.session.as_ref().err().map(ToString::to_string),
            "full_control_enabled": session.map(|session| session.full_control_enabled),
            "control_plane_url": session.map(|session| session.supabase_url.as_str()),
            "device_name": session.and_then(|session| session.device_name.as_deref()),
            "gateway_id": session.map(|session| session.gateway_id.as_str()),
            "team_id": session.map(|session| session.team_id.as_str()),
            "pid": self.pid(),
            "stale_pid": self.stale_pid(),
            "daemon": self.status(),
            "containment": self.status().map(|status| &status.containment),
            "last_exit": self.last_exit.as_ref(),
            "embedded_control_plane": self.plane.as_ref().map(|plane| json!({"url": plane.url, "pid": plane.pid})),
            "config_path": cx.paths.config_file,
            "log_path": cx.paths.log_file,
            "pid_path": cx.paths.pid_file,
        })
    }
}

/// The state as one word.
pub(crate) const fn state_word(state: DaemonState) -> &'static str {
    match state {
        DaemonState::Starting => "starting",
        DaemonState::Ready => "ready",
        DaemonState::Offline => "offline",
        DaemonState::Unauthenticated => "unauthenticated",
        DaemonState::Degraded => "degraded",
        DaemonState::Draining => "draining",
    }
}

/// Whether this host is paired; a session that cannot be read is none, and is said to be there.
pub(crate) const fn paired_word(session: &Result<Option<Session>, SessionError>) -> &'static str {
    match session {
        Ok(Some(_)) => "Yes",
        Ok(None) => "No",
        Err(_) => "No (the session file cannot be used)",
    }
}

/// `Yes` or `No`.
pub(crate) const fn yes_no(yes: bool) -> &'static str {
    if yes { "Yes" } else { "No" }
}

/// `Enabled` or `Disabled`.
pub(crate) const fn enabled(on: bool) -> &'static str {
    if on { "Enabled" } else { "Disabled" }
}
