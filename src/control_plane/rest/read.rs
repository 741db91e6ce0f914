//! GET and HEAD.

use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{Ranged, Refusal, join, not_one};
use super::headers::Accept;
use super::{Call, MOST_ROWS};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::access;
use crate::control_plane::query::ast::{Filter, Order};
use crate::control_plane::query::sql::SqlBuf;
use crate::control_plane::query::statement::{self, Page};
use crate::control_plane::registry::Table;

/// The page a request asks for, once it is known that the caller may read at all.
struct Wanted {
    filters: Vec<Filter>,
    order: Vec<Order>,
    limit: u64,
}

impl Wanted {
    /// `None` when the caller sees nothing.
    fn of(call: &Call) -> Option<Self> {
        let mut filters = access::readable(call.table, &call.claims)?;
        filters.extend(call.query.filters.iter().cloned());
        let paged = call.query.limit.is_some() || call.query.offset > 0;
        Some(Self {
            filters,
            order: if paged || !call.query.order.is_empty() {
                settled(call.table, &call.query.order)
            } else {
                Vec::new()
            },
            limit: call.query.limit.unwrap_or(MOST_ROWS).min(MOST_ROWS),
        })
    }

    fn page<'a>(&'a self, call: &'a Call) -> Page<'a> {
        Page {
            table: call.table,
            select: &call.query.select,
            filters: &self.filters,
            order: &self.order,
            limit: Some(self.limit),
            offset: call.query.offset,
        }
    }
}

/// The order with the primary key at its end, so that pages never overlap.
fn settled(table: &'static Table, order: &[Order]) -> Vec<Order> {
    let mut order = order.to_vec();
    for column in table.primary_key.iter().filter_map(|name| table.column(name)) {
        if !order.iter().any(|key| key.column.name == column.name) {
            order.push(Order {
                column,
                descending: false,
                nulls_first: false,
            });
        }
    }
    order
}

pub(super) async fn rows(call: &Call) -> Result<Response, Refusal> {
    let (rows, total) = match Wanted::of(call) {
        None => (Vec::new(), call.prefer.count.then_some(0)),
        Some(wanted) => fetch(call, &wanted).await?,
    };
    let ranged = ranged(call, count_of(rows.len()), total)?;
    let text = join(rows, call.accept)?;
    Ok(ranged.response(call.prefer, Some((call.accept, text))))
}

async fn fetch(call: &Call, wanted: &Wanted) -> Result<(Vec<String>, Option<u64>), Problem> {
    let statement = statement::select(call.store.dialect(), &wanted.page(call));
    if !call.prefer.count {
        return Ok((call.store.read(statement).await?, None));
    }
    let mut tx = call.store.begin_read().await?;
    let count = statement::count(call.store.dialect(), call.table, &wanted.filters);
    let total = number(tx.fetch_text(count).await?);
    let rows = tx.fetch_text(statement).await?;
    tx.rollback().await?;
    Ok((rows, Some(total)))
}

pub(super) async fn head(call: &Call) -> Result<Response, Refusal> {
    let (rows, total) = match Wanted::of(call) {
        None => (0, call.prefer.count.then_some(0)),
        Some(wanted) if call.prefer.count => {
            let total = counted(
                call,
                statement::count(call.store.dialect(), call.table, &wanted.filters),
            )
            .await?;
            (total.saturating_sub(call.query.offset).min(wanted.limit), Some(total))
        }
        Some(wanted) => {
            let statement = statement::count_page(call.store.dialect(), &wanted.page(call));
            (counted(call, statement).await?, None)
        }
    };
    if call.accept == Accept::Object && rows != 1 {
        return Err(not_one(usize::try_from(rows).unwrap_or(usize::MAX)).into());
    }
    Ok(ranged(call, rows, total)?.response(call.prefer, None))
}

async fn counted(call: &Call, statement: SqlBuf) -> Result<u64, Problem> {
    Ok(number(call.store.read(statement).await?))
}

fn number(rows: Vec<String>) -> u64 {
    rows.into_iter()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn count_of(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn ranged(call: &Call, rows: u64, total: Option<u64>) -> Result<Ranged, Problem> {
    let offset = call.query.offset;
    if let Some(total) = total
        && offset > 0
        && offset >= total
    {
        return Err(
            Problem::new("PGRST103", "Requested range not satisfiable").details(format!(
                "An offset of {offset} was requested, but there are only {total} rows."
            )),
        );
    }
    let status = match total {
        Some(total) if rows < total => StatusCode::PARTIAL_CONTENT,
        Some(_) | None => StatusCode::OK,
    };
    Ok(Ranged {
        status,
        offset,
        rows,
        total,
    })
}
