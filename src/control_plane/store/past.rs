//! What the change log held at one moment, so that a listener hears only of what came later.

use super::changes::Position;

/// One moment of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// SQLite, whose writers take turns: everything up to this row.
    UpTo(i64),
    /// PostgreSQL: what one snapshot sees.
    Snapshot {
        /// Every transaction below it had ended.
        xmin: u64,
        /// No transaction from it on had begun.
        xmax: u64,
        /// Those between the two that were still running.
        running: Vec<u64>,
    },
}

impl Past {
    /// Reads `pg_current_snapshot()`: `xmin:xmax:xip,xip,...`
    pub(super) fn of_snapshot(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        Some(Self::Snapshot {
            xmin,
            xmax,
            running: running.map(|xid| xid.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// Whether a change was in the log already.
    #[must_use]
    pub fn includes(&self, position: Position) -> bool {
        match self {
            Self::UpTo(seq) => position.seq <= *seq,
            Self::Snapshot { xmin, xmax, running } => {
                position.txid < *xmin || (position.txid < *xmax && !running.contains(&position.txid))
            }
        }
    }

    /// The place of a reader that has read nothing later. On PostgreSQL some of what was in the log comes after it.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::UpTo(seq) => Position { txid: 0, seq: *seq },
            Self::Snapshot { xmin, .. } => Position {
                txid: xmin.saturating_sub(1),
                seq: i64::MAX,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_and_knows_what_it_saw() {
        let past = Past::of_snapshot("10:20:10,14").unwrap();
        for (txid, included) in [(9, true), (10, false), (11, true), (14, false), (19, true), (20, false)] {
            assert_eq!(past.includes(Position { txid, seq: 1 }), included, "{txid}");
        }
        assert_eq!(past.position(), Position { txid: 9, seq: i64::MAX });
        assert!(
            Past::of_snapshot("7:7:")
                .unwrap()
                .includes(Position { txid: 6, seq: 1 })
        );
        for broken in ["", "7", "7:8", "a:b:", "7:8:x"] {
            assert_eq!(Past::of_snapshot(broken), None, "{broken}");
        }
    }
}
