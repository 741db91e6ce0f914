//! What a role may do with a table, as data.

use crate::control_plane::claims::{Claims, Role};

/// A value of the caller's claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The caller's team.
    Team,
    /// The caller's gateway.
    Gateway,
    /// The caller's user.
    User,
}

impl Owner {
    /// The value for these claims; absent means that no row matches.
    #[must_use]
    pub fn of(self, claims: &Claims) -> Option<&str> {
        match self {
            Self::Team => claims.team_id(),
            Self::Gateway => claims.gateway_id(),
            Self::User => claims.user_id(),
        }
    }
}

/// A row belongs to the caller when this column holds the caller's value.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The column.
    pub column: &'static str,
    /// What it must hold.
    pub owner: Owner,
}

/// What may be inserted.
#[derive(Debug, Clone, Copy)]
pub struct Insert {
    /// Columns that may be given.
    pub columns: &'static [&'static str],
    /// What the new row must hold.
    pub rows: &'static [Rule],
    /// Columns whose value, when given, must be one of these.
    pub values: &'static [(&'static str, &'static [&'static str])],
    /// Columns that are set from the claims when absent, and must equal them when given.
    pub stamps: &'static [Rule],
}

/// The life of a row: which state may follow which.
#[derive(Debug, Clone, Copy)]
pub struct Moves {
    /// The column that holds the state.
    pub column: &'static str,
    /// `(to, from any of)`. A state that is missing here may not be set.
    pub to: &'static [(&'static str, &'static [&'static str])],
    /// States in which columns other than `always` may change without a move.
    pub open: &'static [&'static str],
    /// Columns that may change in any state.
    pub always: &'static [&'static str],
}

/// What may be changed.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Columns that may be given; empty means all.
    pub columns: &'static [&'static str],
    /// Which rows, and what they must still hold afterwards.
    pub rows: &'static [Rule],
    /// Allowed state changes.
    pub moves: Option<&'static Moves>,
}

/// What may be deleted.
#[derive(Debug, Clone, Copy)]
pub struct Delete {
    /// Which rows.
    pub rows: &'static [Rule],
    /// `(column, any of these values)`.
    pub only: Option<(&'static str, &'static [&'static str])>,
}

/// One role's rights on one table.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Rows that may be read. `None`: reads are answered with nothing.
    pub read: Option<&'static [Rule]>,
    /// Inserting.
    pub insert: Option<Insert>,
    /// Changing.
    pub update: Option<Update>,
    /// Deleting.
    pub delete: Option<Delete>,
}

/// No rights at all.
pub const NOBODY: Policy = Policy {
    read: None,
    insert: None,
    update: None,
    delete: None,
};

/// The rights of every role on one table.
#[derive(Debug, Clone, Copy)]
pub struct Policies {
    /// A paired gateway.
    pub gateway: Policy,
    /// A person with an operator token.
    pub operator: Policy,
    /// The control plane itself.
    pub service: Policy,
}

impl Policies {
    /// The rights of the caller.
    #[must_use]
    pub const fn of(&self, claims: &Claims) -> &Policy {
        match claims.role {
            Role::Anon => &NOBODY,
            Role::Gateway { .. } => &self.gateway,
            Role::Operator { .. } => &self.operator,
            Role::Service => &self.service,
        }
    }
}
