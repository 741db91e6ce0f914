//! Control plane and daemon of this machine, running and paired: what `up` and `exec --up` need. Everything that is
//! there already is found by locks and sockets and left as it is.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::launch::{self, Started};
use crate::cli::operator::Operator;
use crate::cli::pairing::{self, NewPairing};
use crate::cli::plane::address::{self, PlaneAddress};
use crate::cli::plane::admin;
use crate::cli::plane::boot;
use crate::cli::start::StartArgs;
use crate::cli::{full_control, output::Details};
use crate::config::backend::{Backend, same_origin};
use crate::config::settings::device_name_for_pair;
use crate::config::sources::hostname;
use crate::domain::secret::Secret;
use crate::state::operator;
use crate::state::session::Session;

/// How long a heartbeat that tells of a changed switch may take to arrive.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What shall be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// Machine control on host, team and resource.
    pub(crate) full_control: bool,
}

/// What is there now.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) plane: PlaneAddress,
    pub(crate) daemon: Started,
    pub(crate) session: Session,
}

/// Makes sure that control plane and daemon run here and belong together.
pub(crate) async fn ensure(wants: &Wants, cx: &Context) -> Result<Stack, CliError> {
    check_no_other_pairing(cx)?;
    let plane = boot::ensure(cx).await?;
    ensure_operator(&plane, cx).await?;
    let session = match cx.sessions().load()? {
        Some(session) => session,
        None => pair(&plane, cx).await?,
    };
    let changed = wants.full_control && allow(&session, cx).await?;
    let daemon = launch::start(&StartArgs::default(), cx).await?;
    let ran = matches!(daemon, Started::Already(_));
    let daemon = if ran { launch::wait_running(cx).await? } else { daemon };
    if changed && ran {
        full_control::tell_daemon(cx).await;
        until_told(&session, cx).await?;
    }
    let session = cx.paired()?;
    Ok(Stack { plane, daemon, session })
}

/// `exec --full-control` without `--up`: all three layers, where this machine has the power to set them.
pub(crate) async fn allow_machine_control(cx: &Context) -> Result<(), CliError> {
    let session = cx.paired()?;
    if address::running(cx).is_none_or(|plane| !same_origin(&plane.url, &session.supabase_url)) {
        return Err(CliError::failed(
            "--full-control sets all three layers only where the control plane runs on this machine.",
        )
        .hint("host: gateway full-control enable; team and resource: on the control plane"));
    }
    if allow(&session, cx).await? {
        full_control::tell_daemon(cx).await;
        until_told(&session, cx).await?;
    }
    Ok(())
}

/// `up` must not take a host away from another control plane.
fn check_no_other_pairing(cx: &Context) -> Result<(), CliError> {
    let Some(session) = cx.sessions().load()? else {
        return Ok(());
    };
    if boot::remembered_url(cx).is_some_and(|url| same_origin(&url, &session.supabase_url)) {
        return Ok(());
    }
    Err(
        CliError::failed(format!("This host is paired with {} already.", session.supabase_url)).hint(
            "gateway unpair ends that; `gateway up --config-dir DIR` runs beside it with a state directory of its own",
        ),
    )
}

async fn ensure_operator(plane: &PlaneAddress, cx: &Context) -> Result<(), CliError> {
    match cx.operator()? {
        Some(saved) if same_origin(&saved.url, &plane.url) => return Ok(()),
        Some(saved) => {
            return Err(
                CliError::failed(format!("The operator credential here is for {}.", saved.url)).hint(format!(
                    "move {} away, or use --config-dir DIR",
                    cx.out.path(&cx.paths.operator_file())
                )),
            );
        }
        None => {}
    }
    let admin = admin::open_embedded(cx).await?;
    let team = admin.ensure_default_team().await?;
    let token = admin.create_token(&team, "this machine", None).await?;
    admin.close().await;
    let credential = operator::Operator {
        url: plane.url.clone(),
        anon_key: Secret::new(&*plane.anon_key),
        token: token.token,
        team_id: token.team_id,
    };
    operator::save(&cx.state_dir()?, &credential)?;
    Ok(())
}

async fn pair(plane: &PlaneAddress, cx: &Context) -> Result<Session, CliError> {
    cx.out.progress("Pairing this machine...");
    let admin = admin::open_embedded(cx).await?;
    let team = admin.ensure_default_team().await?;
    let code = admin.create_pairing_code(&team, None).await?;
    admin.close().await;
    let pairing = NewPairing {
        backend: Backend {
            url: plane.url.clone(),
            anon_key: Secret::new(&*plane.anon_key),
        },
        code: code.code.expose().to_owned(),
        device_name: device_name_for_pair(None, &cx.env, &hostname()),
        full_control: None,
    };
    let session = pairing::exchange(&pairing, cx).await?;
    Ok(cx.sessions().create(session, true)?)
}

/// Sets host, team and resource; tells whether anything was otherwise before.
async fn allow(session: &Session, cx: &Context) -> Result<bool, CliError> {
    let (host_changed, _) = full_control::write(true, cx)?;
    let operator = Operator::open(cx).await?;
    let (gateways, shells) = tokio::try_join!(operator.gateways(), operator.remote_shells())?;
    let gateway = session.gateway_id.as_str();
    let team_on = gateways
        .iter()
        .any(|row| is(row, "/id", gateway) && row.pointer("/full_control_enabled") == Some(&Value::Bool(true)));
    let shell_on = shells.iter().any(|row| {
        is(row, "/metadata/gateway_id", gateway) && row.pointer("/metadata/full_control") == Some(&Value::Bool(true))
    });
    if team_on && shell_on {
        return Ok(host_changed);
    }
    let admin = admin::open_embedded(cx).await?;
    if !team_on {
        admin.set_full_control(gateway, true).await?;
    }
    if !shell_on {
        admin::allow_shells_of(&admin, gateway).await?;
    }
    admin.close().await;
    Ok(true)
}

/// Waits until the control plane knows that this gateway offers machine control.
async fn until_told(session: &Session, cx: &Context) -> Result<(), CliError> {
    let operator = Operator::open(cx).await?;
    let deadline = Instant::now() + TOLD_WITHIN;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let rows = operator.gateways().await?;
        let ready = |row: &&Value| {
            is(row, "/id", session.gateway_id.as_str())
                && row.pointer("/capabilities/services/machine_control/ready") == Some(&Value::Bool(true))
        };
        if rows.iter().any(|row| ready(&row)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            cx.out.warn(
                "The control plane has not heard of the changed switch yet.",
                &Details::new(),
            );
            return Ok(());
        }
    }
}

fn is(row: &Value, pointer: &str, text: &str) -> bool {
    row.pointer(pointer).and_then(Value::as_str) == Some(text)
}
