//! The registry as DDL, for either engine. Every statement may be repeated.

use super::{Check, Column, ColumnType, Fill, TABLES, Table};
use crate::control_plane::query::sql::Dialect;
use crate::control_plane::query::{postgres, sqlite};

/// Records over this many bytes are logged without their big columns.
const BIGGEST_RECORD: u32 = 1_048_576;
/// Columns up to this many bytes stay in such a record.
const SMALL_VALUE: u32 = 64;

/// The whole schema.
#[must_use]
pub fn script(dialect: Dialect) -> String {
    let mut script = String::new();
    for table in TABLES {
        script.push_str(&create_table(dialect, table));
        script.push_str(&create_indexes(table));
    }
    script.push_str(match dialect {
        Dialect::Sqlite => SQLITE_LOG,
        Dialect::Postgres => POSTGRES_LOG,
    });
    for table in TABLES.iter().filter(|table| table.realtime) {
        script.push_str(&match dialect {
            Dialect::Sqlite => sqlite_triggers(table),
            Dialect::Postgres => postgres_trigger(table),
        });
    }
    script
}

const SQLITE_LOG: &str = "CREATE TABLE IF NOT EXISTS change_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL,
  table_name TEXT NOT NULL,
  op TEXT NOT NULL,
  cut INTEGER NOT NULL,
  old TEXT,
  new TEXT
) STRICT;
";

const POSTGRES_LOG: &str = "CREATE TABLE IF NOT EXISTS change_log (
  seq int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at text COLLATE \"C\" NOT NULL,
  table_name text NOT NULL,
  op text NOT NULL,
  cut bool NOT NULL,
  old text,
  new text
);
CREATE INDEX IF NOT EXISTS change_log_txid_seq_idx ON change_log (txid, seq);
";

fn create_table(dialect: Dialect, table: &Table) -> String {
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|column| column_line(dialect, table, column))
        .collect();
    lines.push(format!(
        "CONSTRAINT {}_pkey PRIMARY KEY ({})",
        table.name,
        table.primary_key.join(", ")
    ));
    for key in table.unique {
        lines.push(format!(
            "CONSTRAINT {}_{}_key UNIQUE ({})",
            table.name,
            key.join("_"),
            key.join(", ")
        ));
    }
    for key in table.foreign_keys {
        lines.push(format!(
            "CONSTRAINT {}_{}_fkey FOREIGN KEY ({}) REFERENCES {} ({})",
            table.name,
            key.columns.join("_"),
            key.columns.join(", "),
            key.table,
            key.references.join(", ")
        ));
    }
    let end = match dialect {
        Dialect::Sqlite => ") STRICT",
        Dialect::Postgres => ")",
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  {}\n{end};\n",
        table.name,
        lines.join(",\n  ")
    )
}

fn column_line(dialect: Dialect, table: &Table, column: &Column) -> String {
    let kind = match (dialect, column.kind) {
        (Dialect::Sqlite, ColumnType::Int8 | ColumnType::Bool) => "INTEGER",
        (Dialect::Sqlite, ColumnType::Uuid | ColumnType::Text | ColumnType::Timestamptz | ColumnType::Jsonb) => "TEXT",
        // Bytes decide the order, as in SQLite.
        (Dialect::Postgres, ColumnType::Text) => "text COLLATE \"C\"",
        (Dialect::Postgres, kind) => kind.name(),
    };
    let null = if column.nullable { "" } else { " NOT NULL" };
    let default = match (column.fill, column.kind) {
        (Fill::Literal(text), ColumnType::Int8 | ColumnType::Bool) => format!(" DEFAULT {text}"),
        (Fill::Literal(text), _) => format!(" DEFAULT '{text}'"),
        (Fill::Nothing | Fill::NewUuid | Fill::Now, _) => String::new(),
    };
    let check = column_check(dialect, table, column);
    format!("\"{}\" {kind}{null}{default}{check}", column.name)
}

