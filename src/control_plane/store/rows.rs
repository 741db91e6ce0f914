//! Typed access for the control plane's own code: rows as JSON values, no SQL, no role.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Store, Tx};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::ast::{Filter, Op, Order, Test};
use crate::control_plane::query::sql::{Arg, Dialect, SqlBuf};
use crate::control_plane::query::statement::{self, Conflict, Page};
use crate::control_plane::query::{body, value};
use crate::control_plane::registry::{Column, Table};

/// Rows of a table that meet conditions, in an order. A mistake in a name or a literal shows when it is used.
#[derive(Debug, Clone)]
pub struct Rows {
    table: &'static Table,
    filters: Vec<Filter>,
    order: Vec<Order>,
    limit: Option<u64>,
    mistake: Option<Problem>,
}

impl Rows {
    /// All rows of the table.
    #[must_use]
    pub const fn of(table: &'static Table) -> Self {
        Self {
            table,
            filters: Vec::new(),
            order: Vec::new(),
            limit: None,
            mistake: None,
        }
    }

    /// Rows whose column equals the value, given as text (`true`, `12`, a uuid, an instant).
    #[must_use]
    pub fn eq(self, column: &str, value: &str) -> Self {
        self.compare(column, Op::Eq, value)
    }

    /// Rows whose column compares so with the value.
    #[must_use]
    pub fn compare(self, column: &str, op: Op, value: &str) -> Self {
        self.test(column, false, |column| {
            Ok(Test::Compare(op, value::literal(column.kind, value)?))
        })
    }

    /// Rows whose column equals one of the values.
    #[must_use]
    pub fn any_of(self, column: &str, values: &[&str]) -> Self {
        self.test(column, false, |column| {
            let literals = values.iter().map(|text| value::literal(column.kind, text));
            Ok(Test::In(literals.collect::<Result<_, _>>()?))
        })
    }

    /// Rows whose column is NULL.
    #[must_use]
    #[expect(clippy::wrong_self_convention, reason = "it reads as the SQL does")]
    pub fn is_null(self, column: &str) -> Self {
        self.test(column, false, |_| Ok(Test::Null))
    }

    /// Rows whose column is not NULL.
    #[must_use]
    pub fn not_null(self, column: &str) -> Self {
        self.test(column, true, |_| Ok(Test::Null))
    }

    /// Smallest first.
    #[must_use]
    pub fn ascending(self, column: &str) -> Self {
        self.sort(column, false)
    }

    /// Biggest first.
    #[must_use]
    pub fn descending(self, column: &str) -> Self {
        self.sort(column, true)
    }

    /// At most so many.
    #[must_use]
    pub const fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    fn known(&mut self, name: &str) -> Option<&'static Column> {
        let column = self.table.column(name);
        if column.is_none() {
            self.mistake = Some(unknown(self.table, name));
        }
        column
    }

    fn test(mut self, name: &str, negated: bool, test: impl FnOnce(&Column) -> Result<Test, Problem>) -> Self {
        if let Some(column) = self.known(name) {
            match test(column) {
                Ok(test) => self.filters.push(Filter { column, negated, test }),
                Err(mistake) => self.mistake = Some(mistake),
            }
        }
        self
    }

    fn sort(mut self, name: &str, descending: bool) -> Self {
        if let Some(column) = self.known(name) {
            self.order.push(Order {
                column,
                descending,
                nulls_first: descending,
            });
        }
        self
    }

    fn checked(&self) -> Result<(), Problem> {
        self.mistake.clone().map_or(Ok(()), Err)
    }

    fn select(&self, dialect: Dialect) -> Result<SqlBuf, Problem> {
        self.checked()?;
        let columns: Vec<&'static Column> = self.table.columns.iter().collect();
        let page = Page {
            table: self.table,
            select: &columns,
            filters: &self.filters,
            order: &self.order,
            limit: self.limit,
            offset: 0,
        };
        Ok(statement::select(dialect, &page))
    }

    fn update(&self, dialect: Dialect, changes: &Value) -> Result<SqlBuf, Problem> {
        self.checked()?;
        let sets = arguments(self.table, changes)?;
        for (column, arg) in &sets {
            value::check(self.table, column, arg)?;
        }
        let columns: Vec<&'static Column> = self.table.columns.iter().collect();
        Ok(statement::update(
            dialect,
            self.table,
            sets,
            &self.filters,
            Some(&columns),
        ))
    }

    fn delete(&self, dialect: Dialect) -> Result<SqlBuf, Problem> {
        self.checked()?;
        Ok(statement::delete(dialect, self.table, &self.filters, None))
    }
}

