//! Why a command may not run, and who says so.

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
    /// The capability document offers no models.
    #[error("{}", reason.as_deref().unwrap_or("Gateway AI model providers are unavailable"))]
    NoModels {
        /// In the document's own words.
        reason: Option<String>,
    },
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
            Self::ServiceUnavailable | Self::NoModels { .. } => Layer::Service,
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
