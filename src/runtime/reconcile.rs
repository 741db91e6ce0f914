//! What to ask the job table for, and what to do with each row of the answer.
//!
//! Pure: pages and verdicts only. The driver in [`crate::runtime::ingress`] sends the queries.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobKind, JobStatus};
use crate::job::handler::Identity;
use crate::wire::job_row::{self, Reject};

/// Cancel rows asked for at once.
pub const CANCEL_LIMIT: usize = 100;
/// Most rows in one page.
pub const PAGE_LIMIT: usize = 100;
/// Most pages of one sweep; the next sweep goes on where this one stopped.
pub const MAX_PAGES: usize = 10;
/// Ids in one question about running rows: the address stays below 8 kB.
pub const STATUS_CHUNK: usize = 100;
/// Rows passed over that are remembered.
const MAX_AVOIDED: usize = 1_024;
/// How long a row that could not be claimed is passed over: longer than from one sweep to the next.
const AVOID_FOR: Duration = Duration::from_secs(6);

/// One page of queued rows, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Rows asked for.
    pub limit: usize,
    /// Rows passed over.
    pub offset: usize,
}

/// Walks the queued rows until every free slot has a job, past rows that cannot start now.
///
/// The first page asks for as many rows as there are free slots. If some of them cannot start, later pages grow,
/// so that a long stretch of such rows is crossed in few requests.
#[derive(Debug)]
pub struct Sweep {
    free: usize,
    taken: usize,
    pages: usize,
    offset: usize,
    limit: usize,
    end: Option<End>,
    skipped_busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The last row was seen.
    Exhausted,
    /// Every free slot has a job; rows may be left.
    Satisfied,
}

impl Sweep {
    /// A sweep for `free` slots that starts at `offset` (where the last one gave up, else 0).
    #[must_use]
    pub fn new(free: usize, offset: usize) -> Self {
        Self {
            free,
            taken: 0,
            pages: 0,
            offset,
            limit: free.clamp(1, PAGE_LIMIT),
            end: (free == 0).then_some(End::Satisfied),
            skipped_busy: false,
        }
    }

    /// The next page to ask for.
    #[must_use]
    pub const fn next(&self) -> Option<Page> {
        if self.end.is_some() || self.pages >= MAX_PAGES {
            return None;
        }
        Some(Page {
            limit: self.limit,
            offset: self.offset,
        })
    }

    /// Whether one more row may be taken.
    #[must_use]
    pub const fn wants_more(&self) -> bool {
        self.taken < self.free
    }

    /// A row was queued here.
    pub const fn took(&mut self) {
        self.taken += 1;
    }

    /// A row waits for its lane: worth asking again when a job ends.
    pub const fn passed_busy(&mut self) {
        self.skipped_busy = true;
    }

    /// A page of `rows` rows was worked through; `limit` were asked for in the end.
    pub fn page_done(&mut self, rows: usize, limit: usize) {
        self.pages += 1;
        self.offset += rows;
        if rows < limit {
            self.end = Some(End::Exhausted);
        } else if !self.wants_more() {
            self.end = Some(End::Satisfied);
        }
        self.limit = (limit * 2).min(PAGE_LIMIT);
    }

    /// Whether rows are known to wait for a slot or lane.
    #[must_use]
    pub fn more(&self) -> bool {
        self.skipped_busy || self.end != Some(End::Exhausted)
    }

    /// Where the next sweep starts: at the oldest row, unless this one ran out of pages.
    #[must_use]
    pub const fn resume_at(&self) -> usize {
        if self.end.is_some() { 0 } else { self.offset }
    }
}

/// Rows that are passed over, so that those behind them are reached: for good the ones that were refused, for a while
/// the ones that could not be claimed. Oldest forgotten first.
#[derive(Debug, Default)]
pub struct Avoided {
    until: HashMap<JobId, Duration>,
    order: VecDeque<JobId>,
}

impl Avoided {
    /// Passes a row over for good.
    pub fn for_good(&mut self, id: JobId) {
        self.until(id, Duration::MAX);
    }

