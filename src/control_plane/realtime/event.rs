//! One change of one row, judged per listener and serialised once for all of them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::control_plane::claims::{Claims, Role};
use crate::control_plane::registry::{TABLES, Table};
use crate::control_plane::store::{Change, ChangeOp, Position};
use crate::domain::clock;

/// Values longer than this, as JSON text, are not looked at by filters: nobody filters by a job's output.
const MAX_JUDGED_BYTES: usize = 64 * 1024;

/// A change as the log holds it.
#[derive(Debug)]
pub struct Event {
    /// Whose row.
    pub table: &'static Table,
    /// What happened.
    pub op: ChangeOp,
    /// The row after the change, without very long values; for a delete what the log keeps of the old one.
    pub row: Map<String, Value>,
    change: Change,
    whole: OnceCell<Arc<str>>,
}

impl Event {
    /// Reads a change, unless it is of a table nobody may hear of or cannot be read.
    #[must_use]
    pub fn read(change: Change) -> Option<Self> {
        let table = TABLES
            .iter()
            .copied()
            .find(|table| table.exposed && table.realtime && table.name == change.table)?;
        let logged = match change.op {
            ChangeOp::Insert | ChangeOp::Update => change.new.as_deref()?,
            ChangeOp::Delete => change.old.as_deref()?,
        };
        let row = members(logged)
            .into_iter()
            .filter(|(_, raw)| raw.get().len() <= MAX_JUDGED_BYTES)
            .filter_map(|(name, raw)| Some((name.to_owned(), serde_json::from_str(raw.get()).ok()?)))
            .collect();
        Some(Self {
            table,
            op: change.op,
            row,
            change,
            whole: OnceCell::new(),
        })
    }

    /// Its place in the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.change.position
    }

    /// Whether the holder of these claims may read the row, by the rules REST uses, judged on the logged row.
    #[must_use]
    pub fn visible_to(&self, claims: &Claims) -> bool {
        if claims.role == Role::Anon {
            return false;
        }
        let Some(rules) = self.table.policies.of(claims).read else {
            return false;
        };
        rules.iter().all(|rule| {
            let held = self.row.get(rule.column).and_then(Value::as_str);
            held.is_some() && held == rule.owner.of(claims)
        })
    }

    /// The `data` object as JSON text; the common form, with all columns, is made once.
    #[must_use]
    pub fn data(&self, select: Option<&[String]>) -> Arc<str> {
        match select {
            None => Arc::clone(self.whole.get_or_init(|| self.serialise(None))),
            Some(_) => self.serialise(select),
        }
    }

    fn serialise(&self, select: Option<&[String]>) -> Arc<str> {
        let wanted = |name: &str| select.is_none_or(|names| names.iter().any(|one| one == name));
        let columns: Vec<Value> = self
            .table
            .visible_columns()
            .filter(|column| wanted(column.name))
            .map(|column| json!({"name": column.name, "type": column.kind.name()}))
            .collect();
        let at: Option<Timestamp> = self.change.at.parse().ok();
        let head = json!({
            "schema": "public",
            "table": self.table.name,
            "type": self.op.name(),
            "commit_timestamp": at.map(clock::wire_time),
            "errors": self.change.cut.then(|| json!(["Error 413: Payload Too Large"])),
            "columns": columns,
        })
        .to_string();
        let mut data = head.strip_suffix('}').unwrap_or(&head).to_owned();
        if let (Some(new), None) = (&self.change.new, select) {
            data.push_str(",\"record\":");
            data.push_str(new);
        } else if let Some(new) = &self.change.new {
            data.push_str(",\"record\":");
            data.push_str(&only(new, wanted));
        }
        if let Some(old) = &self.change.old {
            data.push_str(",\"old_record\":");
            data.push_str(&only(old, |name| self.table.primary_key.contains(&name)));
        }
        data.push('}');
        Arc::from(data)
    }
}

