//! What a request asks, after every name was looked up in the registry and every literal was checked.

use super::sql::Arg;
use crate::control_plane::registry::Column;

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `eq`
    Eq,
    /// `neq`
    Neq,
    /// `gt`
    Gt,
    /// `gte`
    Gte,
    /// `lt`
    Lt,
    /// `lte`
    Lte,
}

/// What is asked of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Compared with a value.
    Compare(Op, Arg),
    /// Equal to one of the values.
    In(Vec<Arg>),
    /// NULL.
    Null,
    /// True or false, and not NULL.
    Truth(bool),
    /// Matches a pattern of `%` and `_`.
    Like(String),
    /// The same, whatever the case of ASCII letters.
    ILike(String),
}

/// One condition; several are joined by AND.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The column.
    pub column: &'static Column,
    /// Whether the test is turned round (NULL stays neither).
    pub negated: bool,
    /// The test.
    pub test: Test,
}

/// One sort key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: &'static Column,
    /// Biggest first.
    pub descending: bool,
    /// Where NULLs go; always said, because the two stores differ.
    pub nulls_first: bool,
}

/// Everything a query string can say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Columns of the answer.
    pub select: Vec<&'static Column>,
    /// Conditions.
    pub filters: Vec<Filter>,
    /// Sort keys.
    pub order: Vec<Order>,
    /// Most rows wanted.
    pub limit: Option<u64>,
    /// Rows to skip.
    pub offset: u64,
    /// Names in `columns`, in order, if there was one.
    pub columns: Option<Vec<&'static Column>>,
    /// Names in `on_conflict`.
    pub on_conflict: Option<Vec<&'static Column>>,
}