    /// Passes a row over from `now` on until the next sweep had its chance with the others.
    pub fn for_now(&mut self, id: JobId, now: Duration) {
        self.until(id, now + AVOID_FOR);
    }

    /// Takes a row again.
    pub fn forget(&mut self, id: &JobId) {
        self.until.remove(id);
    }

    /// Whether the row is passed over.
    #[must_use]
    pub fn contains(&self, id: &JobId, now: Duration) -> bool {
        self.until.get(id).is_some_and(|until| now < *until)
    }

    fn until(&mut self, id: JobId, until: Duration) {
        if self.until.insert(id.clone(), until).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_AVOIDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }
}

/// What a row is to us.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// A queued job of ours.
    Ours(Box<Job>),
    /// A queued cancel of ours: never waits for a slot.
    Cancel(Box<Job>),
    /// A row of ours that is not queued any more.
    NotQueued(JobId, JobStatus),
    /// Another gateway's or team's: dropped and counted, never looked into.
    Foreign,
    /// Not a job, but its id is readable: fail it with the reason.
    Reject {
        /// The row.
        id: JobId,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a job, and nobody can say whose.
    Unreadable(String),
}

/// Judges a row of a query or a pushed record. Ids of other owners are believed before anything else is read.
#[must_use]
pub fn judge(row: &Value, us: &Identity) -> Verdict {
    if names_another(row, us) {
        return Verdict::Foreign;
    }
    match job_row::decode(row) {
        Ok(job) if job.team_id != us.team_id || job.gateway_id.as_ref() != Some(&us.gateway_id) => Verdict::Foreign,
        Ok(job) if job.status != JobStatus::Queued => Verdict::NotQueued(job.id, job.status),
        Ok(job) => match job.kind {
            JobKind::SubagentCancel => Verdict::Cancel(Box::new(job)),
            JobKind::Diagnostic
            | JobKind::ShellExec
            | JobKind::ShellSession
            | JobKind::ModelRun
            | JobKind::SubagentRun
            | JobKind::Unsupported(_) => Verdict::Ours(Box::new(job)),
        },
        Err(Reject { id: Some(id), reason }) if is_plainly_ours(row, us) => Verdict::Reject { id, reason },
        Err(Reject {
            id: None | Some(_),
            reason,
        }) => Verdict::Unreadable(reason),
    }
}

/// Bytes a row's payload holds in memory, roughly.
#[must_use]
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 24 + text.len(),
        Value::Array(items) => 24 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => members.iter().map(|(key, item)| 48 + key.len() + weight(item)).sum(),
    }
}

fn names_another(row: &Value, us: &Identity) -> bool {
    let other = |column: &str, own: &str| row.get(column).and_then(Value::as_str).is_some_and(|id| id != own);
    other("team_id", us.team_id.as_str()) || other("gateway_id", us.gateway_id.as_str())
}

