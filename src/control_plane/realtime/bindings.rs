//! What a channel asked to hear of: its `postgres_changes` bindings.
//!
//! The client compares the answer with its request text by text, so a binding goes back as it came, with an
//! integer `id` added. The id is a hash of the binding, so that it is the same on every node.

use serde_json::{Map, Value};
use sha2::Digest as _;

use crate::control_plane::realtime::filter::{self, Condition};
use crate::control_plane::realtime::frames::Refusal;
use crate::control_plane::registry::{self, Table};
use crate::control_plane::store::ChangeOp;

/// Most bindings of one channel.
const MAX_BINDINGS: usize = 100;

/// One binding, understood.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The id the client knows it by.
    pub id: u32,
    /// The tables it listens to.
    pub tables: Vec<&'static Table>,
    /// `None` listens to everything that can happen.
    op: Option<ChangeOp>,
    conditions: Vec<Condition>,
    /// The columns wanted; `None` wants all.
    pub select: Option<Vec<String>>,
}

impl Binding {
    /// Whether the binding wants this change. `row` is the whole row, as logged.
    #[must_use]
    pub fn wants(&self, table: &Table, op: ChangeOp, row: &Map<String, Value>) -> bool {
        self.op.is_none_or(|wanted| wanted == op)
            && self.tables.iter().any(|one| one.name == table.name)
            && filter::holds(&self.conditions, row)
    }
}

/// The bindings of a join.
#[derive(Debug)]
pub struct Asked {
    /// What the reply repeats: every object as sent, plus its id.
    pub echo: Vec<Value>,
    /// The bindings, or the text of the `system` error: the channel exists either way.
    pub bindings: Result<Vec<Binding>, String>,
}

/// Reads `config.postgres_changes` of a join payload.
///
/// # Errors
/// [`Refusal::Payload`] when it is not a list of objects.
pub fn read(payload: &Value) -> Result<Asked, Refusal> {
    let list = match payload.pointer("/config/postgres_changes") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(list)) if list.len() <= MAX_BINDINGS => list,
        Some(Value::Array(_)) => return Err(Refusal::Payload(format!("more than {MAX_BINDINGS} postgres_changes"))),
        Some(_) => return Err(Refusal::Payload("postgres_changes is not a list".to_owned())),
    };
    let mut echo = Vec::with_capacity(list.len());
    let mut bindings = Ok(Vec::with_capacity(list.len()));
    for entry in list {
        let Value::Object(entry) = entry else {
            return Err(Refusal::Payload("a postgres_changes entry is not an object".to_owned()));
        };
        let id = stable_id(entry);
        echo.push(echoed(entry, id));
        bindings = bindings.and_then(|mut known: Vec<Binding>| {
            known.push(binding(entry, id)?);
            Ok(known)
        });
    }
    Ok(Asked { echo, bindings })
}

fn echoed(entry: &Map<String, Value>, id: u32) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), Value::from(id));
    object.extend(
        entry
            .iter()
            .filter(|(key, _)| *key != "id")
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    Value::Object(object)
}

/// 27 bits of a hash over the parameters, so that the number is small in every language.
fn stable_id(entry: &Map<String, Value>) -> u32 {
    let mut hash = sha2::Sha256::new();
    for key in ["event", "schema", "table", "filter", "select"] {
        hash.update(entry.get(key).unwrap_or(&Value::Null).to_string());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let first = digest
        .iter()
        .take(4)
        .fold(0_u32, |id, byte| (id << 8) | u32::from(*byte));
    first & 0x07ff_ffff
}

fn binding(entry: &Map<String, Value>, id: u32) -> Result<Binding, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let op = match text("event") {
        None | Some("*") => None,
        Some(word) => Some(op_of(word).ok_or_else(|| problem(&format!("unknown event `{word}`")))?),
    };
    match text("schema") {
        None | Some("public" | "*") => {}
        Some(other) => return Err(problem(&format!("no schema `{other}`"))),
    }
    let tables = match text("table") {
        None | Some("*") => live_tables().collect(),
        Some(name) => vec![
            live_tables()
                .find(|table| table.name == name)
                .ok_or_else(|| problem(&format!("table `{name}` has no changes to listen to")))?,
        ],
    };
    let conditions = match text("filter") {
        None => Vec::new(),
        Some(filter) => filter::parse(filter).map_err(|error| problem(&error.to_string()))?,
    };
    let select = select(entry)?;
    let columns = conditions.iter().map(|condition| &condition.column);
    for column in columns.chain(select.iter().flatten()) {
        if tables.iter().any(|table| table.visible_column(column).is_none()) {
            return Err(problem(&format!("column `{column}` does not exist")));
        }
    }
    Ok(Binding {
        id,
        tables,
        op,
        conditions,
        select,
    })
}

