//! POST, PATCH and DELETE: one statement each, in a transaction that is taken back when exactly one row
//! was asked for and another number came.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;

use super::Call;
use super::answer::{Ranged, Refusal, join, not_one};
use super::headers::{Accept, Resolution};
use crate::control_plane::claims::Role;
use crate::control_plane::problem::Problem;
use crate::control_plane::query::ast::Filter;
use crate::control_plane::query::body::{self, Body, Members};
use crate::control_plane::query::sql::{Arg, SqlBuf};
use crate::control_plane::query::statement::{self, Conflict};
use crate::control_plane::query::{access, parse, value};
use crate::control_plane::registry::{Column, Insert};

pub(super) async fn insert(call: &Call, policy: &Insert, body: Bytes) -> Result<Response, Refusal> {
    no_paging(call)?;
    let key = conflict_key(call)?;
    let conflict = match (call.prefer.resolution, &key) {
        (None, _) => Conflict::Refuse,
        (Some(Resolution::Ignore), key) => Conflict::Ignore(key),
        (Some(Resolution::Merge), key) if call.claims.role == Role::Service => Conflict::Merge(key),
        (Some(Resolution::Merge), _) => return Err(Problem::forbidden(call.table.name).into()),
    };
    let rows = new_rows(call, policy, &body)?;
    // The arguments are copies: the body may go before the statement runs.
    drop(body);
    if rows.is_empty() {
        return finish(call, StatusCode::CREATED, Outcome::nothing());
    }
    let answer = call.answer();
    let statement = statement::insert(call.store.dialect(), call.table, rows, &conflict, answer);
    let outcome = run(call, statement).await?;
    finish(call, StatusCode::CREATED, outcome)
}

/// The unique key an upsert is about.
fn conflict_key(call: &Call) -> Result<Vec<&'static Column>, Problem> {
    let table = call.table;
    let Some(asked) = &call.query.on_conflict else {
        return Ok(table.primary_key.iter().filter_map(|name| table.column(name)).collect());
    };
    let same = |key: &&[&str]| key.len() == asked.len() && asked.iter().all(|column| key.contains(&column.name));
    if [table.primary_key].iter().chain(table.unique).any(same) {
        return Ok(asked.clone());
    }
    Err(Problem::new(
        "42P10",
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    ))
}

fn new_rows(call: &Call, policy: &Insert, body: &[u8]) -> Result<Vec<Vec<Arg>>, Problem> {
    let now = value::stored_now();
    let rows = match body::split(body)? {
        Body::One(members) => vec![members],
        Body::Many(rows) => {
            if call.query.columns.is_none() {
                same_keys(&rows)?;
            }
            rows
        }
    };
    rows.iter()
        .map(|members| new_row(call, policy, members, &now))
        .collect()
}

