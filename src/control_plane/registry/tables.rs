//! The tables that clients know.

use super::policy::{Delete, Insert, Moves, NOBODY, Owner, Policies, Policy, Rule, Update};
use super::{Check, Column, ColumnType, Fill, ForeignKey, Table};

use ColumnType::{Bool, Int8, Jsonb, Text, Timestamptz, Uuid};

const TEAM: Rule = rule("team_id", Owner::Team);
const OWN: Rule = rule("gateway_id", Owner::Gateway);
const RUN_COLUMNS: &[&str] = &["status", "started_at", "completed_at", "output", "error", "metadata"];

const fn rule(column: &'static str, owner: Owner) -> Rule {
    Rule { column, owner }
}

const fn col(name: &'static str, kind: ColumnType) -> Column {
    Column::new(name, kind)
}

const fn id() -> Column {
    col("id", Uuid).required().fill(Fill::NewUuid)
}

const fn team_id() -> Column {
    col("team_id", Uuid).required()
}

const fn object(name: &'static str) -> Column {
    col(name, Jsonb)
        .required()
        .fill(Fill::Literal("{}"))
        .check(Check::JsonObject)
}

const fn created_at() -> Column {
    col("created_at", Timestamptz).required().fill(Fill::Now)
}

const fn updated_at() -> Column {
    col("updated_at", Timestamptz).required().fill(Fill::Now).touched()
}

const fn reads(rows: &'static [Rule]) -> Policy {
    Policy {
        read: Some(rows),
        ..NOBODY
    }
}

/// Everything, with no rule about rows.
pub(super) const SERVICE: Policy = Policy {
    read: Some(&[]),
    insert: Some(Insert {
        columns: &[],
        rows: &[],
        values: &[],
        stamps: &[],
    }),
    update: Some(Update {
        columns: &[],
        rows: &[],
        moves: None,
    }),
    delete: Some(Delete { rows: &[], only: None }),
};

const FK_TEAM: ForeignKey = ForeignKey {
    columns: &["team_id"],
    table: "teams",
    references: &["id"],
};
/// A row names a gateway of its own team, or none.
const FK_GATEWAY: ForeignKey = ForeignKey {
    columns: &["gateway_id", "team_id"],
    table: "team_gateways",
    references: &["id", "team_id"],
};
const FK_SUBAGENT: ForeignKey = ForeignKey {
    columns: &["subagent_id", "team_id"],
    table: "subagents",
    references: &["id", "team_id"],
};
const FK_RUN: ForeignKey = ForeignKey {
    columns: &["run_id", "team_id"],
    table: "subagent_runs",
    references: &["id", "team_id"],
};

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

const OPEN: &[&str] = &["queued", "running"];
const FINAL: &[&str] = &["completed", "failed", "cancelled"];

