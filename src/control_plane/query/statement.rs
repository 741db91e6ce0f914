//! Whole statements. Every table and column comes from the registry, every value is an argument.

use super::ast::{Filter, Order};
use super::sql::{Arg, Dialect, SqlBuf};
use super::value;
use crate::control_plane::registry::{Column, ColumnType, Table};

/// A page of rows, as JSON texts.
#[derive(Debug)]
pub struct Page<'a> {
    /// The table.
    pub table: &'static Table,
    /// Columns of the answer.
    pub select: &'a [&'static Column],
    /// Conditions.
    pub filters: &'a [Filter],
    /// Sort keys.
    pub order: &'a [Order],
    /// Most rows.
    pub limit: Option<u64>,
    /// Rows to skip.
    pub offset: u64,
}

/// What an insert does about a row that is there already.
#[derive(Debug, Clone, PartialEq)]
pub enum Conflict<'a> {
    /// Fails.
    Refuse,
    /// Leaves the old row.
    Ignore(&'a [&'static Column]),
    /// Replaces the given columns of the old row.
    Merge(&'a [&'static Column]),
}

fn from(buf: &mut SqlBuf, table: &Table) {
    buf.push(" FROM \"").push(table.name).push("\"");
}

fn page_end(buf: &mut SqlBuf, limit: Option<u64>, offset: u64) {
    let number = |n: u64| Arg::Int(i64::try_from(n).unwrap_or(i64::MAX));
    if limit.is_none() && offset == 0 {
        return;
    }
    buf.push(" LIMIT ")
        .bind(ColumnType::Int8, number(limit.unwrap_or(u64::MAX)));
    if offset > 0 {
        buf.push(" OFFSET ").bind(ColumnType::Int8, number(offset));
    }
}

/// `SELECT`
#[must_use]
pub fn select(dialect: Dialect, page: &Page<'_>) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("SELECT ").json_row(page.select.iter().copied());
    from(&mut buf, page.table);
    buf.filters(page.filters).order(page.order);
    page_end(&mut buf, page.limit, page.offset);
    buf
}

/// How many rows there are in all.
#[must_use]
pub fn count(dialect: Dialect, table: &Table, filters: &[Filter]) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("SELECT CAST(count(*) AS text)");
    from(&mut buf, table);
    buf.filters(filters);
    buf
}

/// How many rows a page would have.
#[must_use]
pub fn count_page(dialect: Dialect, page: &Page<'_>) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("SELECT CAST(count(*) AS text) FROM (SELECT 1");
    from(&mut buf, page.table);
    buf.filters(page.filters);
    page_end(&mut buf, page.limit, page.offset);
    buf.push(") AS page");
    buf
}

fn returning(buf: &mut SqlBuf, columns: Option<&[&'static Column]>) {
    if let Some(columns) = columns {
        buf.push(" RETURNING ").json_row(columns.iter().copied());
    }
}

/// `INSERT` of whole rows: each has one argument for every column of the table.
#[must_use]
pub fn insert(
    dialect: Dialect,
    table: &Table,
    rows: Vec<Vec<Arg>>,
    conflict: &Conflict<'_>,
    answer: Option<&[&'static Column]>,
) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("INSERT INTO \"").push(table.name).push("\" (");
    buf.columns(table.columns).push(") VALUES ");
    for (index, row) in rows.into_iter().enumerate() {
        buf.push(if index == 0 { "(" } else { ",(" });
        for (index, (column, arg)) in table.columns.iter().zip(row).enumerate() {
            buf.push(if index == 0 { "" } else { "," }).bind(column.kind, arg);
        }
        buf.push(")");
    }
    on_conflict(&mut buf, table, conflict);
    returning(&mut buf, answer);
    buf
}

fn on_conflict(buf: &mut SqlBuf, table: &Table, conflict: &Conflict<'_>) {
    let (target, merge) = match conflict {
        Conflict::Refuse => return,
        Conflict::Ignore(target) => (target, false),
        Conflict::Merge(target) => (target, true),
    };
    buf.push(" ON CONFLICT (").columns(target.iter().copied()).push(")");
    if !merge {
        buf.push(" DO NOTHING");
        return;
    }
    let kept = |column: &&Column| {
        !target.iter().any(|key| key.name == column.name)
            && !table.primary_key.contains(&column.name)
            && column.name != "created_at"
    };
    buf.push(" DO UPDATE SET ");
    for (index, column) in table.columns.iter().filter(kept).enumerate() {
        buf.push(if index == 0 { "" } else { "," }).column(column);
        buf.push("=excluded.").column(column);
    }
}

/// `UPDATE`; a touched column is set along.
#[must_use]
pub fn update(
    dialect: Dialect,
    table: &'static Table,
    sets: Vec<(&'static Column, Arg)>,
    filters: &[Filter],
    answer: Option<&[&'static Column]>,
) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("UPDATE \"").push(table.name).push("\" SET ");
    let touched = table
        .columns
        .iter()
        .filter(|column| column.touched && !sets.iter().any(|(set, _)| set.name == column.name))
        .map(|column| (column, Arg::Text(value::stored_now())))
        .collect::<Vec<_>>();
    for (index, (column, arg)) in sets.into_iter().chain(touched).enumerate() {
        buf.push(if index == 0 { "" } else { "," }).column(column);
        buf.push("=").bind(column.kind, arg);
    }
    buf.filters(filters);
    returning(&mut buf, answer);
    buf
}

/// `DELETE`
#[must_use]
pub fn delete(dialect: Dialect, table: &Table, filters: &[Filter], answer: Option<&[&'static Column]>) -> SqlBuf {
    let mut buf = SqlBuf::new(dialect);
    buf.push("DELETE");
    from(&mut buf, table);
    buf.filters(filters);
    returning(&mut buf, answer);
    buf
}
