//! The query string into a checked [`Query`]. Names are looked up, literals are read; nothing else gets through.

use super::ast::{Filter, Op, Order, Query, Test};
use super::sql::Arg;
use super::value;
use crate::control_plane::problem::{Problem, shorten};
use crate::control_plane::registry::{Column, ColumnType, Table};

/// Most conditions, sort keys or listed columns of one request.
const MOST_PARTS: usize = 100;
/// Most elements of an `in` list.
const MOST_ELEMENTS: usize = 2000;
/// Longest pattern, and most wildcards in it: matching takes time that grows with both.
const LONGEST_PATTERN: usize = 1000;
const MOST_WILDCARDS: usize = 10;

/// Reads the decoded parameters of a request about a table.
///
/// # Errors
/// PGRST100 for what makes no sense, PGRST127 for what this server does not have, 42703 and
/// PGRST204 for unknown columns, 22P02 and its relatives for bad literals.
pub fn query(table: &'static Table, parameters: &[(String, String)]) -> Result<Query, Problem> {
    let mut query = Query {
        select: table.visible_columns().collect(),
        ..Query::default()
    };
    for (name, text) in parameters {
        match name.as_str() {
            "select" => query.select = select(table, text)?,
            "order" => query.order = order(table, text)?,
            "limit" => query.limit = Some(number("Limit", text)?),
            "offset" => query.offset = number("Offset", text)?,
            "columns" => query.columns = Some(names(table, text)?),
            "on_conflict" => query.on_conflict = Some(names(table, text)?),
            "and" | "or" | "not.and" | "not.or" => return Err(Problem::unsupported("logical operators (and, or)")),
            name => query.filters.push(filter(table, name, text)?),
        }
    }
    bounded("filters", query.filters.len(), MOST_PARTS)?;
    Ok(query)
}

fn bounded(what: &str, count: usize, most: usize) -> Result<(), Problem> {
    if count <= most {
        return Ok(());
    }
    Err(Problem::new(
        "PGRST100",
        format!("{count} {what}, at most {most} are taken"),
    ))
}

/// A column of a filter, a select or an order.
fn known(table: &'static Table, name: &str) -> Result<&'static Column, Problem> {
    if let Some(column) = table.visible_column(name) {
        return Ok(column);
    }
    if name.contains("->") {
        return Err(Problem::unsupported("JSON paths"));
    }
    if name.contains(['(', ')']) {
        return Err(Problem::unsupported("resource embedding and functions"));
    }
    if name.contains('.') {
        return Err(Problem::unsupported("conditions on embedded resources"));
    }
    let message = format!("column {}.{} does not exist", table.name, shorten(name));
    Err(Problem::new("42703", message))
}

fn select(table: &'static Table, text: &str) -> Result<Vec<&'static Column>, Problem> {
    if text.contains('(') {
        return Err(Problem::unsupported("resource embedding and aggregates"));
    }
    if text.contains("::") {
        return Err(Problem::unsupported("casts"));
    }
    if text.contains(':') {
        return Err(Problem::unsupported("renamed columns"));
    }
    let mut columns: Vec<&'static Column> = Vec::new();
    let mut add = |column: &'static Column| {
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "*" {
            table.visible_columns().for_each(&mut add);
        } else {
            add(known(table, unquoted(name))?);
        }
    }
    if columns.is_empty() {
        columns = table.visible_columns().collect();
    }
    Ok(columns)
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .unwrap_or(name)
}

/// `columns=` and `on_conflict=`: names of body columns, quoted or not.
fn names(table: &'static Table, text: &str) -> Result<Vec<&'static Column>, Problem> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| body_column(table, unquoted(name))).collect()
}

/// A column of a body.
///
/// # Errors
/// PGRST204 when there is none of that name.
pub fn body_column(table: &'static Table, name: &str) -> Result<&'static Column, Problem> {
    table.visible_column(name).ok_or_else(|| {
        let name = shorten(name);
        Problem::new(
            "PGRST204",
            format!(
                "Could not find the '{name}' column of '{}' in the schema cache",
                table.name
            ),
        )
    })
}

fn order(table: &'static Table, text: &str) -> Result<Vec<Order>, Problem> {
    let keys: Vec<&str> = text.split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    bounded("sort keys", keys.len(), MOST_PARTS)?;
    keys.into_iter().map(|key| sort_key(table, key)).collect()
}

fn sort_key(table: &'static Table, key: &str) -> Result<Order, Problem> {
    if key.contains("->") {
        return Err(Problem::unsupported("JSON paths"));
    }
    if key.contains('(') {
        return Err(Problem::unsupported("ordering by embedded resources"));
    }
    let mut parts = key.split('.');
    let column = known(table, unquoted(parts.next().unwrap_or_default()))?;
    if column.kind == ColumnType::Jsonb {
        return Err(Problem::unsupported("ordering by a jsonb column"));
    }
    let rest: Vec<&str> = parts.collect();
    let (descending, nulls) = match rest.as_slice() {
        [] => (false, None),
        ["asc"] => (false, None),
        ["desc"] => (true, None),
        ["asc", nulls] => (false, Some(*nulls)),
        ["desc", nulls] => (true, Some(*nulls)),
        [nulls] => (false, Some(*nulls)),
        _ => return Err(Problem::unparsable("order", key)),
    };
    let nulls_first = match nulls {
        None => descending,
        Some("nullsfirst") => true,
        Some("nullslast") => false,
        Some(_) => return Err(Problem::unparsable("order", key)),
    };
    Ok(Order {
        column,
        descending,
        nulls_first,
    })
}

fn number(what: &str, text: &str) -> Result<u64, Problem> {
    match text.trim().parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_negative| {
            Problem::new("PGRST103", "Requested range not satisfiable")
                .details(format!("{what} should be greater than or equal to zero."))
        }),
        Err(_) => Err(Problem::unparsable(what, text)),
    }
}

