//! Questions to the journal: what is open, what a result was, how many there are.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::entry::StoredOutcome;
use super::writer::classify;
use super::{ClaimedEntry, Counts, Interrupted, JournalError, Known, ProcessIdentityRecord, Recovered, schema};
use crate::domain::clock;
use crate::domain::ids::{GatewayId, JobId, TeamId};
use crate::domain::job::{Ingress, RawField, Timeline};

pub(super) async fn recover(connection: &mut SqliteConnection) -> Result<Recovered, JournalError> {
    let rows = sqlx::query(schema::OPEN_ENTRIES)
        .fetch_all(connection)
        .await
        .map_err(classify)?;
    let mut found = Recovered::default();
    for row in rows {
        // One bad entry must not hide the others.
        let (interrupted, finished) = match entry(&row) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "a journal entry is skipped");
                continue;
            }
        };
        if finished {
            found.unreported.push(interrupted.entry);
        } else {
            found.interrupted.push(interrupted);
        }
    }
    Ok(found)
}

fn entry(row: &SqliteRow) -> Result<(Interrupted, bool), JournalError> {
    let text = |column| row.try_get::<String, _>(column).map_err(classify);
    let number = |column| row.try_get::<Option<i64>, _>(column).map_err(classify);
    let process = match (
        number("pid")?,
        number("start_ticks")?,
        number("pgid")?,
        number("started_at")?,
    ) {
        (Some(pid), Some(ticks), Some(pgid), Some(at)) => process(pid, ticks, pgid, at),
        (None, _, _, _) | (_, None, _, _) | (_, _, None, _) | (_, _, _, None) => None,
    };
    let entry = ClaimedEntry {
        job_id: JobId::new(text("job_id")?).map_err(malformed)?,
        team_id: TeamId::new(text("team_id")?).map_err(malformed)?,
        gateway_id: GatewayId::new(text("gateway_id")?).map_err(malformed)?,
        job_type: text("job_type")?,
        // Without its steps a job can still be ended.
        timeline: serde_json::from_str(&text("timeline")?)
            .unwrap_or_else(|_malformed| Timeline::received(Ingress::Poll, clock::now())),
        requested_via: row.try_get("requested_via").map_err(classify)?,
    };
    Ok((Interrupted { entry, process }, number("finished_at")?.is_some()))
}

fn process(pid: i64, ticks: i64, pgid: i64, at: i64) -> Option<ProcessIdentityRecord> {
    Some(ProcessIdentityRecord {
        pid: u32::try_from(pid).ok()?,
        start_ticks: u64::try_from(ticks).ok()?,
        pgid: u32::try_from(pgid).ok()?,
        at: Timestamp::from_millisecond(at).ok()?,
    })
}

fn malformed(error: impl std::fmt::Display) -> JournalError {
    JournalError::Malformed(serde::de::Error::custom(error))
}

pub(super) async fn outcome(connection: &mut SqliteConnection, job: &JobId) -> Result<Known, JournalError> {
    let row: Option<(Option<String>, String, Option<i64>)> = sqlx::query_as(schema::OUTCOME)
        .bind(job.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(classify)?;
    let (outcome, timeline) = match row {
        None => return Ok(Known::Nothing),
        Some((_, _, Some(_reported_at))) => return Ok(Known::Reported),
        Some((None, _, None)) => return Ok(Known::Open),
        Some((Some(outcome), timeline, None)) => (outcome, timeline),
    };
    let outcome: StoredOutcome = serde_json::from_str(&outcome)?;
    let raw = output(connection, job, &outcome.raw_keys).await?;
    let end = (outcome.into_outcome(raw), serde_json::from_str(&timeline)?);
    Ok(Known::Ended(Box::new(end)))
}

async fn output(
    connection: &mut SqliteConnection,
    job: &JobId,
    keys: &[String],
) -> Result<Vec<RawField>, JournalError> {
    let mut raw: Vec<_> = keys
        .iter()
        .map(|key| RawField {
            key: key.clone(),
            bytes: Vec::new(),
        })
        .collect();
    let query = sqlx::query_as::<_, (i64, Vec<u8>)>(schema::OUTPUT).bind(job.as_str());
    let mut pieces = query.fetch(connection);
    while let Some((field, bytes)) = futures_util::TryStreamExt::try_next(&mut pieces)
        .await
        .map_err(classify)?
    {
        if let Some(raw) = usize::try_from(field).ok().and_then(|field| raw.get_mut(field)) {
            raw.bytes.extend_from_slice(&bytes);
        }
    }
    Ok(raw)
}

pub(super) async fn counts(connection: &mut SqliteConnection, synced: u64) -> Result<Counts, JournalError> {
    let row: (i64, i64, i64, i64, Option<String>) = sqlx::query_as(schema::COUNTS)
        .fetch_one(connection)
        .await
        .map_err(classify)?;
    let (running, unreported, reported, set_aside, latest_reason) = row;
    Ok(Counts {
        running: running.unsigned_abs(),
        unreported: unreported.unsigned_abs(),
        reported: reported.unsigned_abs(),
        set_aside: set_aside.unsigned_abs(),
        latest_reason,
        synced,
    })
}
