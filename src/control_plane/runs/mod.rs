//! Runs of subagents: begun by an operator, ended by the gateway they ran on. Each step is one transaction, so that
//! subagent, run and job never disagree.

mod accept;
mod envelope;
mod finalize;
mod start;
mod withdraw;

use serde_json::{Map, Value};

use super::problem::Problem;
use super::store::Tx;
use crate::control_plane::store::Rows;

pub(super) use accept::allocate;
pub use accept::{Accept, accept};
pub use envelope::{ContentType, Envelope};
pub use finalize::{FinalStatus, Finalize, Finalized, finalize};
pub use start::{Start, StartRefused, Started, start};
pub use withdraw::{Withdraw, withdraw};

/// Members of a JSON object; none of anything else.
fn members(row: &Value, column: &str) -> Map<String, Value> {
    row.get(column).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The rows, held until the transaction ends: on PostgreSQL a write that changes nothing takes their locks, and what is
/// read then stays true.
async fn hold(tx: &mut Tx, rows: &Rows, status: &str) -> Result<Vec<Value>, Problem> {
    let rows = rows.clone().eq("status", status);
    tx.update_rows(&rows, &serde_json::json!({"status": status})).await
}
