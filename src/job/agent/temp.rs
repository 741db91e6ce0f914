//! A run's own directory for temporary files: what a CLI leaves there is gone with the run.
//!
//! Its name is short, for sockets are made in it, whose paths may have about a hundred bytes.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::scratch::remove;
use crate::process::env::ChildEnv;
use crate::process::mark;

const PREFIX: &str = "run-";
/// Of a mark its end is unique.
const NAME_CHARS: usize = 12;

/// Such a directory.
#[derive(Debug)]
pub(super) struct Temp(PathBuf);

impl Temp {
    /// Makes it where the environment wants temporary files; none where it wants them nowhere.
    pub(super) fn create(env: &ChildEnv, mark: &str) -> io::Result<Option<Self>> {
        let Some(base) = env.get("TMPDIR") else {
            return Ok(None);
        };
        let path = Path::new(base).join(name(mark));
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Some(Self(path)))
    }

    /// The environment with it.
    pub(super) fn surround(&self, env: ChildEnv) -> ChildEnv {
        env.with_temp_dir(&self.0)
    }

    /// Removes it, unless something with this mark is still at work and may need it.
    pub(super) async fn remove(self, needed_by: Option<&str>) {
        if std::fs::remove_dir(&self.0).is_ok() {
            return;
        }
        let mark = needed_by.map(str::to_owned);
        let removing = spawn_blocking(move || {
            if !mark.is_some_and(|mark| mark::at_work().contains(&mark)) {
                remove(&self.0);
            }
        });
        // It is not waited for where the daemon ends.
        drop(removing.await);
    }
}

/// Removes what runs have left in `base` that are over with everything they started.
pub fn clear_temp(base: &Path) {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut left: Vec<_> = names.filter(|name| name.starts_with(PREFIX)).collect();
    if left.is_empty() {
        return;
    }
    let used: HashSet<_> = mark::at_work().iter().map(|mark| name(mark)).collect();
    left.retain(|name| !used.contains(name));
    left.iter().for_each(|name| remove(&base.join(name)));
}

fn name(mark: &str) -> String {
    let skipped = mark.chars().count().saturating_sub(NAME_CHARS);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let end: String = mark.chars().skip(skipped).map(plain).collect();
    format!("{PREFIX}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_run_left_is_cleared_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        for name in ["run-dead/deep", "mine"] {
            std::fs::create_dir_all(base.path().join(name)).unwrap();
        }
        clear_temp(base.path());
        let left = |name: &str| base.path().join(name).exists();
        assert_eq!((left("run-dead"), left("mine")), (false, true));
        clear_temp(&base.path().join("none"));
    }

    #[test]
    fn names_are_short_and_stay_inside() {
        assert_eq!(name("01a1fbb6-25d3-4471-8b5a-ff18f24241f0"), "run-ff18f24241f0");
        assert_eq!(name("../é"), "run-----");
    }
}
