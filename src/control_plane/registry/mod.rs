//! The tables: columns, keys and what each role may do. One source for the DDL of both dialects, the
//! checks before a statement and the scoping inside it.

pub mod ddl;
mod internal;
mod jobs;
mod parts;
mod policy;
mod subagents;
mod tables;

pub use internal::{AUTH_REFRESH_TOKENS, AUTH_SESSIONS, OPERATOR_TOKENS, SETTINGS};
pub use jobs::GATEWAY_JOBS;
pub use policy::{Delete, Insert, Moves, NOBODY, Owner, Policies, Policy, Rule, Update};
pub use subagents::{SUBAGENT_RUN_EVENTS, SUBAGENT_RUNS, SUBAGENTS};
pub use tables::{GATEWAY_EVENTS, GATEWAY_PAIRING_CODES, TEAM_GATEWAYS, TEAM_RESOURCES, TEAMS, USERS};

/// Every table, parents before children.
pub const TABLES: &[&Table] = &[
    &TEAMS,
    &TEAM_GATEWAYS,
    &USERS,
    &GATEWAY_JOBS,
    &GATEWAY_EVENTS,
    &GATEWAY_PAIRING_CODES,
    &TEAM_RESOURCES,
    &SUBAGENTS,
    &SUBAGENT_RUNS,
    &SUBAGENT_RUN_EVENTS,
    &AUTH_SESSIONS,
    &AUTH_REFRESH_TOKENS,
    &OPERATOR_TOKENS,
    &SETTINGS,
];

/// Type of a column, named as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Lower-case, hyphenated.
    Uuid,
    /// Compared by bytes.
    Text,
    /// 64-bit integer.
    Int8,
    /// Truth value.
    Bool,
    /// Instant, printed `YYYY-MM-DDTHH:MM:SS.ffffff+00:00`.
    Timestamptz,
    /// Any JSON value.
    Jsonb,
}

impl ColumnType {
    /// PostgreSQL's name of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Int8 => "int8",
            Self::Bool => "bool",
            Self::Timestamptz => "timestamptz",
            Self::Jsonb => "jsonb",
        }
    }
}

/// What an absent column is filled with on insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// NULL.
    Nothing,
    /// A random UUID.
    NewUuid,
    /// The server's time.
    Now,
    /// A constant, in the column's text form.
    Literal(&'static str),
}

/// What a value must be, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing more.
    Any,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A JSON object.
    JsonObject,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; the only text that ever becomes an identifier.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
    /// Whether NULL is a value.
    pub nullable: bool,
    /// Value of an absent column.
    pub fill: Fill,
    /// Constraint on the value.
    pub check: Check,
    /// Invisible over REST and Realtime.
    pub hidden: bool,
    /// Set to the server's time by every update.
    pub touched: bool,
}

impl Column {
    const fn new(name: &'static str, kind: ColumnType) -> Self {
        Self {
            name,
            kind,
            nullable: true,
            fill: Fill::Nothing,
            check: Check::Any,
            hidden: false,
            touched: false,
        }
    }

    const fn required(mut self) -> Self {
        self.nullable = false;
        self
    }

    const fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }

    const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn touched(mut self) -> Self {
        self.touched = true;
        self
    }
}

/// A reference to another table.
#[derive(Debug, Clone, Copy)]
pub struct ForeignKey {
    /// Columns here.
    pub columns: &'static [&'static str],
    /// Table there.
    pub table: &'static str,
    /// Columns there, unique together.
    pub references: &'static [&'static str],
}

/// One table.
#[derive(Debug)]
pub struct Table {
    /// Its name, in schema `public`.
    pub name: &'static str,
    /// Its columns, in the order answers have them.
    pub columns: &'static [Column],
    /// Primary key.
    pub primary_key: &'static [&'static str],
    /// Further unique keys.
    pub unique: &'static [&'static [&'static str]],
    /// Further indexes.
    pub indexes: &'static [&'static [&'static str]],
    /// References.
    pub foreign_keys: &'static [ForeignKey],
    /// Whether changes are logged for Realtime.
    pub realtime: bool,
    /// Whether REST knows the table.
    pub exposed: bool,
    /// What each role may do over REST.
    pub policies: Policies,
}

impl Table {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of that name, unless it is hidden.
    #[must_use]
    pub fn visible_column(&self, name: &str) -> Option<&'static Column> {
        self.column(name).filter(|column| !column.hidden)
    }

    /// The columns that clients see.
    pub fn visible_columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.columns.iter().filter(|column| !column.hidden)
    }
}

/// The table of that name, if clients may know of it.
#[must_use]
pub fn exposed_table(name: &str) -> Option<&'static Table> {
    TABLES.iter().copied().find(|table| table.exposed && table.name == name)
}