/// Only a row that names this gateway is failed by it.
fn is_plainly_ours(row: &Value, us: &Identity) -> bool {
    row.get("gateway_id").and_then(Value::as_str) == Some(us.gateway_id.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::ids::{GatewayId, TeamId};

    fn us() -> Identity {
        Identity {
            gateway_id: GatewayId::new("g").unwrap(),
            team_id: TeamId::new("t").unwrap(),
        }
    }

    fn row(id: &str) -> Value {
        json!({
            "id": id, "team_id": "t", "gateway_id": "g", "status": "queued", "job_type": "shell_exec",
            "payload": {}, "result": null, "error": null, "completed_at": null, "created_at": "1", "updated_at": "1",
        })
    }

    fn with(column: &str, value: Value) -> Value {
        let mut row = row("j");
        row[column] = value;
        row
    }

    #[test]
    fn rows_are_told_apart() {
        assert!(matches!(judge(&row("j"), &us()), Verdict::Ours(_)));
        assert!(matches!(
            judge(&with("job_type", json!("subagent_cancel")), &us()),
            Verdict::Cancel(_)
        ));
        assert!(matches!(
            judge(&with("status", json!("cancelled")), &us()),
            Verdict::NotQueued(_, JobStatus::Cancelled)
        ));
        for foreign in [
            with("team_id", json!("other")),
            with("gateway_id", json!("other")),
            with("gateway_id", Value::Null),
        ] {
            assert_eq!(judge(&foreign, &us()), Verdict::Foreign);
        }
        assert!(matches!(
            judge(&with("payload", json!([])), &us()),
            Verdict::Reject { .. }
        ));
        assert!(matches!(judge(&with("id", json!(7)), &us()), Verdict::Unreadable(_)));
        assert!(matches!(judge(&json!("text"), &us()), Verdict::Unreadable(_)));
    }

    #[test]
    fn a_broken_row_of_somebody_else_is_left_alone() {
        let mut foreign = with("payload", json!([]));
        foreign["gateway_id"] = json!("other");
        assert_eq!(judge(&foreign, &us()), Verdict::Foreign);
        assert!(matches!(judge(&json!({"id": "j"}), &us()), Verdict::Unreadable(_)));
    }

    #[test]
    fn rows_passed_over_come_back_and_are_bounded() {
        let (mut avoided, id) = (Avoided::default(), |n: usize| JobId::new(n.to_string()).unwrap());
        avoided.for_now(id(0), Duration::ZERO);
        assert!(avoided.contains(&id(0), AVOID_FOR / 2) && !avoided.contains(&id(0), AVOID_FOR));
        for n in 1..=MAX_AVOIDED {
            avoided.for_good(id(n));
        }
        assert!(!avoided.contains(&id(0), Duration::ZERO));
        assert!(avoided.contains(&id(5), Duration::from_secs(1 << 40)));
        assert_eq!(avoided.until.len(), MAX_AVOIDED);
    }

    #[test]
    fn the_first_page_asks_for_free_slots_and_a_sweep_without_any_for_nothing() {
        assert_eq!(Sweep::new(3, 0).next(), Some(Page { limit: 3, offset: 0 }));
        let none = Sweep::new(0, 0);
        assert!(none.next().is_none() && none.more());
    }

    /// A table where some rows cannot start; returns how many sweeps it took to take all the others.
    fn simulate(mut startable: Vec<bool>, free: usize) -> (usize, usize) {
        let (mut sweeps, mut requests, mut resume) = (0, 0, 0);
        while startable.contains(&true) {
            sweeps += 1;
            assert!(sweeps < 2_000, "starved");
            let mut sweep = Sweep::new(free, resume);
            let mut taken = Vec::new();
            while let Some(page) = sweep.next() {
                requests += 1;
                let rows: Vec<_> = (page.offset..startable.len()).take(page.limit).collect();
                let wanted: Vec<_> = rows.iter().copied().filter(|index| startable[*index]).collect();
                for index in wanted.into_iter().take(free - sweep.taken) {
                    taken.push(index);
                    sweep.took();
                }
                sweep.page_done(rows.len(), page.limit);
            }
            resume = sweep.resume_at();
            for index in taken.iter().rev() {
                startable.remove(*index);
            }
            if startable.contains(&true) {
                assert!(sweep.more() || resume > 0 || !taken.is_empty());
            }
        }
        (sweeps, requests)
    }

    #[test]
    fn a_long_stretch_of_rows_that_cannot_start_is_crossed() {
        let mut rows = vec![false; 3_000];
        rows.push(true);
        let (sweeps, requests) = simulate(rows, 1);
        assert!(sweeps <= 8 && requests <= 80, "{sweeps} sweeps, {requests} requests");
    }

    proptest! {
        #[test]
        fn every_row_that_can_start_is_taken(startable in proptest::collection::vec(any::<bool>(), 0..400), free in 1..20_usize) {
            let wanted = startable.iter().filter(|start| **start).count();
            let (sweeps, _) = simulate(startable, free);
            prop_assert!(sweeps <= wanted.div_ceil(free) + 3 * (wanted + 1), "{sweeps}");
        }
    }
}
