//! Whether a command may run: machine control of the team, the host and the resource.
//!
//! Pure: facts come in as rows already fetched, freshness is judged by the server's time. The first refusal in the
//! documented order wins, and its text is what the job fails with.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::domain::ids::{GatewayId, TeamId};
use crate::wire::heartbeat::{Capabilities, FRESH_SECONDS};

/// A row that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact<T> {
    /// The question itself failed.
    Unavailable,
    /// There is no such row.
    Absent,
    /// The row.
    Present(T),
}

impl<T> Fact<T> {
    /// Reads an answered question about at most one row.
    pub fn read<E>(answer: Result<Option<&Value>, E>, row: impl FnOnce(&Value) -> T) -> Self {
        match answer {
            Err(_) => Self::Unavailable,
            Ok(None) => Self::Absent,
            Ok(Some(value)) => Self::Present(row(value)),
        }
    }
}

/// What our `team_gateways` row says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayFacts {
    /// The team's switch.
    pub full_control_enabled: bool,
    /// Last accepted heartbeat; none if missing or unreadable.
    pub last_seen_at: Option<Timestamp>,
    /// The stored capabilities are valid and say that machine control is ready.
    pub machine_control_ready: bool,
    /// The managed VM this gateway is, if it is one.
    pub vm_id: Option<String>,
}

impl GatewayFacts {
    /// Reads the columns `full_control_enabled, last_seen_at, capabilities, vm_id`.
    #[must_use]
    pub fn from_row(row: &Value) -> Self {
        let at = row.get("last_seen_at").and_then(Value::as_str);
        Self {
            full_control_enabled: is_true(row.get("full_control_enabled")),
            last_seen_at: at.and_then(|at| at.parse().ok()),
            machine_control_ready: row.get("capabilities").is_some_and(offers_machine_control),
            vm_id: text(row.get("vm_id")),
        }
    }
}

/// What a `team_resources` row says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceFacts {
    /// Row id.
    pub id: String,
    /// Owning team.
    pub team_id: String,
    /// Kind of resource; `remote_shell` is the one that runs commands.
    pub resource_type: String,
    /// Highest access the team gives.
    pub max_access_level: String,
    /// VM it targets; when set, the gateway named beside it does not count.
    pub vm_id: Option<String>,
    /// Gateway it targets.
    pub gateway_id: Option<String>,
    /// The resource's own switch: exactly `true`.
    pub full_control: bool,
}

impl ResourceFacts {
    /// Reads the columns `id, team_id, resource_type, max_access_level, metadata`.
    #[must_use]
    pub fn from_row(row: &Value) -> Self {
        let word = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned();
        let none = Map::new();
        let metadata = row.get("metadata").and_then(Value::as_object).unwrap_or(&none);
        Self {
            id: word("id"),
            team_id: word("team_id"),
            resource_type: word("resource_type"),
            max_access_level: word("max_access_level"),
            vm_id: text(metadata.get("vm_id")),
            gateway_id: text(metadata.get("gateway_id")),
            full_control: is_true(metadata.get("full_control")),
        }
    }
}

/// What a request wants to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Run something.
    Write,
}

/// Who says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The switch on the host.
    Host,
    /// The switch of the team.
    Team,
    /// The remote shell resource.
    Resource,
    /// Machine control as a service of this gateway.
    Service,
    /// The gateway is not known to be alive.
    Heartbeat,
}