fn unknown(table: &Table, name: &str) -> Problem {
    Problem::new("42703", format!("column {}.{name} does not exist", table.name))
}

fn arguments(table: &'static Table, row: &Value) -> Result<Vec<(&'static Column, Arg)>, Problem> {
    let members = row.as_object().into_iter().flatten();
    members
        .map(|(name, value)| {
            let column = table.column(name).ok_or_else(|| unknown(table, name))?;
            let raw: Box<RawValue> = serde_json::value::to_raw_value(value)
                .map_err(|error| Problem::new("XX000", format!("{name} cannot be written as JSON: {error}")))?;
            Ok((column, body::argument(column, &raw)?))
        })
        .collect()
}

fn insert(dialect: Dialect, table: &'static Table, row: &Value) -> Result<SqlBuf, Problem> {
    let given = arguments(table, row)?;
    let now = value::stored_now();
    let mut args = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        let given = given.iter().find(|(known, _)| known.name == column.name);
        let arg = given.map_or_else(|| value::filled(column, &now), |(_, arg)| arg.clone());
        value::check(table, column, &arg)?;
        args.push(arg);
    }
    let columns: Vec<&'static Column> = table.columns.iter().collect();
    Ok(statement::insert(
        dialect,
        table,
        vec![args],
        &Conflict::Refuse,
        Some(&columns),
    ))
}

fn parsed(rows: &[String]) -> Result<Vec<Value>, Problem> {
    rows.iter()
        .map(|row| {
            serde_json::from_str(row)
                .map_err(|error| Problem::new("XX001", format!("a stored row is no JSON: {error}")))
        })
        .collect()
}

fn one(rows: &[String]) -> Result<Value, Problem> {
    let row = parsed(rows)?.into_iter().next();
    row.ok_or_else(|| Problem::new("XX000", "the database returned no row"))
}

impl Tx {
    /// Rows, every column, hidden ones too.
    ///
    /// # Errors
    /// A mistake in `rows`, or whatever the database says.
    pub async fn select_rows(&mut self, rows: &Rows) -> Result<Vec<Value>, Problem> {
        parsed(&self.fetch_text(rows.select(self.dialect())?).await?)
    }

    /// Inserts one row; gives it back with its defaults.
    ///
    /// # Errors
    /// As [`Tx::select_rows`]; 23505 for a duplicate.
    pub async fn insert_row(&mut self, table: &'static Table, row: &Value) -> Result<Value, Problem> {
        one(&self.fetch_text(insert(self.dialect(), table, row)?).await?)
    }

    /// Changes rows; gives them back as they are now.
    ///
    /// # Errors
    /// As [`Tx::select_rows`].
    pub async fn update_rows(&mut self, rows: &Rows, changes: &Value) -> Result<Vec<Value>, Problem> {
        parsed(&self.fetch_text(rows.update(self.dialect(), changes)?).await?)
    }

    /// Deletes rows; gives their number.
    ///
    /// # Errors
    /// As [`Tx::select_rows`].
    pub async fn delete_rows(&mut self, rows: &Rows) -> Result<u64, Problem> {
        self.execute(rows.delete(self.dialect())?).await
    }
}

impl Store {
    /// As [`Tx::select_rows`], alone.
    ///
    /// # Errors
    /// A mistake in `rows`, or whatever the database says.
    pub async fn select_rows(&self, rows: &Rows) -> Result<Vec<Value>, Problem> {
        parsed(&self.read(rows.select(self.dialect())?).await?)
    }

    /// As [`Tx::insert_row`], alone.
    ///
    /// # Errors
    /// As [`Store::select_rows`]; 23505 for a duplicate.
    pub async fn insert_row(&self, table: &'static Table, row: &Value) -> Result<Value, Problem> {
        one(&self.write_returning(insert(self.dialect(), table, row)?).await?)
    }

    /// As [`Tx::update_rows`], alone.
    ///
    /// # Errors
    /// As [`Store::select_rows`].
    pub async fn update_rows(&self, rows: &Rows, changes: &Value) -> Result<Vec<Value>, Problem> {
        parsed(&self.write_returning(rows.update(self.dialect(), changes)?).await?)
    }

    /// As [`Tx::delete_rows`], alone.
    ///
    /// # Errors
    /// As [`Store::select_rows`].
    pub async fn delete_rows(&self, rows: &Rows) -> Result<u64, Problem> {
        self.write(rows.delete(self.dialect())?).await
    }
}
