//! The registry's policies, enforced: which conditions join a statement, and which statements are refused.

use super::ast::{Filter, Op, Test};
use super::sql::Arg;
use super::value;
use crate::control_plane::claims::Claims;
use crate::control_plane::problem::Problem;
use crate::control_plane::registry::{Column, Insert, Moves, Rule, Table};

/// What is known of a row that is to be written.
pub type Sets = [(&'static Column, Arg)];

/// Conditions that hold exactly for the caller's rows; `None` when there are none.
fn scope(table: &'static Table, claims: &Claims, rules: &[Rule]) -> Option<Vec<Filter>> {
    rules
        .iter()
        .map(|rule| {
            let column = table.column(rule.column)?;
            let arg = value::literal(column.kind, rule.owner.of(claims)?).ok()?;
            Some(Filter {
                column,
                negated: false,
                test: Test::Compare(Op::Eq, arg),
            })
        })
        .collect()
}

fn any_of(table: &'static Table, column: &str, values: &[&str]) -> Option<Filter> {
    let args = values.iter().map(|text| Arg::Text((*text).to_owned())).collect();
    Some(Filter {
        column: table.column(column)?,
        negated: false,
        test: Test::In(args),
    })
}

/// Conditions on what may be read; `None` when that is nothing.
#[must_use]
pub fn readable(table: &'static Table, claims: &Claims) -> Option<Vec<Filter>> {
    scope(table, claims, table.policies.of(claims).read?)
}

/// Conditions on what may be deleted.
///
/// # Errors
/// 42501 when that is nothing.
pub fn deletable(table: &'static Table, claims: &Claims) -> Result<Vec<Filter>, Problem> {
    let forbidden = || Problem::forbidden(table.name);
    let delete = table.policies.of(claims).delete.ok_or_else(forbidden)?;
    let mut filters = scope(table, claims, delete.rows).ok_or_else(forbidden)?;
    filters.extend(delete.only.and_then(|(column, values)| any_of(table, column, values)));
    Ok(filters)
}

/// Conditions on what may be changed so.
///
/// # Errors
/// 42501 when the role may not change these columns, or not to these values.
pub fn updatable(table: &'static Table, claims: &Claims, sets: &Sets) -> Result<Vec<Filter>, Problem> {
    let forbidden = || Problem::forbidden(table.name);
    let update = table.policies.of(claims).update.ok_or_else(forbidden)?;
    let mut filters = scope(table, claims, update.rows).ok_or_else(forbidden)?;
    for (column, arg) in sets {
        if !update.columns.is_empty() && !update.columns.contains(&column.name) {
            return Err(forbidden());
        }
        let leaves =
            |filter: &Filter| filter.column.name == column.name && filter.test != Test::Compare(Op::Eq, arg.clone());
        if filters.iter().any(leaves) {
            return Err(Problem::foreign_row(table.name));
        }
    }
    if let Some(moves) = update.moves {
        filters.extend(move_guard(table, moves, sets)?);
    }
    Ok(filters)
}

/// The state a row must be in for this change.
fn move_guard(table: &'static Table, moves: &Moves, sets: &Sets) -> Result<Option<Filter>, Problem> {
    let state = sets.iter().find(|(column, _)| column.name == moves.column);
    if let Some((_, Arg::Text(to))) = state {
        let Some((_, from)) = moves.to.iter().find(|(known, _)| known == to) else {
            return Err(Problem::foreign_row(table.name));
        };
        return Ok(any_of(table, moves.column, from));
    }
    if sets.iter().all(|(column, _)| moves.always.contains(&column.name)) {
        return Ok(None);
    }
    if moves.open.is_empty() {
        return Err(Problem::forbidden(table.name));
    }
    Ok(any_of(table, moves.column, moves.open))
}

/// Whether the role may change anything in the table.
///
/// # Errors
/// 42501.
pub fn changeable(table: &'static Table, claims: &Claims) -> Result<(), Problem> {
    let update = table.policies.of(claims).update;
    update.map(|_| ()).ok_or_else(|| Problem::forbidden(table.name))
}

/// Whether the role may insert into the table at all.
///
/// # Errors
/// 42501.
pub fn insertable(table: &'static Table, claims: &Claims) -> Result<Insert, Problem> {
    let insert = table.policies.of(claims).insert;
    insert.ok_or_else(|| Problem::forbidden(table.name))
}

/// Checks the columns a client gave for a new row, and adds what is stamped on it.
///
/// # Errors
/// 42501 when the role may not insert such a row.
pub fn admit(
    table: &'static Table,
    claims: &Claims,
    insert: &Insert,
    given: &mut Vec<(&'static Column, Arg)>,
) -> Result<(), Problem> {
    for (column, arg) in given.iter() {
        if !insert.columns.is_empty() && !insert.columns.contains(&column.name) {
            return Err(Problem::forbidden(table.name));
        }
        let limits = insert.values.iter().find(|(name, _)| *name == column.name);
        let outside = |(_, allowed): &(&str, &[&str])| match arg {
            Arg::Text(text) => !allowed.contains(&text.as_str()),
            Arg::Null => false,
            Arg::Int(_) | Arg::Bool(_) => true,
        };
        if limits.is_some_and(outside) {
            return Err(Problem::foreign_row(table.name));
        }
    }
    let foreign = || Problem::foreign_row(table.name);
    for filter in scope(table, claims, insert.rows).ok_or_else(foreign)? {
        let holds = |(column, arg): &(&'static Column, Arg)| {
            column.name == filter.column.name && filter.test == Test::Compare(Op::Eq, arg.clone())
        };
        if !given.iter().any(holds) {
            return Err(foreign());
        }
    }
    for stamp in scope(table, claims, insert.stamps).ok_or_else(foreign)? {
        let Test::Compare(_, own) = stamp.test else { continue };
        match given.iter_mut().find(|(column, _)| column.name == stamp.column.name) {
            Some((_, arg)) if *arg == own => {}
            Some((_, arg)) if *arg == Arg::Null => *arg = own,
            Some(_) => return Err(foreign()),
            None => given.push((stamp.column, own)),
        }
    }
    Ok(())
}