/// Why a command may not run. `Display` is the text the job fails with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No row, or no answer.
    #[error("Gateway control state unavailable")]
    ControlUnavailable,
    /// No heartbeat for too long.
    #[error("Gateway is offline or heartbeat is stale")]
    Stale,
    /// Team layer.
    #[error("Gateway machine control is disabled in Team Integrations.")]
    TeamDisabled,
    /// Host layer.
    #[error("Gateway host machine control is disabled. Run \"gateway full-control enable\" on the host.")]
    HostDisabled,
    /// The capability document does not offer it.
    #[error("Gateway machine control service is unavailable.")]
    ServiceUnavailable,
    /// The resource could not be read.
    #[error("Failed to load remote shell resource")]
    ResourceUnavailable,
    /// Our own row could not be read.
    #[error("Failed to load gateway identity for remote shell resource")]
    IdentityUnavailable,
    /// Our own row is missing.
    #[error("Gateway identity is missing")]
    IdentityMissing,
    /// No such resource.
    #[error("Remote shell resource not found")]
    ResourceMissing,
    /// Another team's.
    #[error("Remote shell resource belongs to another team")]
    OtherTeam,
    /// Another kind.
    #[error("Resource is not a remote shell target (found {found})")]
    NotRemoteShell {
        /// What it is.
        found: String,
    },
    /// Only for looking.
    #[error("Remote shell resource is configured for viewer access. Full access is required for this action.")]
    ViewerOnly,
    /// Another VM's.
    #[error("Remote shell resource targets a different VM-backed gateway")]
    OtherVm,
    /// Nobody's.
    #[error("Remote shell resource is missing metadata.gateway_id or metadata.vm_id")]
    NoTarget,
    /// Another gateway's.
    #[error("Remote shell resource targets a different gateway")]
    OtherGateway,
    /// Resource layer.
    #[error("Remote shell resource machine control is disabled")]
    ResourceDisabled,
}

impl Refusal {
    /// Which layer said no.
    #[must_use]
    pub const fn layer(&self) -> Layer {
        match self {
            Self::ControlUnavailable | Self::Stale => Layer::Heartbeat,
            Self::TeamDisabled => Layer::Team,
            Self::HostDisabled => Layer::Host,
            Self::ServiceUnavailable => Layer::Service,
            Self::ResourceUnavailable
            | Self::IdentityUnavailable
            | Self::IdentityMissing
            | Self::ResourceMissing
            | Self::OtherTeam
            | Self::NotRemoteShell { .. }
            | Self::ViewerOnly
            | Self::OtherVm
            | Self::NoTarget
            | Self::OtherGateway
            | Self::ResourceDisabled => Layer::Resource,
        }
    }
}

/// Machine control of heartbeat, team, host and service, in this order.
///
/// # Errors
/// The first [`Refusal`].
pub fn machine_control(gateway: &Fact<GatewayFacts>, host_enabled: bool, server_now: Timestamp) -> Result<(), Refusal> {
    let Fact::Present(gateway) = gateway else {
        return Err(Refusal::ControlUnavailable);
    };
    if !gateway.last_seen_at.is_some_and(|at| is_fresh(at, server_now)) {
        return Err(Refusal::Stale);
    }
    ensure(gateway.full_control_enabled, Refusal::TeamDisabled)?;
    ensure(host_enabled, Refusal::HostDisabled)?;
    ensure(gateway.machine_control_ready, Refusal::ServiceUnavailable)
}

/// Whether the resource lets this gateway do that.
///
/// # Errors
/// The first [`Refusal`].
pub fn remote_shell(
    resource: &Fact<ResourceFacts>,
    gateway: &Fact<GatewayFacts>,
    ours: (&TeamId, &GatewayId),
    access: Access,
) -> Result<(), Refusal> {
    ensure(*resource != Fact::Unavailable, Refusal::ResourceUnavailable)?;
    let own_vm = match gateway {
        Fact::Unavailable => return Err(Refusal::IdentityUnavailable),
        Fact::Absent => return Err(Refusal::IdentityMissing),
        Fact::Present(gateway) => gateway.vm_id.as_deref(),
    };
    let Fact::Present(resource) = resource else {
        return Err(Refusal::ResourceMissing);
    };
    let (team, gateway) = ours;
    ensure(resource.team_id == team.as_str(), Refusal::OtherTeam)?;
    if resource.resource_type != "remote_shell" {
        let found = resource.resource_type.clone();
        return Err(Refusal::NotRemoteShell { found });
    }
    let only_viewer = resource.max_access_level == "viewer";
    ensure(access == Access::Read || !only_viewer, Refusal::ViewerOnly)?;
    match (resource.vm_id.as_deref(), resource.gateway_id.as_deref()) {
        (Some(vm), _) => ensure(own_vm == Some(vm), Refusal::OtherVm)?,
        (None, None) => return Err(Refusal::NoTarget),
        (None, Some(target)) => ensure(target == gateway.as_str(), Refusal::OtherGateway)?,
    }
    ensure(resource.full_control, Refusal::ResourceDisabled)
}

