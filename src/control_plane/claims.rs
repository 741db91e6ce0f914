//! Who is asking, as the authentication layer found out.

use jiff::Timestamp;

use crate::domain::ids::{GatewayId, TeamId};

/// The part a caller plays. Every statement is scoped by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Holds the public key only: sees nothing.
    Anon,
    /// A paired gateway.
    Gateway {
        /// Which one.
        gateway_id: GatewayId,
        /// Its team.
        team_id: TeamId,
    },
    /// A person, by an operator token.
    Operator {
        /// The team the token was made for.
        team_id: TeamId,
        /// The person's row in `users`.
        user_id: String,
    },
    /// The control plane itself and its administrator.
    Service,
}

/// What is known about the caller of one request or one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The caller's part.
    pub role: Role,
    /// The user the token names (`sub`).
    pub subject: Option<String>,
    /// The session the token belongs to.
    pub session_id: Option<String>,
    /// When the token ends, if it ends.
    pub expires_at: Option<Timestamp>,
}

impl Claims {
    /// Claims of a role with nothing else known.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            subject: None,
            session_id: None,
            expires_at: None,
        }
    }

    /// Claims of a caller with the public key only.
    #[must_use]
    pub const fn anon() -> Self {
        Self::new(Role::Anon)
    }

    /// Whether the caller has not shown who they are; decides between 401 and 403.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.role == Role::Anon
    }

    /// The caller's team.
    #[must_use]
    pub fn team_id(&self) -> Option<&str> {
        match &self.role {
            Role::Gateway { team_id, .. } | Role::Operator { team_id, .. } => Some(team_id.as_str()),
            Role::Anon | Role::Service => None,
        }
    }

    /// The caller's gateway, when the caller is one.
    #[must_use]
    pub fn gateway_id(&self) -> Option<&str> {
        match &self.role {
            Role::Gateway { gateway_id, .. } => Some(gateway_id.as_str()),
            Role::Anon | Role::Operator { .. } | Role::Service => None,
        }
    }

    /// The caller's user row, when the caller is an operator.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match &self.role {
            Role::Operator { user_id, .. } => Some(user_id),
            Role::Anon | Role::Gateway { .. } | Role::Service => None,
        }
    }
}
