//! A cgroup (version 2) of its own for every job: whatever a job starts is born in it, whatever it does to its group,
//! session or environment, and `cgroup.kill` ends all of it at once. Only a process that may write to our own cgroup,
//! such as one of root's, can leave.
//!
//! The cgroups are leaves of one directory in our own cgroup, named after the jobs, so that the next daemon finds
//! those of the last. Older kernels, other systems and places that are not ours to write have none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::process::group::{FIRST_LOOK, KILL_DEADLINE, LONGEST_PAUSE};
use crate::process::identity::ProcessIdentity;
use crate::process::mark::Swept;

/// The directory of all leaves.
const TREE: &str = "gateway";
const PREFIX: &str = "job-";
/// Ids that are no plain names get no leaf.
const LONGEST_NAME: usize = 128;
/// A leaf this young may be waiting for its first process.
const YOUNG: Duration = Duration::from_mins(1);

/// Where the leaves are, or why there are none.
pub(super) fn tree() -> Result<&'static Path, &'static str> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| prepare(&own()?));
    found.as_ref().map(PathBuf::as_path).map_err(String::as_str)
}

/// The cgroup of one job.
#[derive(Debug)]
pub(super) struct Leaf(PathBuf);

impl Leaf {
    /// Makes it, or finds it: a job may start several processes one after the other.
    pub(super) fn of(job: &str) -> Option<Self> {
        let dir = place(job)?;
        match fs::create_dir_all(&dir) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "A job gets no cgroup of its own");
                None
            }
        }
    }

    /// Where a process joins before it is what it is to be: nothing it starts can be born elsewhere.
    pub(super) fn door(&self) -> io::Result<File> {
        open(&self.0.join("cgroup.procs"))
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether the process has joined it.
    pub(super) fn has(&self, process: ProcessIdentity) -> bool {
        let joined = |pid| u32::try_from(pid) == Ok(process.pid);
        members(&self.0).into_iter().any(joined)
    }

    /// Ends everybody in it, without waiting for that.
    pub(super) fn kill(&self) {
        kill(&self.0);
    }

    /// Takes it away, unless somebody is in it; whether it is gone.
    pub(super) fn remove(&self) -> bool {
        remove(&self.0)
    }
}

/// Ends whatever is in the cgroups of these jobs, and takes them away.
pub(super) async fn end<'a>(jobs: impl IntoIterator<Item = &'a str>) -> Swept {
    end_all(jobs.into_iter().filter_map(place).collect()).await
}

/// The same of one that an earlier daemon made, which may have been in another cgroup than we are.
pub(super) async fn end_of_earlier(dir: &Path, job: &str) -> Swept {
    let name = dir.file_name().and_then(|name| name.to_str());
    let is_its = is_plain(job) && name.and_then(|name| name.strip_prefix(PREFIX)) == Some(job);
    // Only where it still is a cgroup, and its own.
    let dirs = (is_its && dir.join("cgroup.kill").is_file()).then(|| dir.to_owned());
    end_all(dirs.into_iter().collect()).await
}