fn ensure(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

/// A time ahead of ours counts as fresh: the server wrote it, and our idea of its clock is good to a second.
fn is_fresh(at: Timestamp, server_now: Timestamp) -> bool {
    server_now.duration_since(at) <= SignedDuration::from_secs(FRESH_SECONDS)
}

fn offers_machine_control(document: &Value) -> bool {
    serde_json::from_value::<Capabilities>(document.clone())
        .is_ok_and(|known| known.schema_version == "v1" && known.services.machine_control.ready)
}

fn is_true(value: Option<&Value>) -> bool {
    value == Some(&Value::Bool(true))
}

fn text(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn document(ready: bool) -> Value {
        json!({
            "schema_version": "v1", "providers": {}, "hosts": {},
            "services": {
                "model_execution": {"ready": false, "reason": "none"}, "remote_shell": {"ready": true},
                "machine_control": {"ready": ready}
            },
            "runtime": {"platform": "linux", "arch": "x64", "node_version": "none"}
        })
    }

    /// A row that allows everything, with one column changed.
    fn gateway(column: &str, value: Value) -> Fact<GatewayFacts> {
        let mut row = json!({
            "full_control_enabled": true, "last_seen_at": "2026-11-21T11:58:30+00:00", "status": "ready",
            "capabilities": document(true), "vm_id": null
        });
        row[column] = value;
        Fact::Present(GatewayFacts::from_row(&row))
    }

    fn resource(change: &[(&str, Value)]) -> Fact<ResourceFacts> {
        let mut row = json!({
            "id": "r", "team_id": "t", "resource_type": "remote_shell", "max_access_level": "editor",
            "metadata": {"gateway_id": "g", "full_control": true}
        });
        for (pointer, value) in change {
            if let Some(slot) = row.pointer_mut(pointer) {
                *slot = value.clone();
            } else {
                row["metadata"][pointer.trim_start_matches("/metadata/")] = value.clone();
            }
        }
        Fact::Present(ResourceFacts::from_row(&row))
    }

    fn control(gateway: &Fact<GatewayFacts>, host: bool) -> Result<(), Refusal> {
        machine_control(gateway, host, now())
    }

    fn shell(resource: &Fact<ResourceFacts>, gateway: &Fact<GatewayFacts>, access: Access) -> Result<(), Refusal> {
        let (team, own) = (TeamId::new("t").unwrap(), GatewayId::new("g").unwrap());
        remote_shell(resource, gateway, (&team, &own), access)
    }

    fn ours() -> Fact<GatewayFacts> {
        gateway("status", json!("ready"))
    }

    #[test]
    fn everything_on_is_allowed_whatever_the_status_word() {
        assert_eq!(control(&gateway("status", json!("error")), true), Ok(()));
    }

    #[test]
    fn each_row_of_machine_control_refuses() {
        let cases = [
            (Fact::Unavailable, Refusal::ControlUnavailable, Layer::Heartbeat),
            (Fact::Absent, Refusal::ControlUnavailable, Layer::Heartbeat),
            (gateway("last_seen_at", json!(null)), Refusal::Stale, Layer::Heartbeat),
            (gateway("last_seen_at", json!("soon")), Refusal::Stale, Layer::Heartbeat),
            (gateway("last_seen_at", json!("2026-11-21T11:58:29.9Z")), Refusal::Stale, Layer::Heartbeat),
            (gateway("full_control_enabled", json!(false)), Refusal::TeamDisabled, Layer::Team),
            (gateway("full_control_enabled", json!("true")), Refusal::TeamDisabled, Layer::Team),
            (gateway("capabilities", document(false)), Refusal::ServiceUnavailable, Layer::Service),
            (gateway("capabilities", json!(null)), Refusal::ServiceUnavailable, Layer::Service),
            (gateway("capabilities", json!({"services": {"machine_control": {"ready": true}}})),
                Refusal::ServiceUnavailable, Layer::Service),
        ];
        for (facts, refusal, layer) in cases {
            assert_eq!(control(&facts, true), Err(refusal.clone()), "{facts:?}");
            assert_eq!(refusal.layer(), layer);
        }
        assert_eq!(control(&ours(), false), Err(Refusal::HostDisabled));
        assert_eq!(Refusal::HostDisabled.layer(), Layer::Host);
    }

    #[test]
    fn another_schema_version_offers_nothing() {
        let mut newer = document(true);
        newer["schema_version"] = json!("v2");
        assert_eq!(control(&gateway("capabilities", newer), true), Err(Refusal::ServiceUnavailable));
    }

    #[test]
    fn the_order_is_heartbeat_team_host_service() {
        let mut facts = GatewayFacts::default();
        let verdict = |facts: &GatewayFacts, host| control(&Fact::Present(facts.clone()), host);
        assert_eq!(verdict(&facts, false), Err(Refusal::Stale));
        facts.last_seen_at = Some(now());
        assert_eq!(verdict(&facts, false), Err(Refusal::TeamDisabled));
        facts.full_control_enabled = true;
        assert_eq!(verdict(&facts, false), Err(Refusal::HostDisabled));
        assert_eq!(verdict(&facts, true), Err(Refusal::ServiceUnavailable));
    }

    #[test]
    fn a_heartbeat_from_a_clock_slightly_ahead_is_fresh() {
        assert_eq!(control(&gateway("last_seen_at", json!("2026-11-21T12:00:02Z")), true), Ok(()));
    }

    #[test]
    fn the_own_resource_is_allowed_also_by_vm() {
        assert_eq!(shell(&resource(&[]), &ours(), Access::Write), Ok(()));
        let by_vm = resource(&[("/metadata/vm_id", json!("v")), ("/metadata/gateway_id", json!("other"))]);
        assert_eq!(shell(&by_vm, &gateway("vm_id", json!("v")), Access::Write), Ok(()));
        let viewer = resource(&[("/max_access_level", json!("viewer"))]);
        assert_eq!(shell(&viewer, &ours(), Access::Read), Ok(()));
    }

    #[test]
    fn each_row_of_the_resource_refuses() {
        let found = |found: &str| Refusal::NotRemoteShell { found: found.to_owned() };
        let cases = [
            (Fact::Unavailable, Refusal::ResourceUnavailable),
            (Fact::Absent, Refusal::ResourceMissing),
            (resource(&[("/team_id", json!("other"))]), Refusal::OtherTeam),
            (resource(&[("/resource_type", json!("drive"))]), found("drive")),
            (resource(&[("/max_access_level", json!("viewer"))]), Refusal::ViewerOnly),
            (resource(&[("/metadata/vm_id", json!("v"))]), Refusal::OtherVm),
            (resource(&[("/metadata/gateway_id", json!(null))]), Refusal::NoTarget),
            (resource(&[("/metadata/gateway_id", json!(" "))]), Refusal::NoTarget),
            (resource(&[("/metadata", json!([]))]), Refusal::NoTarget),
            (resource(&[("/metadata/gateway_id", json!("other"))]), Refusal::OtherGateway),
            (resource(&[("/metadata/full_control", json!("true"))]), Refusal::ResourceDisabled),
            (resource(&[("/metadata/full_control", json!(false))]), Refusal::ResourceDisabled),
        ];
        for (facts, refusal) in cases {
            assert_eq!(shell(&facts, &ours(), Access::Write), Err(refusal.clone()), "{facts:?}");
            assert_eq!(refusal.layer(), Layer::Resource);
        }
    }

    #[test]
    fn the_resource_question_comes_before_our_identity_and_that_before_the_resource() {
        let write = |resource, gateway| shell(&resource, &gateway, Access::Write);
        assert_eq!(write(Fact::Unavailable, Fact::Unavailable), Err(Refusal::ResourceUnavailable));
        assert_eq!(write(Fact::Absent, Fact::Unavailable), Err(Refusal::IdentityUnavailable));
        assert_eq!(write(Fact::Absent, Fact::Absent), Err(Refusal::IdentityMissing));
    }
}
