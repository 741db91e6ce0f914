//! The rows that decide, as far as they decide.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::text::trimmed;
use crate::wire::heartbeat::{Capabilities, Readiness, Services};

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
    pub fn read<E>(answer: &Result<Option<Value>, E>, row: impl FnOnce(&Value) -> T) -> Self {
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
    /// Whether it says that models can be run.
    pub models: Models,
    /// The managed VM this gateway is, if it is one.
    pub vm_id: Option<String>,
}

impl GatewayFacts {
    /// What to select of the row.
    pub const COLUMNS: &str = "full_control_enabled,status,last_seen_at,capabilities,vm_id";

    /// Reads those columns.
    #[must_use]
    pub fn from_row(row: &Value) -> Self {
        let at = row.get("last_seen_at").and_then(Value::as_str);
        let services = row.get("capabilities").and_then(services);
        Self {
            full_control_enabled: is_true(row.get("full_control_enabled")),
            last_seen_at: at.and_then(|at| at.parse().ok()),
            machine_control_ready: services.as_ref().is_some_and(|services| services.machine_control.ready),
            models: match services.map(|services| services.model_execution) {
                Some(Readiness { ready: true, .. }) => Models::Ready,
                Some(Readiness { reason, .. }) => Models::Absent(reason),
                None => Models::default(),
            },
            vm_id: trimmed(row.get("vm_id")).map(str::to_owned),
        }
    }
}

/// Whether agents can run, as the stored capabilities say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Models {
    /// Some provider can.
    Ready,
    /// None can; why, if that was said.
    Absent(Option<String>),
}

impl Default for Models {
    fn default() -> Self {
        Self::Absent(None)
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
            vm_id: trimmed(metadata.get("vm_id")).map(str::to_owned),
            gateway_id: trimmed(metadata.get("gateway_id")).map(str::to_owned),
            full_control: is_true(metadata.get("full_control")),
        }
    }
}

/// What a capability document offers, if it is one.
fn services(document: &Value) -> Option<Services> {
    let known: Capabilities = serde_json::from_value(document.clone()).ok()?;
    (known.schema_version == "v1").then_some(known.services)
}

fn is_true(value: Option<&Value>) -> bool {
    value == Some(&Value::Bool(true))
}
