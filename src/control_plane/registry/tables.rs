//! Teams, their gateways, and what belongs to them.

use super::parts::{
    FK_GATEWAY, FK_TEAM, OWN, SERVICE, TEAM, col, created_at, id, object, reads, rule, team_id, updated_at,
};
use super::policy::{Insert, NOBODY, Owner, Policies, Policy};
use super::{Check, ColumnType, Fill, Table};

use ColumnType::{Bool, Int8, Jsonb, Text, Timestamptz, Uuid};

/// Tenants.
pub static TEAMS: Table = Table {
    name: "teams",
    columns: &[id(), col("name", Text).required(), created_at(), updated_at()],
    primary_key: &["id"],
    unique: &[],
    indexes: &[],
    foreign_keys: &[],
    realtime: false,
    exposed: true,
    policies: Policies {
        gateway: reads(&[rule("id", Owner::Team)]),
        operator: reads(&[rule("id", Owner::Team)]),
        service: SERVICE,
    },
};

/// Paired gateways. Written by functions only.
pub static TEAM_GATEWAYS: Table = Table {
    name: "team_gateways",
    columns: &[
        id(),
        team_id(),
        col("device_name", Text),
        col("status", Text)
            .required()
            .fill(Fill::Literal("pending"))
            .check(Check::OneOf(&["pending", "ready", "error", "offline"])),
        col("last_seen_at", Timestamptz),
        col("ready_at", Timestamptz),
        col("capabilities", Jsonb),
        col("full_control_enabled", Bool)
            .required()
            .fill(Fill::Literal("false")),
        col("vm_id", Text),
        col("vm_provisioning_generation", Int8),
        col("vm_restore_stage_id", Text),
        created_at(),
        updated_at(),
    ],
    primary_key: &["id"],
    unique: &[&["id", "team_id"]],
    indexes: &[&["team_id", "created_at"]],
    foreign_keys: &[FK_TEAM],
    realtime: true,
    exposed: true,
    policies: Policies {
        gateway: reads(&[TEAM]),
        operator: reads(&[TEAM]),
        service: SERVICE,
    },
};

/// Accounts: one for each gateway (the subject of its session) and one for each operator.
pub static USERS: Table = Table {
    name: "users",
    columns: &[
        id(),
        team_id(),
        col("gateway_id", Uuid),
        col("email", Text),
        col("display_name", Text),
        created_at(),
        updated_at(),
    ],
    primary_key: &["id"],
    unique: &[],
    indexes: &[&["team_id"], &["gateway_id"]],
    foreign_keys: &[FK_TEAM, FK_GATEWAY],
    realtime: false,
    exposed: true,
    policies: Policies {
        gateway: NOBODY,
        operator: reads(&[TEAM]),
        service: SERVICE,
    },
};

/// What gateways report about themselves.
pub static GATEWAY_EVENTS: Table = Table {
    name: "gateway_events",
    columns: &[
        id(),
        col("gateway_id", Uuid).required(),
        team_id(),
        col("provider", Text),
        col("level", Text).required(),
        col("code", Text),
        col("message", Text).required(),
        object("details"),
        created_at(),
    ],
    primary_key: &["id"],
    unique: &[],
    indexes: &[&["team_id", "created_at"]],
    foreign_keys: &[FK_TEAM, FK_GATEWAY],
    realtime: true,
    exposed: true,
    policies: Policies {
        gateway: Policy {
            read: Some(&[TEAM]),
            insert: Some(Insert {
                columns: &[
                    "gateway_id",
                    "team_id",
                    "provider",
                    "level",
                    "code",
                    "message",
                    "details",
                ],
                rows: &[TEAM, OWN],
                values: &[],
                stamps: &[],
            }),
            ..NOBODY
        },
        operator: reads(&[TEAM]),
        service: SERVICE,
    },
};

/// Codes that a gateway exchanges for a session. `code` holds a hash, never the code.
pub static GATEWAY_PAIRING_CODES: Table = Table {
    name: "gateway_pairing_codes",
    columns: &[
        id(),
        col("code", Text).required().hidden(),
        team_id(),
        col("created_by", Text),
        created_at(),
        col("expires_at", Timestamptz).required(),
        col("used_at", Timestamptz),
        col("used_gateway_id", Uuid),
    ],
    primary_key: &["id"],
    unique: &[&["code"]],
    indexes: &[&["team_id"]],
    foreign_keys: &[FK_TEAM],
    realtime: false,
    exposed: true,
    policies: Policies {
        gateway: NOBODY,
        operator: reads(&[TEAM]),
        service: SERVICE,
    },
};

/// What a team lets its agents use; a `remote_shell` resource carries the third layer of machine control.
pub static TEAM_RESOURCES: Table = Table {
    name: "team_resources",
    columns: &[
        id(),
        col("resource_id", Uuid).required().fill(Fill::NewUuid),
        team_id(),
        col("resource_type", Text).required(),
        col("max_access_level", Text),
        col("display_name", Text),
        col("metadata", Jsonb),
        created_at(),
        updated_at(),
    ],
    primary_key: &["id"],
    unique: &[],
    indexes: &[&["team_id", "created_at"]],
    foreign_keys: &[FK_TEAM],
    realtime: true,
    exposed: true,
    policies: Policies {
        gateway: reads(&[TEAM]),
        operator: reads(&[TEAM]),
        service: SERVICE,
    },
};