fn filter(table: &'static Table, name: &str, text: &str) -> Result<Filter, Problem> {
    let column = known(table, unquoted(name))?;
    let (negated, rest) = match text.strip_prefix("not.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let Some((operator, operand)) = rest.split_once('.') else {
        return Err(Problem::unparsable("filter", text));
    };
    let test = match operator {
        "is" => is(column, operand)?,
        "eq" => compare(column, Op::Eq, operand)?,
        "neq" => compare(column, Op::Neq, operand)?,
        "gt" => compare(column, Op::Gt, operand)?,
        "gte" => compare(column, Op::Gte, operand)?,
        "lt" => compare(column, Op::Lt, operand)?,
        "lte" => compare(column, Op::Lte, operand)?,
        "in" => one_of(column, operand)?,
        "like" => Test::Like(pattern(column, operand, "~~")?),
        "ilike" => Test::ILike(pattern(column, operand, "~~*")?),
        other => return Err(no_operator(other, text)),
    };
    Ok(Filter { column, negated, test })
}

/// PostgREST knows more operators than this server.
fn no_operator(operator: &str, text: &str) -> Problem {
    const OTHERS: &[&str] = &[
        "fts",
        "plfts",
        "phfts",
        "wfts",
        "cs",
        "cd",
        "ov",
        "sl",
        "sr",
        "nxr",
        "nxl",
        "adj",
        "match",
        "imatch",
        "isdistinct",
    ];
    let (plain, modifier) = operator
        .split_once('(')
        .map_or((operator, false), |(plain, _)| (plain, true));
    if modifier {
        return Problem::unsupported("operator modifiers (any, all, text search languages)");
    }
    match OTHERS.iter().find(|other| **other == plain) {
        Some(other) => Problem::unsupported(&format!("operator {other}")),
        None => Problem::unparsable("filter", text),
    }
}

fn no_json(column: &Column) -> Result<(), Problem> {
    if column.kind == ColumnType::Jsonb {
        return Err(Problem::unsupported("comparing a jsonb column"));
    }
    Ok(())
}

fn compare(column: &Column, op: Op, operand: &str) -> Result<Test, Problem> {
    no_json(column)?;
    Ok(Test::Compare(op, value::literal(column.kind, operand)?))
}

fn is(column: &Column, operand: &str) -> Result<Test, Problem> {
    let truth = |wanted| {
        if column.kind == ColumnType::Bool {
            return Ok(Test::Truth(wanted));
        }
        let message = format!(
            "argument of IS TRUE must be type boolean, not type {}",
            column.kind.name()
        );
        Err(Problem::new("42804", message))
    };
    match operand.to_ascii_lowercase().as_str() {
        "null" => Ok(Test::Null),
        "true" => truth(true),
        "false" => truth(false),
        "unknown" => truth(true).map(|_| Test::Null),
        "not_null" => Err(Problem::unsupported("is.not_null (use not.is.null)")),
        _ => Err(Problem::unparsable("filter", operand)),
    }
}

fn pattern(column: &Column, operand: &str, operator: &str) -> Result<String, Problem> {
    if column.kind != ColumnType::Text {
        let message = format!("operator does not exist: {} {operator} unknown", column.kind.name());
        return Err(Problem::new("42883", message));
    }
    let Arg::Text(text) = value::literal(ColumnType::Text, operand)? else {
        return Err(Problem::unparsable("filter", operand));
    };
    let text = text.replace('*', "%");
    let trailing = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if trailing % 2 == 1 {
        return Err(Problem::new("22025", "LIKE pattern must not end with escape character"));
    }
    bounded("bytes in a pattern", text.len(), LONGEST_PATTERN)?;
    let wildcards = text.bytes().filter(|byte| *byte == b'%').count();
    bounded("wildcards in a pattern", wildcards, MOST_WILDCARDS)?;
    Ok(text)
}

