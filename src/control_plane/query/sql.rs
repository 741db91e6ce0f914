//! Statement text and its arguments, built together so that client text is always an argument.

use super::ast::{Filter, Op, Order, Test};
use super::{postgres, sqlite};
use crate::control_plane::registry::{Column, ColumnType};

/// Which engine a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The bundled SQLite.
    Sqlite,
    /// PostgreSQL 14 or newer.
    Postgres,
}

/// One argument. Uuids, instants and JSON travel as text and are cast in the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// NULL.
    Null,
    /// Text, uuid, instant or JSON.
    Text(String),
    /// Integer.
    Int(i64),
    /// Truth value.
    Bool(bool),
}

/// A statement under construction.
#[derive(Debug, Clone)]
pub struct SqlBuf {
    dialect: Dialect,
    /// The text so far.
    pub sql: String,
    /// Its arguments.
    pub args: Vec<Arg>,
}

impl SqlBuf {
    /// An empty statement.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            sql: String::new(),
            args: Vec::new(),
        }
    }

    /// The engine it is for.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Appends text of our own.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.sql.push_str(text);
        self
    }

    /// Appends a placeholder for a value of that type.
    pub fn bind(&mut self, kind: ColumnType, arg: Arg) -> &mut Self {
        self.args.push(arg);
        let number = self.args.len();
        match self.dialect {
            Dialect::Sqlite => sqlite::placeholder(&mut self.sql, number),
            Dialect::Postgres => postgres::placeholder(&mut self.sql, number, kind),
        }
        self
    }

    /// Appends a column of the registry, quoted.
    pub fn column(&mut self, column: &Column) -> &mut Self {
        self.sql.push('"');
        self.sql.push_str(column.name);
        self.sql.push('"');
        self
    }

    /// Appends column names with commas between.
    pub fn columns<'a>(&mut self, columns: impl IntoIterator<Item = &'a Column>) -> &mut Self {
        for (index, column) in columns.into_iter().enumerate() {
            self.push(if index == 0 { "" } else { "," }).column(column);
        }
        self
    }

    /// Appends an expression that builds the row's JSON text.
    pub fn json_row<'a>(&mut self, columns: impl IntoIterator<Item = &'a Column>) -> &mut Self {
        let expression = match self.dialect {
            Dialect::Sqlite => sqlite::json_row(columns, ""),
            Dialect::Postgres => postgres::json_row(columns, ""),
        };
        self.push(&expression)
    }

    /// Appends ` WHERE ...`; none for no filters.
    pub fn filters(&mut self, filters: &[Filter]) -> &mut Self {
        for (index, filter) in filters.iter().enumerate() {
            self.push(if index == 0 { " WHERE " } else { " AND " }).filter(filter);
        }
        self
    }

    fn filter(&mut self, filter: &Filter) {
        if filter.negated {
            self.push("NOT ");
        }
        self.push("(");
        let column = filter.column;
        match &filter.test {
            Test::Compare(op, arg) => {
                self.column(column).push(symbol(*op)).bind(column.kind, arg.clone());
            }
            Test::In(args) => self.one_of(column, args),
            Test::Null => {
                self.column(column).push(" IS NULL");
            }
            Test::Truth(wanted) => {
                self.column(column).push(if *wanted { " IS TRUE" } else { " IS FALSE" });
            }
            Test::Like(pattern) => match self.dialect {
                Dialect::Sqlite => sqlite::like(self, column, pattern),
                Dialect::Postgres => postgres::like(self, column, pattern),
            },
            Test::ILike(pattern) => match self.dialect {
                Dialect::Sqlite => sqlite::ilike(self, column, pattern),
                Dialect::Postgres => postgres::ilike(self, column, pattern),
            },
        }
        self.push(")");
    }

    fn one_of(&mut self, column: &Column, args: &[Arg]) {
        if args.is_empty() {
            // `in ()` is no SQL, and a NULL column is still neither in nor out.
            self.column(column).push(" IS NULL AND NULL");
            return;
        }
        self.column(column).push(" IN (");
        for (index, arg) in args.iter().enumerate() {
            self.push(if index == 0 { "" } else { "," })
                .bind(column.kind, arg.clone());
        }
        self.push(")");
    }

    /// Appends ` ORDER BY ...`; none for no keys.
    pub fn order(&mut self, order: &[Order]) -> &mut Self {
        for (index, key) in order.iter().enumerate() {
            self.push(if index == 0 { " ORDER BY " } else { "," })
                .column(key.column)
                .push(if key.descending { " DESC" } else { " ASC" })
                .push(if key.nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
        }
        self
    }
}

const fn symbol(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Neq => "<>",
        Op::Gt => ">",
        Op::Gte => ">=",
        Op::Lt => "<",
        Op::Lte => "<=",
    }
}
