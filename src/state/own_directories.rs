//! Directories of subagents: whose they are, and which of them nobody will ever come back to.
//!
//! A subagent may be resumed as long as its control plane has it, whatever became of its last turn. So only what a
//! control plane said counts: that it has a subagent makes the directory its gateway's, and only a directory of the
//! gateway that asks can be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::ids::GatewayId;
use crate::state::document::{Document, DocumentError};
use crate::state::fs::OwnerDir;
use crate::state::workspaces;

const NOTES: &str = "subagents.json";
/// Directories that are looked after at a time.
const MOST: usize = 10_000;

/// What is known of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    gateway_id: GatewayId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing_since: Option<Timestamp>,
}

type Notes = BTreeMap<String, Note>;

/// A directory whose subagent is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The subagent.
    pub subagent_id: String,
    /// Its directory.
    pub path: PathBuf,
    /// When that was noticed.
    pub since: Timestamp,
}

/// The directories of subagents below a state directory.
#[derive(Debug, Clone)]
pub struct OwnDirectories {
    notes: Document,
    parent: PathBuf,
}

impl OwnDirectories {
    /// Those of a state directory.
    #[must_use]
    pub fn new(state: &Arc<OwnerDir>) -> Self {
        Self {
            notes: Document::new(state, NOTES),
            parent: state.path().join(workspaces::OWN),
        }
    }

    /// The subagents that have a directory. What is named otherwise is not ours to judge.
    ///
    /// # Errors
    /// Whatever the disk says; there may be none yet.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| Uuid::try_parse(name).is_ok()).take(MOST).collect())
    }

    /// Writes down that a subagent of `gateway` works in its directory.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn belongs(&self, subagent_id: &str, gateway: &GatewayId) -> Result<(), DocumentError> {
        let mine = Note {
            gateway_id: gateway.clone(),
            missing_since: None,
        };
        if self.notes.load::<Notes>()?.get(subagent_id) == Some(&mine) {
            return Ok(());
        }
        self.notes.update(|notes: &mut Notes| {
            notes.insert(subagent_id.to_owned(), mine);
            Ok(())
        })
    }

    /// Writes down what the control plane of `gateway` answered: which of the subagents it was asked for it has.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn saw(
        &self,
        gateway: &GatewayId,
        (asked, there): (&[String], &BTreeSet<String>),
        now: Timestamp,
    ) -> Result<(), DocumentError> {
        if asked.is_empty() && self.notes.load::<Notes>()?.is_empty() {
            return Ok(());
        }
        self.notes.update(|notes: &mut Notes| {
            notes.retain(|id, _| asked.contains(id) || self.parent.join(id).is_dir());
            for id in asked {
                if there.contains(id) {
                    let note = Note {
                        gateway_id: gateway.clone(),
                        missing_since: None,
                    };
                    notes.insert(id.clone(), note);
                } else if let Some(note) = notes.get_mut(id).filter(|note| note.gateway_id == *gateway) {
                    note.missing_since.get_or_insert(now);
                }
            }
            Ok(())
        })
    }

    /// Directories whose subagent was gone at the last look.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn missing(&self) -> Result<Vec<Missing>, DocumentError> {
        let notes: Notes = self.notes.load()?;
        let missing = notes.into_iter().filter_map(|(subagent_id, note)| {
            let path = self.parent.join(&subagent_id);
            let named = Uuid::try_parse(&subagent_id).is_ok() && path.is_dir();
            named.then_some(())?;
            Some(Missing {
                subagent_id,
                path,
                since: note.missing_since?,
            })
        });
        Ok(missing.collect())
    }

    /// Removes a directory with everything in it; links in it are removed, not followed.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn remove(missing: &Missing) -> io::Result<()> {
        std::fs::remove_dir_all(&missing.path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::state::workspaces::Workspaces;

    fn host() -> (TempDir, OwnDirectories, Vec<String>) {
        let home = TempDir::new().unwrap();
        let state = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let workspaces = Workspaces::new(&state);
        let ids: Vec<String> = (0..3).map(|_| Uuid::new_v4().to_string()).collect();
        for id in &ids {
            workspaces.place(id, None).unwrap();
        }
        workspaces.place("by-hand", None).unwrap();
        (home, OwnDirectories::new(&state), ids)
    }

    fn gateway(name: &str) -> GatewayId {
        GatewayId::new(name).unwrap()
    }

    fn missing(own: &OwnDirectories) -> Vec<String> {
        own.missing()
            .unwrap()
            .into_iter()
            .map(|gone| gone.subagent_id)
            .collect()
    }

    #[test]
    fn only_what_its_own_gateway_had_before_can_be_missing() {
        let (_home, own, ids) = host();
        let (now, there) = (Timestamp::UNIX_EPOCH, BTreeSet::from([ids[0].clone()]));
        own.belongs(&ids[1], &gateway("g")).unwrap();
        let mut asked = own.ids().unwrap();
        asked.sort();
        let mut all = ids.clone();
        all.sort();
        assert_eq!(asked, all, "what is named by hand is left alone");
        own.saw(&gateway("g"), (&asked, &there), now).unwrap();
        assert_eq!(
            missing(&own),
            [ids[1].clone()],
            "the third was never seen to be anybody's"
        );
        let later = "2026-11-21T10:00:00Z".parse().unwrap();
        own.saw(&gateway("g"), (&asked, &BTreeSet::new()), later).unwrap();
        let found = own.missing().unwrap();
        let since = |id: &String| found.iter().find(|gone| gone.subagent_id == *id).unwrap().since;
        assert_eq!((since(&ids[0]), since(&ids[1])), (later, now));
        own.saw(&gateway("g"), (&asked, &there), later).unwrap();
        assert_eq!(
            missing(&own),
            [ids[1].clone()],
            "one that is there again is not missing"
        );
    }

    #[test]
    fn paired_anew_nothing_of_the_old_pairing_is_missing() {
        let (_home, own, ids) = host();
        ids.iter().for_each(|id| own.belongs(id, &gateway("old")).unwrap());
        own.saw(&gateway("new"), (&ids, &BTreeSet::new()), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(missing(&own), Vec::<String>::new());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let (home, own, ids) = host();
        let outside = home.path().join("outside");
        std::fs::create_dir_all(outside.join("kept")).unwrap();
        own.belongs(&ids[0], &gateway("g")).unwrap();
        own.saw(&gateway("g"), (&ids, &BTreeSet::new()), Timestamp::UNIX_EPOCH)
            .unwrap();
        let gone = own.missing().unwrap().remove(0);
        symlink(&outside, gone.path.join("way-out")).unwrap();
        OwnDirectories::remove(&gone).unwrap();
        assert!(!gone.path.exists() && outside.join("kept").is_dir());
        assert_eq!(missing(&own), Vec::<String>::new());
    }
}