fn op_of(word: &str) -> Option<ChangeOp> {
    [ChangeOp::Insert, ChangeOp::Update, ChangeOp::Delete]
        .into_iter()
        .find(|op| op.name().eq_ignore_ascii_case(word))
}

fn select(entry: &Map<String, Value>) -> Result<Option<Vec<String>>, String> {
    match entry.get("select") {
        None | Some(Value::Null) => Ok(None),
        Some(list) => serde_json::from_value(list.clone())
            .map(Some)
            .map_err(|_detail| problem("`select` is not a list of column names")),
    }
}

fn live_tables() -> impl Iterator<Item = &'static Table> {
    registry::TABLES
        .iter()
        .copied()
        .filter(|table| table.exposed && table.realtime)
}

fn problem(detail: &str) -> String {
    format!("Unable to subscribe to changes with given parameters: {detail}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(entries: &Value) -> Asked {
        read(&json!({"config": {"postgres_changes": entries}})).unwrap()
    }

    #[test]
    fn a_binding_is_echoed_as_sent_plus_a_stable_id() {
        let entry = json!({"event": "INSERT", "schema": "public", "table": "gateway_jobs", "filter": "team_id=eq.T"});
        let echo = asked(&json!([entry])).echo;
        let mut first = echo[0].clone();
        assert!(first["id"].is_u64());
        first.as_object_mut().unwrap().remove("id");
        assert_eq!(first, entry);
        assert_eq!(asked(&json!([entry])).echo, echo);
        let other = json!({"event": "UPDATE", "schema": "public", "table": "gateway_jobs", "filter": "team_id=eq.T"});
        assert_ne!(asked(&json!([other])).echo[0]["id"], echo[0]["id"]);
        assert_eq!(read(&json!({})).unwrap().echo, Vec::<Value>::new());
    }

    #[test]
    fn bindings_choose_by_event_table_and_filter() {
        let bindings = asked(&json!([
            {"event": "insert", "schema": "public", "table": "gateway_jobs", "filter": "status=eq.queued"},
            {"event": "*", "schema": "public"},
        ]))
        .bindings
        .unwrap();
        let row = json!({"status": "queued"});
        let row = row.as_object().unwrap();
        let jobs = registry::exposed_table("gateway_jobs").unwrap();
        assert!(bindings[0].wants(jobs, ChangeOp::Insert, row));
        assert!(!bindings[0].wants(jobs, ChangeOp::Update, row));
        assert!(!bindings[0].wants(jobs, ChangeOp::Insert, &Map::new()));
        assert!(bindings[1].wants(jobs, ChangeOp::Delete, row));
    }

    #[test]
    fn what_cannot_be_heard_is_said() {
        for (entry, word) in [
            (json!({"event": "TRUNCATE", "table": "gateway_jobs"}), "TRUNCATE"),
            (json!({"event": "*", "schema": "auth"}), "auth"),
            (
                json!({"event": "*", "table": "gateway_pairing_codes"}),
                "gateway_pairing_codes",
            ),
            (
                json!({"event": "*", "table": "gateway_jobs", "filter": "nope=eq.1"}),
                "nope",
            ),
            (
                json!({"event": "*", "table": "gateway_jobs", "filter": "id=match.1"}),
                "match",
            ),
        ] {
            let problem = asked(&json!([entry])).bindings.unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
        assert!(read(&json!({"config": {"postgres_changes": 1}})).is_err());
        assert!(read(&json!({"config": {"postgres_changes": [1]}})).is_err());
    }
}