fn column_check(dialect: Dialect, table: &Table, column: &Column) -> String {
    let condition = match column.check {
        Check::OneOf(texts) => format!("\"{}\" IN ('{}')", column.name, texts.join("','")),
        Check::JsonObject if dialect == Dialect::Postgres => format!("jsonb_typeof(\"{}\") = 'object'", column.name),
        // Checked before the statement; here it would parse megabytes once more.
        Check::JsonObject | Check::Any => return String::new(),
    };
    format!(" CONSTRAINT {}_{}_check CHECK ({condition})", table.name, column.name)
}

fn create_indexes(table: &Table) -> String {
    let one = |columns: &&[&str]| {
        format!(
            "CREATE INDEX IF NOT EXISTS {0}_{1}_idx ON {0} ({2});\n",
            table.name,
            columns.join("_"),
            columns.join(", ")
        )
    };
    table.indexes.iter().map(one).collect()
}

/// What a deleted or changed row is known by: its key and whose it is.
fn identity(table: &Table) -> impl Iterator<Item = &'static Column> + use<'_> {
    table
        .columns
        .iter()
        .filter(|column| table.primary_key.contains(&column.name) || ["team_id", "gateway_id"].contains(&column.name))
}

fn is_bulky(column: &Column) -> bool {
    matches!(column.kind, ColumnType::Text | ColumnType::Jsonb)
}

/// Bytes of the columns that can be long.
fn size(table: &Table, of: impl Fn(&Column) -> String) -> String {
    let parts: Vec<String> = table
        .visible_columns()
        .filter(|column| is_bulky(column))
        .map(&of)
        .collect();
    if parts.is_empty() {
        "0".to_owned()
    } else {
        parts.join("+")
    }
}

fn sqlite_triggers(table: &Table) -> String {
    let octets = |column: &Column| format!("coalesce(octet_length(NEW.\"{}\"),0)", column.name);
    let big = format!("({})>{BIGGEST_RECORD}", size(table, octets));
    let whole = sqlite::json_row(table.visible_columns(), "NEW.");
    let (fixed, bulky): (Vec<&Column>, Vec<&Column>) = table.visible_columns().partition(|column| !is_bulky(column));
    let rest: String = bulky.iter().map(|column| sqlite_small(column)).collect();
    let cut = format!("concat(rtrim({},'}}'){rest},'}}')", sqlite::json_row(fixed, "NEW."));
    let new = format!("CASE WHEN {big} THEN {cut} ELSE {whole} END");
    let old = sqlite::json_row(identity(table), "OLD.");
    [
        ("INSERT", &*new, "NULL", &*big),
        ("UPDATE", &new, &old, &big),
        ("DELETE", "NULL", &old, "0"),
    ]
    .map(|(op, new, old, cut)| {
        format!(
            "CREATE TRIGGER IF NOT EXISTS {name}_log_{op} AFTER {op} ON {name} BEGIN\n  \
                 INSERT INTO change_log (at,table_name,op,new,old,cut) VALUES \
                 (strftime('%Y-%m-%dT%H:%M:%f000+00:00','now'),'{name}','{op}',{new},{old},{cut});\nEND;\n",
            name = table.name
        )
    })
    .concat()
}

/// `,"name":value` for a value that is small, nothing for another.
fn sqlite_small(column: &Column) -> String {
    let name = column.name;
    let value = match column.kind {
        ColumnType::Jsonb => format!("coalesce(NEW.\"{name}\",'null')"),
        ColumnType::Uuid | ColumnType::Text | ColumnType::Int8 | ColumnType::Bool | ColumnType::Timestamptz => {
            format!("json_quote(NEW.\"{name}\")")
        }
    };
    format!(
        ",CASE WHEN coalesce(octet_length(NEW.\"{name}\"),0)<={SMALL_VALUE} THEN concat(',\"{name}\":',{value}) ELSE '' END"
    )
}