fn one_of(column: &Column, operand: &str) -> Result<Test, Problem> {
    no_json(column)?;
    let inside = operand.strip_prefix('(').and_then(|inside| inside.strip_suffix(')'));
    let elements = inside
        .and_then(elements)
        .ok_or_else(|| Problem::unparsable("filter", operand))?;
    bounded("elements in a list", elements.len(), MOST_ELEMENTS)?;
    let args = elements.iter().map(|text| value::literal(column.kind, text));
    Ok(Test::In(args.collect::<Result<_, _>>()?))
}

/// `a,"b,c",d`: an element in quotes may hold anything, with `\` before a quote or a backslash.
fn elements(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    if text.is_empty() {
        return Some(found);
    }
    let mut chars = text.chars().peekable();
    loop {
        let mut element = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => element.push(chars.next()?),
                    c => element.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                element.push(c);
            }
        }
        found.push(element);
        match chars.next() {
            None => return Some(found),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control_plane::registry::{GATEWAY_JOBS, GATEWAY_PAIRING_CODES, TEAM_GATEWAYS};

    fn parse(text: &str) -> Result<Query, String> {
        let parameters: Vec<(String, String)> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        query(&GATEWAY_JOBS, &parameters).map_err(|problem| problem.code)
    }

    #[test]
    fn what_gateways_ask_is_understood() {
        let query = parse(
            "select=id,status,id&status=in.(running,\"a,\\\"b\")&attempt=not.gte.2&error=is.null&job_type=like.shell*\
             &order=created_at.desc.nullslast,id&limit=5&offset=2&columns=\"id\",status",
        )
        .unwrap();
        assert_eq!(
            query.select.iter().map(|column| column.name).collect::<Vec<_>>(),
            ["id", "status"]
        );
        assert_eq!(
            query
                .filters
                .iter()
                .map(|filter| filter.test.clone())
                .collect::<Vec<_>>(),
            [
                Test::In(vec![Arg::Text("running".into()), Arg::Text("a,\"b".into())]),
                Test::Compare(Op::Gte, Arg::Int(2)),
                Test::Null,
                Test::Like("shell%".into()),
            ]
        );
        assert!(query.filters[1].negated && query.order[0].descending && !query.order[0].nulls_first);
        assert_eq!((query.limit, query.offset), (Some(5), 2));
        assert_eq!(query.columns.unwrap().len(), 2);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let cases = [
            ("select=id,team(name)", "PGRST127"),
            ("select=a:id", "PGRST127"),
            ("select=id::text", "PGRST127"),
            ("select=payload->a", "PGRST127"),
            ("or=(id.eq.1)", "PGRST127"),
            ("not.and=(id.eq.1)", "PGRST127"),
            ("payload=cs.{}", "PGRST127"),
            ("payload=eq.{}", "PGRST127"),
            ("status=eq(any).{a}", "PGRST127"),
            ("teams.name=eq.a", "PGRST127"),
            ("order=payload", "PGRST127"),
            ("status=wat.1", "PGRST100"),
            ("status=eq", "PGRST100"),
            ("status=in.a", "PGRST100"),
            ("status=in.(\"a", "PGRST100"),
            ("order=id.up", "PGRST100"),
            ("limit=x", "PGRST100"),
            ("limit=-1", "PGRST103"),
            ("nope=eq.1", "42703"),
            ("select=nope", "42703"),
            ("order=nope", "42703"),
            ("columns=nope", "PGRST204"),
            ("id=eq.x", "22P02"),
            ("id=like.x", "42883"),
            ("status=is.true", "42804"),
            ("status=like.a\\", "22025"),
        ];
        for (text, code) in cases {
            assert_eq!(parse(text), Err(code.to_owned()), "{text}");
        }
    }

    #[test]
    fn hidden_columns_do_not_exist() {
        let parameters = [("code".to_owned(), "eq.x".to_owned())];
        assert_eq!(query(&GATEWAY_PAIRING_CODES, &parameters).unwrap_err().code, "42703");
        assert!(
            query(&GATEWAY_PAIRING_CODES, &[])
                .unwrap()
                .select
                .iter()
                .all(|column| column.name != "code")
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(parameters in proptest::collection::vec((".*", ".*"), 0..6)) {
            drop(query(&TEAM_GATEWAYS, &parameters));
        }

        #[test]
        fn a_list_that_was_written_is_the_list_that_is_read(texts in proptest::collection::vec("[^\\x00]{0,12}", 0..6)) {
            let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)));
            let text = format!("in.({})", quoted.collect::<Vec<_>>().join(","));
            let read = query(&GATEWAY_JOBS, &[("status".to_owned(), text)]).unwrap();
            let wanted: Vec<Arg> = texts.into_iter().map(Arg::Text).collect();
            prop_assert_eq!(&read.filters[0].test, &Test::In(wanted));
        }

        #[test]
        fn no_near_miss_makes_it_panic(
            name in "(id|status|device_name|full_control_enabled|select|order|limit|columns)",
            text in r#"(not\.)?(eq|in|is|like|ilike|gt|asc)?\.?[()",.\\*%_a-z0-9é\x00-]{0,20}"#,
        ) {
            drop(query(&TEAM_GATEWAYS, &[(name, text)]));
        }
    }
}
