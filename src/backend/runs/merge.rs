//! Changes of rows that others write as well: what they wrote into the metadata meanwhile stays.

use serde_json::{Map, Value};

use super::Runs;
use crate::backend::error::BackendError;
use crate::backend::rest::Query;

/// How often a row that somebody else writes at the same time is read again.
const TRIES: usize = 5;

/// Metadata of a row as it was read, and when the row was last written by then.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notes {
    /// The metadata.
    pub metadata: Map<String, Value>,
    written_at: Option<String>,
}

impl Notes {
    /// Those of a row with `metadata` and `updated_at`.
    #[must_use]
    pub fn of(row: &Value) -> Self {
        Self {
            metadata: row
                .get("metadata")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            written_at: row.get("updated_at").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// One running row, and what becomes of it.
pub(super) struct Merge<'a> {
    pub(super) table: &'static str,
    pub(super) id: &'a str,
    /// Columns that are replaced.
    pub(super) columns: Map<String, Value>,
    /// Laid over the metadata.
    pub(super) patch: &'a Map<String, Value>,
}

impl Runs {
    /// Writes, whatever others write just then; false when the row does not run any more. `seen` saves a look at it.
    pub(super) async fn merge(
        &self,
        merge: &Merge<'_>,
        seen: Option<&Notes>,
        narrow: impl Fn(Query) -> Query,
    ) -> Result<bool, BackendError> {
        let mut seen = seen.cloned();
        for left in (0..TRIES).rev() {
            let notes = match seen.take() {
                Some(notes) => notes,
                None => match self.notes(merge).await? {
                    Some(notes) => notes,
                    None => return Ok(false),
                },
            };
            let unchanged = notes.written_at.clone().filter(|_| left > 0);
            let query = narrow(self.rest.from(merge.table).update(&merge.over(notes)));
            let query = query.eq("id", merge.id).eq("status", "running");
            let query = match &unchanged {
                Some(at) => query.eq("updated_at", at),
                None => query,
            };
            let written = query.returning("id").maybe_one().await?.is_some();
            if written || unchanged.is_none() {
                return Ok(written);
            }
        }
        Ok(false)
    }

    async fn notes(&self, merge: &Merge<'_>) -> Result<Option<Notes>, BackendError> {
        let running = self.rest.from(merge.table).select("metadata,updated_at");
        let row = running.eq("id", merge.id).eq("status", "running").maybe_one().await?;
        Ok(row.as_ref().map(Notes::of))
    }
}

impl Merge<'_> {
    fn over(&self, notes: Notes) -> Value {
        let mut metadata = notes.metadata;
        metadata.extend(self.patch.clone());
        let mut columns = self.columns.clone();
        columns.insert("metadata".to_owned(), Value::Object(metadata));
        Value::Object(columns)
    }
}
