//! What earlier probes learnt, so that an unchanged CLI is never asked twice.
//!
//! An answer holds for as long as the file keeps its size and modification time. A failure holds for
//! seconds only: a CLI that was slow once must not stay switched off.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::provider::capability::Features;

/// More programs than this are never remembered.
const MAX_ENTRIES: usize = 64;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

impl Stamp {
    /// The state of a file or folder, links followed; none when it is not there.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            size: meta.len(),
            modified_seconds: meta.mtime(),
            modified_nanoseconds: meta.mtime_nsec(),
        })
    }
}

/// Everything the answers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The program.
    pub program: Stamp,
    /// The folder of its extensions, where it has one.
    pub extensions: Option<Stamp>,
}

/// Answers of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Under which state of the files they hold.
    pub evidence: Evidence,
    /// When it was last asked.
    pub asked_at: Timestamp,
    /// How often in a row something failed.
    pub failures: u32,
    /// Its version text, or why there is none.
    pub version: Result<String, String>,
    /// What its help told; absent when it was never asked.
    pub features: Option<Features>,
}

impl Remembered {
    fn holds(&self, evidence: Evidence, now: Timestamp, believe: SignedDuration) -> bool {
        if self.evidence != evidence {
            return false;
        }
        if self.failures == 0 {
            return true;
        }
        // A clock that went back asks again.
        let age = now.duration_since(self.asked_at);
        !age.is_negative() && age < believe
    }
}

/// The memory, stored as `probes.json` by whoever owns the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCache {
    made_by: String,
    programs: BTreeMap<PathBuf, Remembered>,
}

impl Default for ProbeCache {
    fn default() -> Self {
        Self {
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            programs: BTreeMap::new(),
        }
    }
}

impl ProbeCache {
    /// Reads a stored memory. One that is damaged, or of another version of this program, is an empty one.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Self {
        let own = Self::default();
        serde_json::from_slice(bytes)
            .ok()
            .filter(|stored: &Self| stored.made_by == own.made_by)
            .unwrap_or(own)
    }

    /// The text to store.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The answers that still hold; a failure does for no longer than `believe`.
    #[must_use]
    pub fn recall(
        &self,
        program: &Path,
        evidence: Evidence,
        now: Timestamp,
        believe: SignedDuration,
    ) -> Option<&Remembered> {
        let known = self.programs.get(program);
        known.filter(|known| known.holds(evidence, now, believe))
    }

    /// How often in a row this state of the program failed before.
    #[must_use]
    pub fn failures(&self, program: &Path, evidence: Evidence) -> u32 {
        self.programs
            .get(program)
            .filter(|known| known.evidence == evidence)
            .map_or(0, |known| known.failures)
    }

    /// Adds answers; says whether anything is new. Programs that are gone are forgotten.
    pub fn learn(&mut self, learnt: Learnt) -> bool {
        if learnt.0.is_empty() {
            return false;
        }
        self.programs.retain(|program, _| program.exists());
        self.programs.extend(learnt.0);
        while self.programs.len() > MAX_ENTRIES {
            self.programs.pop_first();
        }
        true
    }
}

/// New answers of one examination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learnt(pub(crate) Vec<(PathBuf, Remembered)>);

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEVE: SignedDuration = SignedDuration::from_secs(25);
    const EVIDENCE: Evidence = Evidence {
        program: Stamp {
            size: 1,
            modified_seconds: 2,
            modified_nanoseconds: 3,
        },
        extensions: None,
    };

    fn cache(failures: u32) -> (ProbeCache, PathBuf) {
        let program = PathBuf::from("/bin/sh");
        let answers = Remembered {
            evidence: EVIDENCE,
            asked_at: Timestamp::UNIX_EPOCH,
            failures,
            version: Ok("1.0.0".to_owned()),
            features: None,
        };
        let mut cache = ProbeCache::default();
        assert!(cache.learn(Learnt(vec![(program.clone(), answers)])));
        assert!(!cache.learn(Learnt::default()));
        (cache, program)
    }

    fn after(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn an_answer_holds_until_the_file_changes() {
        let (cache, program) = cache(0);
        assert!(cache.recall(&program, EVIDENCE, after(1_000_000), BELIEVE).is_some());
        let mut touched = EVIDENCE;
        touched.program.modified_nanoseconds += 1;
        assert!(cache.recall(&program, touched, after(0), BELIEVE).is_none());
        let with_folder = Evidence {
            extensions: Some(EVIDENCE.program),
            ..EVIDENCE
        };
        assert!(cache.recall(&program, with_folder, after(0), BELIEVE).is_none());
    }

    #[test]
    fn a_failure_holds_for_seconds_only() {
        let (cache, program) = cache(3);
        let recalled = |seconds| {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
            cache.recall(&program, EVIDENCE, at, BELIEVE).is_some()
        };
        assert_eq!([-1, 0, 24, 25, 60].map(recalled), [false, true, true, false, false]);
    }

    #[test]
    fn the_stored_form_survives_and_damage_does_not_matter() {
        let (cache, _) = cache(0);
        assert_eq!(ProbeCache::from_json(&cache.to_json()), cache);
        assert_eq!(ProbeCache::from_json(b"{\"made_by\": 7"), ProbeCache::default());
        let foreign = String::from_utf8(cache.to_json()).unwrap();
        let foreign = foreign.replace(env!("CARGO_PKG_VERSION"), "0.0.0-other");
        assert_eq!(ProbeCache::from_json(foreign.as_bytes()), ProbeCache::default());
    }
}
