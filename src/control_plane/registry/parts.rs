//! What the tables are put together from.

use super::policy::{Delete, Insert, NOBODY, Owner, Policy, Rule, Update};
use super::{Check, Column, ColumnType, Fill, ForeignKey};

use ColumnType::{Jsonb, Timestamptz, Uuid};

pub(super) const TEAM: Rule = rule("team_id", Owner::Team);
pub(super) const OWN: Rule = rule("gateway_id", Owner::Gateway);

pub(super) const fn rule(column: &'static str, owner: Owner) -> Rule {
    Rule { column, owner }
}

pub(super) const fn col(name: &'static str, kind: ColumnType) -> Column {
    Column::new(name, kind)
}

pub(super) const fn id() -> Column {
    col("id", Uuid).required().fill(Fill::NewUuid)
}

pub(super) const fn team_id() -> Column {
    col("team_id", Uuid).required()
}

pub(super) const fn object(name: &'static str) -> Column {
    col(name, Jsonb)
        .required()
        .fill(Fill::Literal("{}"))
        .check(Check::JsonObject)
}

pub(super) const fn created_at() -> Column {
    col("created_at", Timestamptz).required().fill(Fill::Now)
}

pub(super) const fn updated_at() -> Column {
    col("updated_at", Timestamptz).required().fill(Fill::Now).touched()
}

pub(super) const fn reads(rows: &'static [Rule]) -> Policy {
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

pub(super) const FK_TEAM: ForeignKey = ForeignKey {
    columns: &["team_id"],
    table: "teams",
    references: &["id"],
};
/// A row names a gateway of its own team, or none.
pub(super) const FK_GATEWAY: ForeignKey = ForeignKey {
    columns: &["gateway_id", "team_id"],
    table: "team_gateways",
    references: &["id", "team_id"],
};
