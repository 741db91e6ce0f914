//! The tables, their version, and the bounds on what they hold.

/// Format of the file, in `user_version`.
pub(super) const VERSION: i64 = 1;
/// Marks the file as ours, in `application_id` ("GWJL").
pub(super) const APPLICATION_ID: i64 = 0x4757_4A4C;
/// Pages of 4 KiB: the file never grows beyond 2 GiB.
pub(super) const MAX_PAGES: u32 = 512 * 1024;
/// Above this size not all of the file is read through before use.
pub(super) const CHECKED_BYTES: u64 = 64 << 20;
/// Reads through the file, and through what a start needs of it: the raw output is the bulk.
pub(super) const CHECKS: [&str; 2] = ["PRAGMA quick_check(1)", "PRAGMA quick_check(entries)"];

pub(super) const CREATE: &str = "
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    team_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    requested_via TEXT,
    timeline TEXT NOT NULL,
    pid INTEGER,
    start_ticks INTEGER,
    pgid INTEGER,
    started_at INTEGER,
    outcome TEXT,
    finished_at INTEGER,
    reported_at INTEGER,
    aside_at INTEGER,
    aside_reason TEXT
) STRICT;
CREATE INDEX entries_open ON entries (id) WHERE reported_at IS NULL AND aside_at IS NULL;
CREATE INDEX entries_reported ON entries (reported_at) WHERE reported_at IS NOT NULL;
CREATE TABLE output (
    job_id TEXT NOT NULL,
    field INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (job_id, field, seq)
) STRICT;
";

/// Commits that a death of this program cannot undo, and commits that a power cut cannot undo either.
pub(super) const SYNC: [&str; 2] = ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"];

/// A claim of an id that is here already starts it anew: the backend gave the row out again.
pub(super) const CLAIMED: &str = "
INSERT OR REPLACE INTO entries (job_id, team_id, gateway_id, job_type, requested_via, timeline)
VALUES (?, ?, ?, ?, ?, ?)";
pub(super) const STARTED: &str = "
UPDATE entries SET pid = ?, start_ticks = ?, pgid = ?, started_at = ?,
    timeline = json_set(timeline, '$.containment', json(?)) WHERE job_id = ?";
/// No job has an empty id.
pub(super) const PROBE: [&str; 2] = [
    "INSERT OR REPLACE INTO entries (job_id, team_id, gateway_id, job_type, timeline) VALUES ('', '', '', '', '{}')",
    "DELETE FROM entries WHERE job_id = ''",
];
pub(super) const DROP_OUTPUT: &str = "DELETE FROM output WHERE job_id = ?";
pub(super) const PIECE: &str = "INSERT OR REPLACE INTO output (job_id, field, seq, bytes) VALUES (?, ?, ?, ?)";
pub(super) const OUTPUT_BYTES: &str = "SELECT coalesce(sum(length(bytes)), 0) FROM output WHERE job_id = ?";
pub(super) const FINISHED: &str = "
UPDATE entries SET outcome = ?, timeline = ?, finished_at = ?, reported_at = NULL, aside_at = NULL WHERE job_id = ?";
/// A confirmed result is not kept, only that there was one.
pub(super) const REPORTED: &str = "UPDATE entries SET reported_at = ?, outcome = NULL WHERE job_id = ?";
pub(super) const ASIDE: &str = "UPDATE entries SET aside_at = ?, aside_reason = ? WHERE job_id = ?";

pub(super) const OPEN_ENTRIES: &str = "
SELECT job_id, team_id, gateway_id, job_type, requested_via, timeline, pid, start_ticks, pgid, started_at, finished_at
FROM entries WHERE reported_at IS NULL AND aside_at IS NULL ORDER BY id";
pub(super) const OUTCOME: &str = "SELECT outcome, timeline, reported_at FROM entries WHERE job_id = ?";
pub(super) const OUTPUT: &str = "SELECT field, bytes FROM output WHERE job_id = ? ORDER BY field, seq";
pub(super) const COUNTS: &str = "
SELECT count(*) FILTER (WHERE finished_at IS NULL AND reported_at IS NULL AND aside_at IS NULL),
       count(*) FILTER (WHERE finished_at IS NOT NULL AND reported_at IS NULL AND aside_at IS NULL),
       count(*) FILTER (WHERE reported_at IS NOT NULL),
       count(*) FILTER (WHERE aside_at IS NOT NULL AND reported_at IS NULL),
       (SELECT aside_reason FROM entries WHERE aside_at IS NOT NULL AND reported_at IS NULL
        ORDER BY aside_at DESC, id DESC LIMIT 1)
FROM entries";

/// Confirmed entries are kept for a week, at most ten thousand; refused ones for a month, at most a hundred.
pub(super) const PRUNE: [&str; 5] = [
    "DELETE FROM entries WHERE reported_at < ? - 7 * 86400000",
    "DELETE FROM entries WHERE reported_at IS NOT NULL AND 0 <= ? AND id NOT IN
       (SELECT id FROM entries WHERE reported_at IS NOT NULL ORDER BY id DESC LIMIT 10000)",
    "DELETE FROM entries WHERE aside_at < ? - 30 * 86400000",
    "DELETE FROM entries WHERE aside_at IS NOT NULL AND 0 <= ? AND id NOT IN
       (SELECT id FROM entries WHERE aside_at IS NOT NULL ORDER BY id DESC LIMIT 100)",
    // An open entry may be in the middle of storing its pieces.
    "DELETE FROM output WHERE 0 <= ? AND job_id NOT IN (SELECT job_id FROM entries WHERE reported_at IS NULL)",
];
/// Gives freed pages back, some megabytes at a time.
pub(super) const SHRINK: &str = "PRAGMA incremental_vacuum(4096)";
