//! The queue.

use super::parts::{FK_GATEWAY, FK_TEAM, OWN, SERVICE, TEAM, col, created_at, id, object, rule, team_id, updated_at};
use super::policy::{Delete, Insert, Moves, Owner, Policies, Policy, Update};
use super::{Check, ColumnType, Fill, Table};

use ColumnType::{Int8, Jsonb, Text, Timestamptz, Uuid};

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
