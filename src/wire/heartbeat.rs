//! Body of the function `gateway-heartbeat` and the capability document v1 it carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Path of the function below the backend's address.
pub const HEARTBEAT_PATH: &str = "/functions/v1/gateway-heartbeat";
/// Seconds after which a heartbeat is stale for both ends.
pub const FRESH_SECONDS: i64 = 90;

/// What a gateway says it is. Locally there are more words; these four exist on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireStatus {
    /// Starting, or draining.
    Pending,
    /// Takes jobs.
    Ready,
    /// Alive, but cannot take jobs.
    Error,
    /// Goodbye; the last one of a run.
    Offline,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Operational status.
    pub status: WireStatus,
    /// The whole capability document, every time.
    pub capabilities: Capabilities,
    /// Label of the host.
    pub device_name: String,
}

/// Capability document; `schema_version` is `v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `v1`.
    pub schema_version: String,
    /// Exactly `claude_code`, `codex`, `gemini`: the backend refuses missing and extra keys.
    pub providers: BTreeMap<String, ProviderCapability>,
    /// Host block; the key is `gateway`.
    pub hosts: BTreeMap<String, HostCapability>,
    /// What the gateway can do as a whole.
    pub services: Services,
    /// What it runs on.
    pub runtime: RuntimeInfo,
}

/// One agent CLI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderCapability {
    /// Its version command succeeded.
    pub available: bool,
    /// Trimmed output of `--version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it is unavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Flags found in its help, by the wire's names.
    #[serde(default)]
    pub supported_flags: BTreeMap<String, bool>,
    /// The three things a backend asks about.
    pub supports: ProviderSupports,
    /// Gemini's extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    /// Health as last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ProviderHealth>,
}

/// Features of a provider that the backend plans with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProviderSupports {
    /// Answers can be forced into a JSON schema.
    pub output_schema: bool,
    /// Output can be streamed as JSON lines.
    pub stream_json: bool,
    /// Tools can be switched off.
    pub tool_disable: bool,
}

/// Health word of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// A real call worked.
    Healthy,
    /// Installed, but a call failed.
    Unhealthy,
    /// Installed, never tried.
    Unknown,
    /// Not installed or not starting.
    Unavailable,
}

impl HealthStatus {
    /// The word as sent on the wire.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How health was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckType {
    /// With a model call.
    Full,
    /// Without one.
    Light,
}

/// Health of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderHealth {
    /// The verdict.
    pub status: HealthStatus,
    /// How it was reached.
    pub check_type: CheckType,
    /// When, RFC 3339.
    pub checked_at: String,
    /// When a model call was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_full_checked_at: Option<String>,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_full_status: Option<HealthStatus>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Model of the last full check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Length of the check in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl ProviderHealth {
    /// Whether a model was ever asked.
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        self.last_full_checked_at.is_some() && self.last_full_status.is_some()
    }
}

/// The host block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostCapability {
    /// `gateway`.
    pub kind: String,
    /// Always true while somebody says it.
    pub available: bool,
    /// Device name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Host facts.
    pub metadata: HostMetadata,
}

/// Facts of the host block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMetadata {
    /// The host's own layer of machine control.
    pub install_full_control_enabled: bool,
}

/// Readiness per service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Some provider can run a model.
    pub model_execution: Readiness,
    /// Remote shells can be served.
    pub remote_shell: Readiness,
    /// The host lets machine control happen.
    pub machine_control: Readiness,
}

/// Ready, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it can be used.
    pub ready: bool,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the gateway runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// `linux` or `darwin`.
    pub platform: String,
    /// `x64`, `arm64`, ...
    pub arch: String,
    /// The wire demands a text; we are no Node and send `none`.
    pub node_version: String,
    /// What we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_version: Option<String>,
}

/// The backend's answer to a heartbeat; unknown members are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// False is a refusal.
    pub success: bool,
}
