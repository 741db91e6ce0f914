//! `gateway doctor`: what is wrong on this host, and the command that mends it.

use clap::Args;
use serde_json::{Value, json};

use crate::backend::{Auth, Client, Endpoint, Http};
use crate::cli::args::{EnvFileArgs, JsonArg};
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::local;
use crate::cli::local::LocalError;
use crate::cli::output::Details;
use crate::cli::providers::{self, Depth, Examined};
use crate::cli::status::{enabled, paired_word, state_word};
use crate::domain::clock;
use crate::process::containment;
use crate::state::session::Session;
use crate::wire::local::{Containment, DaemonState, DaemonStatus, SetAside};

/// Beyond this a clock is called wrong; jobs still run, because freshness is judged by the server's time.
const CLOCK_LIMIT_SECONDS: i64 = 30;

/// What the control plane is told about where a verdict comes from.
const CONTEXT: &str = "doctor";

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when the gateway cannot work here: state directory, session or control plane, or when the one that \
runs is offline or its session was refused. A missing agent CLI or a switched-off layer of machine control is only a warning.

Every agent CLI that is installed is asked one small question, as a job would ask it; --validate light asks none.

Examples:
  gateway doctor
  gateway doctor --json"
)]
pub(crate) struct DoctorArgs {
    /// How agent CLIs are examined
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub(crate) validate: Depth,

    #[command(flatten)]
    pub(crate) env_file: EnvFileArgs,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Warning,
    Bad,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "failed",
        }
    }
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    hint: Option<String>,
}

pub(crate) async fn run(args: &DoctorArgs, cx: &Context) -> CliResult {
    let loaded = cx.sessions().load();
    let paired = paired_word(&loaded);
    let mut checks = vec![state_check(cx), session_check(&loaded)];
    let session = loaded.ok().flatten();
    let daemon = local::status(&cx.paths.socket()).await;
    checks.extend(daemon_check(&daemon));
    let daemon = daemon.ok().flatten();
    if let Some(session) = &session {
        checks.extend(plane_checks(session, daemon.as_ref()).await);
        checks.push(host_layer(session));
    }
    let held = containment(daemon.as_ref());
    checks.push(containment_check(&held));
    checks.extend(daemon.as_ref().and_then(guardian_check));
    checks.extend(daemon.as_ref().and_then(results_check));
    let usable = checks.iter().all(|check| check.verdict != Verdict::Bad);
    if args.json.json {
        let examined = providers::examine(args.validate, CONTEXT, cx).await;
        cx.out.document(&document((&checks, &held), &examined, usable, cx))?;
    } else {
        print_checks(&checks, paired, session.as_ref(), cx);
        print_providers(&providers::examine_and_print(args.validate, CONTEXT, cx).await, cx);
    }
    Ok(if usable { Exit::OK } else { Exit::FAILED })
}

fn good(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        verdict: Verdict::Good,
        found: found.into(),
        hint: None,
    }
}

fn bad(name: &'static str, error: &CliError) -> Check {
    let detail = error.detail.as_deref().map(|detail| format!(" {detail}"));
    Check {
        name,
        verdict: Verdict::Bad,
        found: format!("{}{}", error.message, detail.unwrap_or_default()),
        hint: error.hint.clone(),
    }
}