async fn end_all(mut left: Vec<PathBuf>) -> Swept {
    left.retain(|dir| dir.is_dir());
    let found = left.iter().flat_map(|dir| members(dir)).collect();
    let deadline = Instant::now() + KILL_DEADLINE;
    let mut pause = FIRST_LOOK;
    loop {
        left.iter().for_each(|dir| kill(dir));
        left.retain(|dir| is_populated(dir) || !remove(dir));
        if left.is_empty() || Instant::now() >= deadline {
            let survivors = left.iter().flat_map(|dir| members(dir)).collect();
            return Swept { found, survivors };
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Takes away the cgroups in which nobody is any more, such as those of background work that has ended.
pub(super) fn tidy() {
    let Ok(tree) = tree() else { return };
    for dir in below(tree).filter(|dir| is_old(dir)) {
        remove(&dir);
    }
    // Not while a leaf is in it.
    drop(fs::remove_dir(tree));
}

fn is_old(dir: &Path) -> bool {
    let made = dir.metadata().and_then(|about| about.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUNG))
}

/// Whether a job's id can name a leaf.
pub(super) fn is_plain(job: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !job.is_empty() && job.len() <= LONGEST_NAME && job.bytes().all(plain)
}

fn place(job: &str) -> Option<PathBuf> {
    let tree = tree().ok().filter(|_| is_plain(job))?;
    Some(tree.join(format!("{PREFIX}{job}")))
}

fn open(file: &Path) -> io::Result<File> {
    File::options().write(true).open(file)
}

fn kill(dir: &Path) {
    match open(&dir.join("cgroup.kill")).and_then(|mut file| file.write_all(b"1")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "Could not end a cgroup");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Zombies do not count. What cannot be read is gone.
fn is_populated(dir: &Path) -> bool {
    let events = fs::read_to_string(dir.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

fn members(dir: &Path) -> Vec<i32> {
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    members.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Also what a job made in it, a gateway for instance. False while somebody is in it.
fn remove(dir: &Path) -> bool {
    for inner in below(dir) {
        remove(&inner);
    }
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn below(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path())
}

/// The directory of our own cgroup.
fn own() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (groups, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let path = own_path(&groups).ok_or("this process is in no cgroup of version 2")?;
    directory(&path, &mounts).ok_or_else(|| "no cgroup of version 2 is mounted that we are in".to_owned())
}

fn own_path(groups: &str) -> Option<PathBuf> {
    groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(PathBuf::from)
}

/// Where the cgroup `path` lies on disk. A container may see a part of the tree only.
fn directory(path: &Path, mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let inside = path.strip_prefix(root).ok()?;
        let ours = kind.starts_with("cgroup2 ") && !path.iter().any(|name| name == "..");
        ours.then(|| Path::new(point).join(inside))
    })
}

/// Makes the directory of the leaves and tries the doors: to move a process takes leave at its old and its new cgroup.
fn prepare(own: &Path) -> Result<PathBuf, String> {
    let tree = own.join(TREE);
    let said = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&tree).map_err(|error| said(&tree, error))?;
    for door in [
        own.join("cgroup.procs"),
        tree.join("cgroup.procs"),
        tree.join("cgroup.kill"),
    ] {
        open(&door).map_err(|error| said(&door, error))?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
33 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let pure = "31 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let path = own_path("9:name=systemd:/\n0::/user.slice/a\n").unwrap();
        assert_eq!(
            directory(&path, HYBRID),
            Some("/sys/fs/cgroup/unified/user.slice/a".into())
        );
        assert_eq!(directory(&path, pure), Some("/sys/fs/cgroup/user.slice/a".into()));
        assert_eq!(own_path("4:memory:/\n"), None);
        assert_eq!(directory(&path, ""), None);
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let part = "31 23 0:27 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup rw";
        let found = |path: &str| directory(Path::new(path), part);
        assert_eq!(found("/docker/x/y"), Some("/sys/fs/cgroup/y".into()));
        assert_eq!(found("/docker/other"), None);
        assert_eq!(directory(Path::new("/../other"), HYBRID), None);
    }

    #[test]
    fn only_a_plain_name_makes_a_directory() {
        assert!(is_plain("3f0c-1_a.b"));
        for other in ["", "a/b", "a b", "a\nb", &"x".repeat(200)] {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn only_who_has_joined_is_held() {
        // Wherever there are files of that name.
        let dir = tempfile::tempdir().unwrap();
        let mut members = File::create_new(dir.path().join("cgroup.procs")).unwrap();
        members.write_all(b"70\n7\n").unwrap();
        let leaf = Leaf(dir.path().to_path_buf());
        let has = |pid| {
            leaf.has(ProcessIdentity {
                pid,
                pgid: pid,
                start_ticks: None,
            })
        };
        assert_eq!([7, 70, 0, 700].map(has), [true, true, false, false]);
        assert!(!Leaf(dir.path().join("gone")).has(ProcessIdentity {
            pid: 7,
            pgid: 7,
            start_ticks: None
        }));
    }
}
