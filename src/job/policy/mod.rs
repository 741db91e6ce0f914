//! Whether a command may run: machine control of the team, the host and the resource.
//!
//! Pure: facts come in as rows already fetched, freshness is judged by the server's time. The first refusal in the
//! documented order wins, and its text is what the job fails with.

pub mod cancel;
mod facts;
mod refusal;

use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::{GatewayId, TeamId};
use crate::wire::heartbeat::FRESH_SECONDS;

pub use facts::{Fact, GatewayFacts, Models, ResourceFacts};
pub use refusal::{Layer, Refusal};

/// What a request wants to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Run something.
    Write,
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

/// Whether an agent may run: the gateway lives, and says that it has models.
///
/// # Errors
/// The first [`Refusal`].
pub fn model_execution(gateway: Fact<GatewayFacts>, server_now: Timestamp) -> Result<GatewayFacts, Refusal> {
    let Fact::Present(gateway) = gateway else {
        return Err(Refusal::ControlUnavailable);
    };
    if !gateway.last_seen_at.is_some_and(|at| is_fresh(at, server_now)) {
        return Err(Refusal::Stale);
    }
    match gateway.models.clone() {
        Models::Ready => Ok(gateway),
        Models::Absent(reason) => Err(Refusal::NoModels { reason }),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let (team, own) = ids();
        remote_shell(resource, gateway, (&team, &own), access)
    }

    fn ids() -> (TeamId, GatewayId) {
        (TeamId::new("t").unwrap(), GatewayId::new("g").unwrap())
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
            (
                gateway("last_seen_at", json!("2026-11-21T11:58:29.9Z")),
                Refusal::Stale,
                Layer::Heartbeat,
            ),
            (
                gateway("full_control_enabled", json!(false)),
                Refusal::TeamDisabled,
                Layer::Team,
            ),
            (
                gateway("full_control_enabled", json!("true")),
                Refusal::TeamDisabled,
                Layer::Team,
            ),
            (
                gateway("capabilities", document(false)),
                Refusal::ServiceUnavailable,
                Layer::Service,
            ),
            (
                gateway("capabilities", json!(null)),
                Refusal::ServiceUnavailable,
                Layer::Service,
            ),
            (
                gateway(
                    "capabilities",
                    json!({"services": {"machine_control": {"ready": true}}}),
                ),
                Refusal::ServiceUnavailable,
                Layer::Service,
            ),
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
        assert_eq!(
            control(&gateway("capabilities", newer), true),
            Err(Refusal::ServiceUnavailable)
        );
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
        assert_eq!(
            control(&gateway("last_seen_at", json!("2026-11-21T12:00:02Z")), true),
            Ok(())
        );
    }

    #[test]
    fn the_own_resource_is_allowed_also_by_vm() {
        assert_eq!(shell(&resource(&[]), &ours(), Access::Write), Ok(()));
        let by_vm = resource(&[
            ("/metadata/vm_id", json!("v")),
            ("/metadata/gateway_id", json!("other")),
        ]);
        assert_eq!(shell(&by_vm, &gateway("vm_id", json!("v")), Access::Write), Ok(()));
        let viewer = resource(&[("/max_access_level", json!("viewer"))]);
        assert_eq!(shell(&viewer, &ours(), Access::Read), Ok(()));
    }

    #[test]
    fn each_row_of_the_resource_refuses() {
        let found = |found: &str| Refusal::NotRemoteShell {
            found: found.to_owned(),
        };
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
            (
                resource(&[("/metadata/gateway_id", json!("other"))]),
                Refusal::OtherGateway,
            ),
            (
                resource(&[("/metadata/full_control", json!("true"))]),
                Refusal::ResourceDisabled,
            ),
            (
                resource(&[("/metadata/full_control", json!(false))]),
                Refusal::ResourceDisabled,
            ),
        ];
        for (facts, refusal) in cases {
            assert_eq!(shell(&facts, &ours(), Access::Write), Err(refusal.clone()), "{facts:?}");
            assert_eq!(refusal.layer(), Layer::Resource);
        }
    }

    #[test]
    fn the_resource_question_comes_before_our_identity_and_that_before_the_resource() {
        let write = |resource, gateway| shell(&resource, &gateway, Access::Write);
        assert_eq!(
            write(Fact::Unavailable, Fact::Unavailable),
            Err(Refusal::ResourceUnavailable)
        );
        assert_eq!(
            write(Fact::Absent, Fact::Unavailable),
            Err(Refusal::IdentityUnavailable)
        );
        assert_eq!(write(Fact::Absent, Fact::Absent), Err(Refusal::IdentityMissing));
    }
}
