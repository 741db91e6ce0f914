//! What only PostgreSQL says that way.

use super::sql::{Arg, SqlBuf};
use crate::control_plane::registry::{Column, ColumnType};

/// `$n::type`
pub(super) fn placeholder(sql: &mut String, number: usize, kind: ColumnType) {
    sql.push_str(&format!("${number}::{}", kind.name()));
}

/// The row as JSON text, in the registry's key order. Instants have six digits, as in SQLite.
pub(crate) fn json_row<'a>(columns: impl IntoIterator<Item = &'a Column>, prefix: &str) -> String {
    let mut text = String::from("json_build_object(");
    for (index, column) in columns.into_iter().enumerate() {
        let (comma, name) = (if index == 0 { "" } else { "," }, column.name);
        let value = match column.kind {
            ColumnType::Timestamptz => {
                format!("to_char({prefix}\"{name}\" AT TIME ZONE 'UTC','YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')")
            }
            ColumnType::Uuid | ColumnType::Text | ColumnType::Int8 | ColumnType::Bool | ColumnType::Jsonb => {
                format!("{prefix}\"{name}\"")
            }
        };
        text.push_str(&format!("{comma}'{name}',{value}"));
    }
    text.push_str(")::text");
    text
}

/// Bytes decide: the columns are declared with collation "C".
pub(super) fn like(buf: &mut SqlBuf, column: &Column, pattern: &str) {
    buf.column(column)
        .push(" LIKE ")
        .bind(ColumnType::Text, Arg::Text(pattern.to_owned()));
}

/// Under collation "C" `lower` knows ASCII only, as SQLite does.
pub(super) fn ilike(buf: &mut SqlBuf, column: &Column, pattern: &str) {
    buf.push("lower(")
        .column(column)
        .push(") LIKE lower(")
        .bind(ColumnType::Text, Arg::Text(pattern.to_owned()))
        .push(" COLLATE \"C\")");
}