fn same_keys(rows: &[Members<'_>]) -> Result<(), Problem> {
    let Some(first) = rows.first() else { return Ok(()) };
    let has = |row: &Members<'_>, name: &str| row.iter().any(|(known, _)| known == name);
    let alike = |row: &Members<'_>| row.len() == first.len() && first.iter().all(|(name, _)| has(row, name));
    if rows.iter().all(alike) {
        return Ok(());
    }
    Err(Problem::new("PGRST102", "All object keys must match"))
}

/// One argument for every column of the table.
fn new_row(call: &Call, policy: &Insert, members: &Members<'_>, now: &str) -> Result<Vec<Arg>, Problem> {
    let table = call.table;
    let mut given = arguments(call, members)?;
    if let Some(listed) = &call.query.columns
        && !call.prefer.missing_default
    {
        for column in listed {
            if !given.iter().any(|(known, _)| known.name == column.name) {
                given.push((column, Arg::Null));
            }
        }
    }
    access::admit(table, &call.claims, policy, &mut given)?;
    let mut args: Vec<Option<Arg>> = vec![None; table.columns.len()];
    for (column, arg) in given {
        let place = table.columns.iter().position(|known| known.name == column.name);
        if let Some(slot) = place.and_then(|place| args.get_mut(place)) {
            *slot = Some(arg);
        }
    }
    let columns = table.columns.iter().zip(args);
    columns
        .map(|(column, arg)| {
            let arg = arg.unwrap_or_else(|| value::filled(column, now));
            value::check(table, column, &arg)?;
            Ok(arg)
        })
        .collect()
}

/// The members that count: all of them, or those `columns` lists.
fn arguments(call: &Call, members: &Members<'_>) -> Result<Vec<(&'static Column, Arg)>, Problem> {
    let mut given = Vec::with_capacity(members.len() + 1);
    for (name, raw) in members {
        if let Some(listed) = &call.query.columns
            && !listed.iter().any(|column| column.name == name)
        {
            continue;
        }
        let column = parse::body_column(call.table, name)?;
        given.push((column, body::argument(column, raw)?));
    }
    Ok(given)
}

pub(super) async fn update(call: &Call, body: Bytes) -> Result<Response, Refusal> {
    no_paging(call)?;
    no_upsert(call)?;
    let sets = match body::split(&body)? {
        Body::One(members) => arguments(call, &members)?,
        Body::Many(_) => return Err(Problem::unsupported("PATCH with a list").into()),
    };
    drop(body);
    let own = access::updatable(call.table, &call.claims, &sets)?;
    for (column, arg) in &sets {
        value::check(call.table, column, arg)?;
    }
    if sets.is_empty() {
        return finish(call, call.changed(), Outcome::nothing());
    }
    let filters = joined(own, &call.query.filters);
    let statement = statement::update(call.store.dialect(), call.table, sets, &filters, call.answer());
    let outcome = run(call, statement).await?;
    finish(call, call.changed(), outcome)
}

pub(super) async fn delete(call: &Call) -> Result<Response, Refusal> {
    no_paging(call)?;
    no_upsert(call)?;
    let own = access::deletable(call.table, &call.claims)?;
    let filters = joined(own, &call.query.filters);
    let statement = statement::delete(call.store.dialect(), call.table, &filters, call.answer());
    let outcome = run(call, statement).await?;
    finish(call, call.changed(), outcome)
}

fn joined(mut own: Vec<Filter>, asked: &[Filter]) -> Vec<Filter> {
    own.extend_from_slice(asked);
    own
}

/// Which rows a limited write means is anybody's guess.
fn no_paging(call: &Call) -> Result<(), Problem> {
    if call.query.limit.is_some() || call.query.offset > 0 {
        return Err(Problem::unsupported("limit and offset on writes"));
    }
    Ok(())
}

fn no_upsert(call: &Call) -> Result<(), Problem> {
    if call.query.on_conflict.is_some() || call.prefer.resolution.is_some() {
        return Err(Problem::unsupported("conflict resolution outside POST"));
    }
    Ok(())
}

/// What a statement did.
struct Outcome {
    count: u64,
    rows: Vec<String>,
}

impl Outcome {
    const fn nothing() -> Self {
        Self {
            count: 0,
            rows: Vec::new(),
        }
    }

    fn of_rows(rows: Vec<String>) -> Self {
        Self {
            count: u64::try_from(rows.len()).unwrap_or(u64::MAX),
            rows,
        }
    }
}

impl Call {
    /// Columns to give back, if rows were asked for.
    fn answer(&self) -> Option<&[&'static Column]> {
        self.prefer.representation.then_some(self.query.select.as_slice())
    }

    /// Status of a change or a removal.
    fn changed(&self) -> StatusCode {
        if self.prefer.representation {
            StatusCode::OK
        } else {
            StatusCode::NO_CONTENT
        }
    }
}

async fn run(call: &Call, statement: SqlBuf) -> Result<Outcome, Problem> {
    if call.accept == Accept::Rows {
        // One statement is a transaction of its own: no further trips to the database.
        if call.prefer.representation {
            return Ok(Outcome::of_rows(call.store.write_returning(statement).await?));
        }
        let count = call.store.write(statement).await?;
        return Ok(Outcome {
            count,
            rows: Vec::new(),
        });
    }
    let mut tx = call.store.begin().await?;
    let outcome = if call.prefer.representation {
        Outcome::of_rows(tx.fetch_text(statement).await?)
    } else {
        Outcome {
            count: tx.execute(statement).await?,
            rows: Vec::new(),
        }
    };
    if outcome.count != 1 {
        tx.rollback().await?;
        return Err(not_one(usize::try_from(outcome.count).unwrap_or(usize::MAX)));
    }
    tx.commit().await?;
    Ok(outcome)
}

fn finish(call: &Call, status: StatusCode, outcome: Outcome) -> Result<Response, Refusal> {
    if call.accept == Accept::Object && outcome.count != 1 {
        return Err(not_one(usize::try_from(outcome.count).unwrap_or(usize::MAX)).into());
    }
    let body = if call.prefer.representation {
        Some((call.accept, join(outcome.rows, call.accept)?))
    } else {
        None
    };
    let ranged = Ranged {
        status,
        offset: 0,
        // An insert names no range, only how many there are.
        rows: if status == StatusCode::CREATED {
            0
        } else {
            outcome.count
        },
        total: call.prefer.count.then_some(outcome.count),
    };
    Ok(ranged.response(call.prefer, body))
}
