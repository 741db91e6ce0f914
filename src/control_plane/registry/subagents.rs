//! Agents that run on gateways, their runs and what happens in them.

use super::parts::{FK_GATEWAY, FK_TEAM, OWN, SERVICE, TEAM, col, created_at, id, object, reads, team_id, updated_at};
use super::policy::{Insert, NOBODY, Policies, Policy, Update};
use super::{ColumnType, Fill, ForeignKey, Table};

use ColumnType::{Int8, Jsonb, Text, Timestamptz, Uuid};

const RUN_COLUMNS: &[&str] = &["status", "started_at", "completed_at", "output", "error", "metadata"];

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
