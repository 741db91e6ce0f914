//! For random filters: rows of SQLite = rows of PostgreSQL = rows of a model in memory = rows that Realtime pushes.

use std::cmp::Ordering;

use gateway::control_plane::realtime::filter;
use gateway::control_plane::registry::GATEWAY_JOBS;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::plane::{Plane, Who};

const CASES: usize = 150;
const TEXTS: &[&str] = &["", "a", "A", "ab", "B%", "b_", "é", "É", "*[x]?", "z\\", "日本"];
const TIMES: &[&str] = &["2026-01-01T00:00:00.000000+00:00", "2026-06-01T12:00:00.500000+00:00"];

fn pick(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(values).prop_map(str::to_owned)
}

fn row() -> impl Strategy<Value = (Option<String>, Option<i64>, Option<String>)> {
    (
        proptest::option::of(pick(TEXTS)),
        proptest::option::of(-2..3_i64),
        proptest::option::of(pick(TIMES)),
    )
}

/// A filter on one of three columns, as `(column, negated, operator, operand)`.
type Condition = (&'static str, bool, &'static str, String);

fn condition() -> impl Strategy<Value = Condition> {
    let op = || proptest::sample::select(&["eq", "neq", "gt", "gte", "lt", "lte"][..]);
    let pattern = proptest::collection::vec(
        proptest::sample::select(&["%", "_", "a", "B", "é", "\\%", "["][..]),
        0..4,
    );
    let like = proptest::sample::select(&["like", "ilike"][..]);
    prop_oneof![
        (any::<bool>(), op(), pick(TEXTS)).prop_map(|(not, op, value)| ("error", not, op, value)),
        (any::<bool>(), op(), -2..3_i64).prop_map(|(not, op, value)| ("attempt", not, op, value.to_string())),
        (any::<bool>(), op(), pick(TIMES)).prop_map(|(not, op, value)| ("started_at", not, op, value)),
        (any::<bool>(), like, pattern).prop_map(|(not, op, parts)| ("error", not, op, parts.concat())),
        (any::<bool>(), proptest::collection::vec(pick(TEXTS), 0..3)).prop_map(|(not, values)| {
            let quoted = values.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\")));
            (
                "error",
                not,
                "in",
                format!("({})", quoted.collect::<Vec<_>>().join(",")),
            )
        }),
        (
            any::<bool>(),
            proptest::sample::select(&["error", "attempt", "started_at"][..])
        )
            .prop_map(|(not, column)| (column, not, "is", "null".to_owned())),
    ]
}

/// SQL's three truth values: `None` is unknown.
fn holds(row: &Value, (column, negated, op, operand): &Condition) -> Option<bool> {
    let value = &row[*column];
    let plain = match *op {
        "is" => Some(value.is_null()),
        "in" => {
            let text = value.as_str()?;
            let inside = operand.trim_start_matches('(').trim_end_matches(')');
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\"));
            Some(!inside.is_empty() && inside.split(',').any(|element| element == quoted))
        }
        "like" => Some(matches(value.as_str()?, operand)),
        "ilike" => Some(matches(
            &value.as_str()?.to_ascii_lowercase(),
            &operand.to_ascii_lowercase(),
        )),
        op => {
            let order = match value.as_i64() {
                Some(number) => number.cmp(&operand.parse().ok()?),
                None => value.as_str()?.as_bytes().cmp(operand.as_bytes()),
            };
            Some(match op {
                "eq" => order == Ordering::Equal,
                "neq" => order != Ordering::Equal,
                "gt" => order == Ordering::Greater,
                "gte" => order != Ordering::Less,
                "lt" => order == Ordering::Less,
                _ => order != Ordering::Greater,
            })
        }
    };
    plain.map(|truth| truth != *negated)
}

fn matches(text: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = rest.as_str();
            (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .any(|at| matches(&text[at..], rest))
        }
        Some('_') => text
            .chars()
            .next()
            .is_some_and(|c| matches(&text[c.len_utf8()..], rest.as_str())),
        Some(c) => {
            let literal = if c == '\\' { rest.next().unwrap() } else { c };
            text.strip_prefix(literal)
                .is_some_and(|text| matches(text, rest.as_str()))
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn path(conditions: &[Condition]) -> String {
    let parts = conditions.iter().map(|(column, negated, op, operand)| {
        format!(
            "&{column}={}{op}.{}",
            if *negated { "not." } else { "" },
            encode(operand)
        )
    });
    format!(
        "gateway_jobs?select=id,error,attempt,started_at&order=id{}",
        parts.collect::<String>()
    )
}

/// The rows that a binding with this filter would be told.
fn pushed<'a>(rows: &'a [Value], conditions: &[Condition]) -> Vec<&'a Value> {
    let parts = conditions.iter().map(|(column, negated, op, operand)| {
        let operand = match *op {
            "in" | "is" => operand.clone(),
            _ => format!("\"{}\"", operand.replace('\\', "\\\\")),
        };
        format!("{column}={}{op}.{operand}", if *negated { "not." } else { "" })
    });
    let text = parts.collect::<Vec<_>>().join(",");
    let filter = if text.is_empty() {
        Vec::new()
    } else {
        filter::parse(&text).unwrap()
    };
    let passes = |row: &&Value| filter::holds(&filter, row.as_object().unwrap());
    rows.iter().filter(passes).collect()
}

fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

#[tokio::test]
async fn both_stores_and_the_model_agree() {
    let planes = Plane::both().await;
    let mut runner = TestRunner::default();
    let mut rows = Vec::new();
    for _ in 0..40 {
        let (error, attempt, started_at) = draw(&mut runner, &row());
        let mut job = planes[0].job(0);
        job["error"] = json!(error);
        job["attempt"] = json!(attempt);
        job["started_at"] = json!(started_at);
        for plane in &planes {
            let mut job = job.clone();
            job["team_id"] = json!(plane.teams[0]);
            job["gateway_id"] = json!(plane.gateways[0]);
            plane.store.insert_row(&GATEWAY_JOBS, &job).await.unwrap();
        }
        rows.push(json!({"id": job["id"], "error": error, "attempt": attempt, "started_at": started_at}));
    }
    rows.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
    for _ in 0..CASES {
        let conditions = draw(&mut runner, &proptest::collection::vec(condition(), 0..4));
        let met = |row: &&Value| conditions.iter().all(|condition| holds(row, condition) == Some(true));
        let wanted: Vec<&Value> = rows.iter().filter(met).collect();
        assert_eq!(pushed(&rows, &conditions), wanted, "{conditions:?}");
        let path = path(&conditions);
        for plane in &planes {
            let answer = plane.get(Who::Operator(0), &path).await;
            assert_eq!(
                answer.json(),
                json!(wanted),
                "{conditions:?} on {:?}: {path}",
                plane.store.dialect()
            );
        }
    }
}