/// The members of a JSON object, their values unread.
fn members(object: &str) -> BTreeMap<&str, &RawValue> {
    serde_json::from_str(object).unwrap_or_default()
}

fn only(object: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut kept = members(object);
    kept.retain(|name, _| wanted(name));
    serde_json::to_string(&kept).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{GatewayId, TeamId};

    fn event(op: ChangeOp, row: &Value) -> Event {
        let logged = Some(row.to_string());
        let key =
            Some(json!({"id": row["id"], "team_id": row["team_id"], "gateway_id": row["gateway_id"]}).to_string());
        let (new, old) = match op {
            ChangeOp::Insert => (logged, None),
            ChangeOp::Update => (logged, key),
            ChangeOp::Delete => (None, key),
        };
        let at = "2026-11-21T01:08:28.234567+00:00".to_owned();
        let (position, table) = (Position { txid: 0, seq: 1 }, "gateway_jobs".to_owned());
        Event::read(Change {
            position,
            at,
            table,
            op,
            new,
            old,
            cut: false,
        })
        .unwrap()
    }

    fn gateway(gateway: &str, team: &str) -> Claims {
        Claims::new(Role::Gateway {
            gateway_id: GatewayId::new(gateway).unwrap(),
            team_id: TeamId::new(team).unwrap(),
        })
    }

    fn read(event: &Event) -> Value {
        serde_json::from_str(&event.data(None)).unwrap()
    }

    #[test]
    fn an_insert_carries_the_typed_record() {
        let row = json!({"id": "J", "team_id": "T", "gateway_id": "G", "payload": {"k": ["v"]}});
        let data = read(&event(ChangeOp::Insert, &row));
        assert_eq!(data["record"], row);
        assert_eq!(
            (
                &data["schema"],
                &data["table"],
                &data["type"],
                &data["commit_timestamp"],
                &data["errors"]
            ),
            (
                &json!("public"),
                &json!("gateway_jobs"),
                &json!("INSERT"),
                &json!("2026-11-21T01:08:28.234Z"),
                &Value::Null
            )
        );
        assert_eq!(data["columns"][0], json!({"name": "id", "type": "uuid"}));
        assert!(data.get("old_record").is_none());
    }

    #[test]
    fn updates_and_deletes_carry_the_old_key() {
        let row = json!({"id": "J", "team_id": "T"});
        let update = read(&event(ChangeOp::Update, &row));
        assert_eq!((&update["record"], &update["old_record"]), (&row, &json!({"id": "J"})));
        let delete = read(&event(ChangeOp::Delete, &row));
        assert_eq!(
            (delete.get("record"), &delete["old_record"]),
            (None, &json!({"id": "J"}))
        );
    }

    #[test]
    fn a_record_that_was_cut_says_so() {
        let mut event = event(ChangeOp::Insert, &json!({"id": "J", "status": "queued"}));
        event.change.cut = true;
        let data = read(&event);
        assert_eq!(data["errors"], json!(["Error 413: Payload Too Large"]));
        assert_eq!(data["record"], json!({"id": "J", "status": "queued"}));
    }

    #[test]
    fn only_the_owner_sees_a_row() {
        let event = event(ChangeOp::Delete, &json!({"id": "J", "team_id": "T", "gateway_id": "G"}));
        assert!(event.visible_to(&gateway("G", "T")));
        for stranger in [gateway("H", "T"), gateway("G", "U"), Claims::anon()] {
            assert!(!event.visible_to(&stranger));
        }
    }

    #[test]
    fn a_selection_narrows_record_and_columns() {
        let event = event(ChangeOp::Insert, &json!({"id": "J", "team_id": "T"}));
        let data: Value = serde_json::from_str(&event.data(Some(&["id".to_owned()]))).unwrap();
        assert_eq!(data["record"], json!({"id": "J"}));
        assert_eq!(data["columns"], json!([{"name": "id", "type": "uuid"}]));
    }
}