fn warning(name: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Check {
    Check {
        name,
        verdict: Verdict::Warning,
        found: found.into(),
        hint: Some(hint.into()),
    }
}

fn state_check(cx: &Context) -> Check {
    match cx.state_dir() {
        Ok(dir) => good("State directory", cx.out.path(dir.path())),
        Err(error) => bad("State directory", &error),
    }
}

fn session_check(session: &Result<Option<Session>, crate::state::session::SessionError>) -> Check {
    match session {
        Ok(Some(session)) => good("Session", format!("paired with {}", session.supabase_url)),
        Ok(None) => bad(
            "Session",
            &CliError::failed("This host is not paired.").hint("gateway pair CODE, or gateway up"),
        ),
        Err(error) => bad(
            "Session",
            &CliError::failed(error.to_string()).hint(error.mend().unwrap_or_default()),
        ),
    }
}

/// What the running gateway says of itself; none where none runs.
fn daemon_check(daemon: &Result<Option<DaemonStatus>, LocalError>) -> Option<Check> {
    let name = "Gateway";
    let status = match daemon {
        Ok(status) => status.as_ref()?,
        Err(error) => return Some(warning(name, error.to_string(), "gateway logs --no-follow")),
    };
    let reason = status.reason.as_deref().map(|reason| format!(": {reason}"));
    let found = format!("{}{}", state_word(status.state), reason.unwrap_or_default());
    Some(match status.state {
        DaemonState::Ready => good(name, found),
        DaemonState::Starting | DaemonState::Degraded | DaemonState::Draining => {
            warning(name, found, "gateway logs --no-follow")
        }
        DaemonState::Offline => bad(name, &CliError::failed(found).hint("gateway logs --no-follow")),
        DaemonState::Unauthenticated => bad(name, &CliError::failed(found).hint("gateway pair CODE")),
    })
}

/// Whether the control plane answers, takes the session, and agrees about the time.
async fn plane_checks(session: &Session, daemon: Option<&DaemonStatus>) -> Vec<Check> {
    let http = match Endpoint::new(&session.supabase_url, session.anon_key.clone()).and_then(Http::new) {
        Ok(http) => http,
        Err(error) => return vec![bad("Control plane", &CliError::failed(error.to_string()))],
    };
    // The stored token as it is: a daemon may be using the session, and only one process may renew it.
    let client = Client::new(http.clone(), Auth::fixed(session.access_token.clone()));
    let query = client
        .rest()
        .from("team_gateways")
        .select("full_control_enabled,status,last_seen_at");
    let row = query.eq("id", &session.gateway_id).maybe_one().await;
    let mut checks = Vec::new();
    match row {
        Ok(Some(row)) => {
            checks.push(good("Control plane", "answers, and takes the session"));
            checks.push(team_layer(&row, session));
        }
        Ok(None) => checks.push(bad(
            "Control plane",
            &CliError::failed("answers, and has no such gateway").hint("gateway pair CODE"),
        )),
        Err(error) if error.status() == Some(401) => checks.push(refused_token(daemon)),
        Err(error) => checks.push(bad(
            "Control plane",
            &crate::cli::operator::explain(&session.supabase_url, &error),
        )),
    }
    checks.extend(clock_check(&http));
    checks
}

/// A stored token that is not taken has run out, or the session was revoked: only a renewal tells.
fn refused_token(daemon: Option<&DaemonStatus>) -> Check {
    let name = "Control plane";
    if daemon.is_some_and(|status| status.state == DaemonState::Ready) {
        return good(name, "answers; the running gateway renews the stored access token");
    }
    warning(
        name,
        "answers; does not take the stored access token, which has run out or was revoked",
        "gateway start renews it; should it be refused: gateway pair CODE",
    )
}

fn team_layer(row: &Value, session: &Session) -> Check {
    if row.get("full_control_enabled") == Some(&Value::Bool(true)) {
        return good("Machine control, team", "enabled");
    }
    warning(
        "Machine control, team",
        "disabled: commands are refused",
        format!("gateway control-plane gateway full-control {} on", session.gateway_id),
    )
}

fn host_layer(session: &Session) -> Check {
    if session.full_control_enabled {
        return good("Machine control, host", "enabled");
    }
    warning(
        "Machine control, host",
        "disabled: commands are refused",
        "gateway full-control enable",
    )
}

/// What the running gateway says; where none runs, what one started here would have.
fn containment(daemon: Option<&DaemonStatus>) -> Containment {
    if let Some(held) = daemon.and_then(|status| status.containment.clone()) {
        return held;
    }
    let held = containment::current();
    containment::tidy();
    held
}

fn containment_check(held: &Containment) -> Check {
    let name = "Containment of jobs";
    if held.reason.is_none() || !cfg!(target_os = "linux") {
        return good(name, &held.method);
    }
    let hint = "start it where cgroups may be made: systemd-run --user --scope gateway start, or a service with \
                Delegate=yes";
    warning(name, held.line(), hint)
}

/// A running gateway that nobody would clean up after.
fn guardian_check(daemon: &DaemonStatus) -> Option<Check> {
    let guardian = daemon.containment.as_ref()?.guardian;
    let hint = "the next job starts it; gateway logs --no-follow tells why it could not be started";
    let found = "none: should the gateway be killed, its jobs go on until the next start";
    guardian.is_none().then(|| warning("Guardian of jobs", found, hint))
}

/// What the running gateway could not get rid of.
fn results_check(daemon: &DaemonStatus) -> Option<Check> {
    let aside = daemon.set_aside.as_ref()?;
    Some(warning("Results set aside", aside.line(), SetAside::NEXT))
}

fn clock_check(http: &Http) -> Option<Check> {
    let offset = http.server_offset()?;
    let now = clock::now();
    let seconds = offset.server_time(now).duration_since(now).as_secs();
    if seconds.abs() <= CLOCK_LIMIT_SECONDS {
        return Some(good("Clock", format!("{} s from the control plane's", seconds.abs())));
    }
    let way = if seconds > 0 { "behind" } else { "ahead of" };
    Some(warning(
        "Clock",
        format!("{} s {way} the control plane's", seconds.abs()),
        "set the clock of this host; jobs run meanwhile",
    ))
}

fn print_providers(examined: &Examined, cx: &Context) {
    cx.out.line("Provider status:");
    for line in examined.status_lines() {
        cx.out.line(&line);
    }
    examined.warn_if_none_usable("providers", cx);
    let lines = match providers::doctor_lines(examined, cx) {
        Ok(lines) => lines,
        Err(error) => {
            return cx
                .out
                .fault(&error.message, &Details::new().maybe("Details", error.detail));
        }
    };
    cx.out.line("Provider homes:");
    for (provider, home, allow_root) in lines {
        let root = if allow_root { "; may act freely as root" } else { "" };
        cx.out.line(&format!("  - {}: {home}{root}", provider.wire()));
    }
}

fn print_checks(checks: &[Check], paired: &str, session: Option<&Session>, cx: &Context) {
    let details = Details::new()
        .add("Config dir", cx.out.path(&cx.paths.dir))
        .add("Paired", paired)
        .maybe(
            "Host machine control",
            session.map(|session| enabled(session.full_control_enabled)),
        )
        .maybe_verbose("Gateway ID", session.map(|session| &session.gateway_id))
        .maybe_verbose("Team ID", session.map(|session| &session.team_id));
    cx.out.heading("Gateway doctor report", &details);
    for check in checks {
        let details = Details::new().maybe("Next", check.hint.as_deref());
        let line = format!("{}: {}", check.name, check.found);
        match check.verdict {
            Verdict::Good => cx.out.ok(&line, &details),
            Verdict::Warning => cx.out.warn(&line, &details),
            Verdict::Bad => cx.out.fault(&line, &details),
        }
    }
}

/// Home and root's leave of each provider; null where the settings cannot be read.
fn settings_document(examined: &Examined, cx: &Context) -> Value {
    let lines = providers::doctor_lines(examined, cx);
    let entry = |(provider, home, allow_root): (crate::provider::ProviderId, String, bool)| {
        (
            provider.wire().to_owned(),
            json!({"home": home, "allow_root": allow_root}),
        )
    };
    lines.map_or(Value::Null, |lines| {
        Value::Object(lines.into_iter().map(entry).collect())
    })
}

fn document((checks, held): (&[Check], &Containment), examined: &Examined, usable: bool, cx: &Context) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.name, "verdict": check.verdict.word(), "found": check.found, "hint": check.hint,
            })
        })
        .collect();
    json!({
        "usable": usable,
        "state_directory": cx.paths.dir,
        "checks": checks,
        "containment": held,
        "providers": examined.document(),
        "provider_settings": settings_document(examined, cx),
    })
}
