//! Tables of the control plane's own: no client ever sees them.

use super::parts::SERVICE;
use super::policy::{NOBODY, Policies};
use super::{Column, ColumnType, Fill, ForeignKey, Table};

use ColumnType::{Bool, Int8, Text, Timestamptz, Uuid};

const CLOSED: Policies = Policies {
    gateway: NOBODY,
    operator: NOBODY,
    service: SERVICE,
};

const fn col(name: &'static str, kind: ColumnType) -> Column {
    Column::new(name, kind)
}

const fn id() -> Column {
    col("id", Uuid).required().fill(Fill::NewUuid)
}

const fn created_at() -> Column {
    col("created_at", Timestamptz).required().fill(Fill::Now)
}

const FK_USER: ForeignKey = ForeignKey {
    columns: &["user_id"],
    table: "users",
    references: &["id"],
};

/// Login sessions of gateways.
pub static AUTH_SESSIONS: Table = Table {
    name: "auth_sessions",
    columns: &[
        id(),
        col("user_id", Uuid).required(),
        col("team_id", Uuid).required(),
        col("gateway_id", Uuid),
        created_at(),
        col("refreshed_at", Timestamptz),
        col("revoked_at", Timestamptz),
        col("not_after", Timestamptz),
    ],
    primary_key: &["id"],
    unique: &[],
    indexes: &[&["gateway_id"], &["user_id"]],
    foreign_keys: &[FK_USER],
    realtime: false,
    exposed: false,
    policies: CLOSED,
};

/// Refresh tokens, hashed, each knowing its parent.
pub static AUTH_REFRESH_TOKENS: Table = Table {
    name: "auth_refresh_tokens",
    columns: &[
        id(),
        col("session_id", Uuid).required(),
        col("token_hash", Text).required(),
        col("parent_hash", Text),
        col("counter", Int8).required().fill(Fill::Literal("0")),
        col("revoked", Bool).required().fill(Fill::Literal("false")),
        created_at(),
        col("updated_at", Timestamptz).required().fill(Fill::Now).touched(),
    ],
    primary_key: &["id"],
    unique: &[&["token_hash"]],
    indexes: &[&["session_id"]],
    foreign_keys: &[ForeignKey {
        columns: &["session_id"],
        table: "auth_sessions",
        references: &["id"],
    }],
    realtime: false,
    exposed: false,
    policies: CLOSED,
};

/// Credentials of operators, hashed.
pub static OPERATOR_TOKENS: Table = Table {
    name: "operator_tokens",
    columns: &[
        id(),
        col("team_id", Uuid).required(),
        col("user_id", Uuid).required(),
        col("name", Text),
        col("token_hash", Text).required(),
        created_at(),
        col("expires_at", Timestamptz),
        col("last_used_at", Timestamptz),
        col("revoked_at", Timestamptz),
    ],
    primary_key: &["id"],
    unique: &[&["token_hash"]],
    indexes: &[&["team_id"]],
    foreign_keys: &[FK_USER],
    realtime: false,
    exposed: false,
    policies: CLOSED,
};

/// Keys and choices of this control plane.
pub static SETTINGS: Table = Table {
    name: "settings",
    columns: &[
        col("key", Text).required(),
        col("value", Text).required(),
        col("updated_at", Timestamptz).required().fill(Fill::Now).touched(),
    ],
    primary_key: &["key"],
    unique: &[],
    indexes: &[],
    foreign_keys: &[],
    realtime: false,
    exposed: false,
    policies: CLOSED,
};