fn postgres_trigger(table: &Table) -> String {
    let octets = |column: &Column| format!("coalesce(octet_length(NEW.\"{}\"::text),0)", column.name);
    let big = format!("({})>{BIGGEST_RECORD}", size(table, octets));
    let whole = postgres::json_row(table.visible_columns(), "NEW.");
    let (fixed, bulky): (Vec<&Column>, Vec<&Column>) = table.visible_columns().partition(|column| !is_bulky(column));
    let rest: String = bulky.iter().map(|column| postgres_small(column)).collect();
    let cut = format!("concat(rtrim({},'}}'){rest},'}}')", postgres::json_row(fixed, "NEW."));
    let old = postgres::json_row(identity(table), "OLD.");
    format!(
        "CREATE OR REPLACE FUNCTION {name}_log() RETURNS trigger LANGUAGE plpgsql AS $log$
DECLARE big bool := false; new_row text; old_row text;
BEGIN
  IF TG_OP <> 'DELETE' THEN
    big := {big};
    IF big THEN new_row := {cut}; ELSE new_row := {whole}; END IF;
  END IF;
  IF TG_OP <> 'INSERT' THEN old_row := {old}; END IF;
  INSERT INTO change_log (at,table_name,op,new,old,cut) VALUES
    (to_char(clock_timestamp() AT TIME ZONE 'UTC','YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"'),'{name}',TG_OP,new_row,old_row,big);
  PERFORM pg_notify('gw_changes','');
  RETURN NULL;
END $log$;
CREATE OR REPLACE TRIGGER {name}_log AFTER INSERT OR UPDATE OR DELETE ON {name}
  FOR EACH ROW EXECUTE FUNCTION {name}_log();
",
        name = table.name
    )
}

fn postgres_small(column: &Column) -> String {
    let name = column.name;
    format!(
        ",CASE WHEN coalesce(octet_length(NEW.\"{name}\"::text),0)<={SMALL_VALUE} THEN \
         concat(',\"{name}\":',coalesce(to_json(NEW.\"{name}\")::text,'null')) ELSE '' END"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_changes_on_purpose_only() {
        insta::assert_snapshot!("sqlite", script(Dialect::Sqlite));
        insta::assert_snapshot!("postgres", script(Dialect::Postgres));
    }

    #[test]
    fn keys_name_columns_that_exist() {
        for table in TABLES {
            let own = [table.primary_key]
                .into_iter()
                .chain(table.unique.iter().copied())
                .chain(table.indexes.iter().copied());
            for name in own
                .flatten()
                .chain(table.foreign_keys.iter().flat_map(|key| key.columns))
            {
                assert!(table.column(name).is_some(), "{}.{name}", table.name);
            }
            for key in table.foreign_keys {
                let parent = TABLES.iter().find(|parent| parent.name == key.table).unwrap();
                assert!(parent.primary_key == key.references || parent.unique.contains(&key.references));
            }
        }
    }

    #[test]
    fn policies_name_columns_that_exist() {
        for table in TABLES {
            let policies = &table.policies;
            for policy in [&policies.gateway, &policies.operator, &policies.service] {
                let rules = [
                    policy.read.unwrap_or_default(),
                    policy.insert.map_or(&[], |insert| insert.rows),
                    policy.insert.map_or(&[], |insert| insert.stamps),
                    policy.update.map_or(&[], |update| update.rows),
                    policy.delete.map_or(&[], |delete| delete.rows),
                ];
                let columns = policy.insert.map_or(&[][..], |insert| insert.columns).iter();
                let columns = columns.chain(policy.update.map_or(&[][..], |update| update.columns));
                for name in rules.into_iter().flatten().map(|rule| &rule.column).chain(columns) {
                    assert!(table.column(name).is_some(), "{}.{name}", table.name);
                }
            }
        }
    }
}
