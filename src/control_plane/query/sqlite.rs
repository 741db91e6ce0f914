//! What only SQLite says that way.

use super::sql::{Arg, SqlBuf};
use crate::control_plane::registry::{Column, ColumnType};

/// `?n`
pub(super) fn placeholder(sql: &mut String, number: usize) {
    sql.push_str(&format!("?{number}"));
}

/// The row as JSON text. Plain concatenation: a JSON column goes out as it came in, without another parse.
pub(crate) fn json_row<'a>(columns: impl IntoIterator<Item = &'a Column>, prefix: &str) -> String {
    let mut text = String::from("concat('{");
    for (index, column) in columns.into_iter().enumerate() {
        let (comma, name) = (if index == 0 { "" } else { "," }, column.name);
        let value = match column.kind {
            ColumnType::Uuid | ColumnType::Text | ColumnType::Timestamptz => format!("json_quote({prefix}\"{name}\")"),
            ColumnType::Int8 | ColumnType::Jsonb => format!("coalesce({prefix}\"{name}\",'null')"),
            ColumnType::Bool => {
                format!("CASE {prefix}\"{name}\" WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END")
            }
        };
        text.push_str(&format!("{comma}\"{name}\":',{value},'"));
    }
    text.push_str("}')");
    text
}

/// LIKE of SQLite ignores case; GLOB does not, in another alphabet.
pub(super) fn like(buf: &mut SqlBuf, column: &Column, pattern: &str) {
    let glob = glob(pattern);
    buf.column(column)
        .push(" GLOB ")
        .bind(ColumnType::Text, Arg::Text(glob));
}

/// LIKE of SQLite ignores the case of ASCII letters, which is what is wanted.
pub(super) fn ilike(buf: &mut SqlBuf, column: &Column, pattern: &str) {
    buf.column(column)
        .push(" LIKE ")
        .bind(ColumnType::Text, Arg::Text(pattern.to_owned()))
        .push(" ESCAPE '\\'");
}

fn glob(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => glob.push('*'),
            '_' => glob.push('?'),
            '\\' => literal(&mut glob, chars.next().unwrap_or('\\')),
            c => literal(&mut glob, c),
        }
    }
    glob
}

fn literal(glob: &mut String, c: char) {
    if matches!(c, '*' | '?' | '[') {
        glob.push('[');
        glob.push(c);
        glob.push(']');
    } else {
        glob.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_globs() {
        for (like, wanted) in [("a%b_", "a*b?"), ("*?[", "[*][?][[]"), (r"50\%", "50%"), (r"\*", "[*]")] {
            assert_eq!(glob(like), wanted);
        }
    }
}
