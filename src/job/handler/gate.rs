//! The facts that decide about a job on this host, as they were when it was claimed.

use jiff::Timestamp;

use crate::job::handler::{Context, ControlFacts, Identity, JobLife};
use crate::job::policy::{Fact, GatewayFacts, ResourceFacts};

/// What decides about a request.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    pub(super) identity: &'a Identity,
    pub(super) gateway: Fact<GatewayFacts>,
    pub(super) resource: Fact<ResourceFacts>,
    pub(super) host_enabled: bool,
    pub(super) server_now: Timestamp,
}

impl<'a> Gate<'a> {
    pub(super) fn of(cx: &'a Context, life: &JobLife) -> Self {
        let (gateway, resource) = match life.control.as_deref() {
            None => (Fact::Unavailable, Fact::Unavailable),
            Some(ControlFacts { gateway, resource }) => (
                Fact::read(gateway, GatewayFacts::from_row),
                Fact::read(resource, ResourceFacts::from_row),
            ),
        };
        Self {
            identity: &cx.identity,
            gateway,
            resource,
            host_enabled: cx.install_full_control.enabled(),
            server_now: cx.backend.server_time(),
        }
    }

    /// The resource asked for; a row with another id is no answer to the question.
    pub(super) fn resource(&self, id: &str) -> &Fact<ResourceFacts> {
        match &self.resource {
            Fact::Present(row) if row.id != id => &Fact::Absent,
            answer @ (Fact::Present(_) | Fact::Absent | Fact::Unavailable) => answer,
        }
    }
}