/// The queue: jobs, their state and their results.
pub static GATEWAY_JOBS: Table = Table {
    name: "gateway_jobs",
    columns: &[
        id(),
        team_id(),
        col("gateway_id", Uuid),
        col("job_type", Text).required(),
        col("status", Text)
            .required()
            .fill(Fill::Literal("queued"))
            .check(Check::OneOf(&["queued", "running", "completed", "failed", "cancelled"])),
        object("payload"),
        col("result", Jsonb).check(Check::JsonObject),
        col("error", Text),
        col("debug", Jsonb),
        col("requested_via", Text),
        col("idempotency_key", Text),
        col("attempt", Int8),
        col("retry_of_job_id", Uuid),
        col("requested_by_agent_id", Uuid),
        col("requested_by_user_id", Uuid),
        created_at(),
        col("started_at", Timestamptz),
        col("completed_at", Timestamptz),
        updated_at(),
    ],
    primary_key: &["id"],
    unique: &[],
    indexes: &[
        &["gateway_id", "status", "created_at"],
        &["team_id", "created_at"],
        &["team_id", "idempotency_key"],
    ],
    foreign_keys: &[FK_TEAM, FK_GATEWAY],
    realtime: true,
    exposed: true,
    policies: Policies {
        gateway: Policy {
            read: Some(&[TEAM, OWN]),
            insert: None,
            update: Some(Update {
                columns: &[
                    "status",
                    "gateway_id",
                    "started_at",
                    "result",
                    "error",
                    "completed_at",
                    "debug",
                ],
                rows: &[TEAM, OWN],
                moves: Some(&Moves {
                    column: "status",
                    to: &[
                        ("running", &["queued"]),
                        ("completed", &["running"]),
                        ("failed", &["running"]),
                        ("cancelled", &["running"]),
                    ],
                    open: OPEN,
                    always: &["debug"],
                }),
            }),
            delete: None,
        },
        operator: Policy {
            read: Some(&[TEAM]),
            insert: Some(Insert {
                columns: &[
                    "id",
                    "team_id",
                    "gateway_id",
                    "job_type",
                    "status",
                    "payload",
                    "requested_via",
                    "idempotency_key",
                    "attempt",
                    "retry_of_job_id",
                    "requested_by_agent_id",
                    "requested_by_user_id",
                ],
                rows: &[TEAM],
                values: &[("status", &["queued"])],
                stamps: &[rule("requested_by_user_id", Owner::User)],
            }),
            update: Some(Update {
                columns: &["status", "error", "completed_at"],
                rows: &[TEAM],
                moves: Some(&Moves {
                    column: "status",
                    to: &[("cancelled", OPEN)],
                    open: &[],
                    always: &[],
                }),
            }),
            delete: Some(Delete {
                rows: &[TEAM],
                only: Some(("status", FINAL)),
            }),
        },
        service: Policy {
            update: Some(Update {
                columns: &[],
                rows: &[],
                moves: Some(&Moves {
                    column: "status",
                    to: &[
                        ("running", &["queued"]),
                        ("completed", &["running"]),
                        ("failed", OPEN),
                        ("cancelled", OPEN),
                    ],
                    open: OPEN,
                    always: &["debug"],
                }),
            }),
            ..SERVICE
        },
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

/// Long-lived agents that run on gateways.
pub static SUBAGENTS: Table = Table {
    name: "subagents",
    columns: &[
        id(),
        team_id(),
        col("gateway_id", Uuid),
        col("owner_agent_id", Uuid),
        col("subagent_type", Text).required(),
        col("status", Text).required(),
        object("config"),
        col("input", Jsonb),
        object("metadata"),
        col("output", Jsonb),
        col("error", Text),
        col("started_at", Timestamptz),
        col("completed_at", Timestamptz),
        created_at(),
        updated_at(),
        col("created_by", Uuid),
    ],
    primary_key: &["id"],
    unique: &[&["id", "team_id"]],
    indexes: &[&["team_id", "created_at"]],
    foreign_keys: &[FK_TEAM, FK_GATEWAY],
    realtime: true,
    exposed: true,
    policies: run_policies(),
};

/// One run of a subagent.
pub static SUBAGENT_RUNS: Table = Table {
    name: "subagent_runs",
    columns: &[
        id(),
        col("subagent_id", Uuid).required(),
        team_id(),
        col("gateway_id", Uuid),
        col("run_sequence", Int8).required(),
        col("status", Text).required(),
        col("prompt", Text),
        col("prompted_by_agent_id", Uuid),
        col("output", Jsonb),
        col("error", Text),
        object("metadata"),
        col("started_at", Timestamptz),
        col("completed_at", Timestamptz),
        col("cancellation_requested_at", Timestamptz),
        col("waiting_reason", Text),
        col("waiting_recovery_at", Timestamptz),
        col("workflow_id", Text),
        col("current_turn_ordinal", Int8).required().fill(Fill::Literal("0")),
        col("terminal_proof", Jsonb),
        col("terminal_proof_at", Timestamptz),
        created_at(),
        updated_at(),
    ],
    primary_key: &["id"],
    unique: &[&["id", "team_id"], &["subagent_id", "run_sequence"]],
    indexes: &[],
    foreign_keys: &[FK_TEAM, FK_GATEWAY, FK_SUBAGENT],
    realtime: true,
    exposed: true,
    policies: run_policies(),
};

/// What happened in a run, in order.
pub static SUBAGENT_RUN_EVENTS: Table = Table {
    name: "subagent_run_events",
    columns: &[
        id(),
        col("run_id", Uuid).required(),
        col("subagent_id", Uuid).required(),
        team_id(),
        col("gateway_id", Uuid),
        col("sequence", Int8).required(),
        col("event_type", Text).required(),
        object("payload"),
        created_at(),
    ],
    primary_key: &["id"],
    unique: &[&["run_id", "sequence"]],
    indexes: &[],
    foreign_keys: &[FK_TEAM, FK_GATEWAY, FK_SUBAGENT, FK_RUN],
    realtime: true,
    exposed: true,
    policies: Policies {
        gateway: Policy {
            read: Some(&[TEAM]),
            insert: Some(Insert {
                columns: &[
                    "run_id",
                    "subagent_id",
                    "team_id",
                    "gateway_id",
                    "sequence",
                    "event_type",
                    "payload",
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

/// A gateway changes the progress of what runs on it; the rest of the team reads.
const fn run_policies() -> Policies {
    Policies {
        gateway: Policy {
            read: Some(&[TEAM]),
            update: Some(Update {
                columns: RUN_COLUMNS,
                rows: &[TEAM, OWN],
                moves: None,
            }),
            ..NOBODY
        },
        operator: reads(&[TEAM]),
        service: SERVICE,
    }
}
