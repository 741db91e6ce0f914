//! State directories to try things on, and a second process to share them with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gateway::config::paths::Paths;
use gateway::domain::ids::{GatewayId, TeamId};
use gateway::domain::secret::Secret;
use gateway::state::fs::OwnerDir;
use gateway::state::lock::StateLock;
use gateway::state::session::{Session, SessionStore};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const CHILD_DIR: &str = "GATEWAY_TEST_STATE_DIR";
const CHILD_TASK: &str = "GATEWAY_TEST_STATE_TASK";

pub(crate) fn home() -> (TempDir, Paths) {
    let home = tempfile::tempdir().unwrap();
    let paths = Paths::in_dir(home.path().join("state"));
    (home, paths)
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn put(path: &Path, text: &[u8]) {
    use std::io::Write as _;
    let mut options = fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(text).unwrap();
}

pub(crate) fn session() -> Session {
    Session {
        supabase_url: "http://127.0.0.1:1".to_owned(),
        anon_key: Secret::new("anon"),
        access_token: Secret::new("access"),
        refresh_token: Secret::new("refresh"),
        gateway_id: GatewayId::new("gateway").unwrap(),
        team_id: TeamId::new("team").unwrap(),
        full_control_enabled: false,
        device_name: None,
        provider_health: Map::new(),
        other: Map::new(),
    }
}

/// Runs [`child_process`] in a process of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "the test binary starts itself to be two processes"
)]
pub(crate) fn run_child(task: &str, paths: &Paths) -> std::process::Child {
    task_of(Command::new(std::env::current_exe().unwrap()), task, paths)
}

/// The same, with a disk that fails.
#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    reason = "the test binary starts itself to be two processes"
)]
pub(crate) fn run_child_on(disk: &super::bad_disk::BadDisk, task: &str, paths: &Paths) -> std::process::Child {
    let mut strace = Command::new("strace");
    strace.args(disk.before()).arg(std::env::current_exe().unwrap());
    task_of(strace, task, paths)
}

fn task_of(mut command: Command, task: &str, paths: &Paths) -> std::process::Child {
    command
        .args(["--exact", "support::state_dir::child_process"])
        .env(CHILD_DIR, &paths.dir)
        .env(CHILD_TASK, task)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("gave up waiting");
}

/// The other process of the tests above; without its variables it has nothing to do.
#[test]
fn child_process() {
    let (Some(dir), Some(task)) = (std::env::var_os(CHILD_DIR), std::env::var_os(CHILD_TASK)) else {
        return;
    };
    let paths = Paths::in_dir(PathBuf::from(dir));
    let task = task.into_string().unwrap();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    match task.as_str() {
        "hold_the_lock" => {
            let _held = StateLock::acquire(&dir, "gateway.lock").unwrap();
            dir.create_private("held").unwrap();
            loop {
                std::thread::park();
            }
        }
        "write_beyond_the_limit" => {
            limit_file_size(4096);
            assert!(dir.replace("gateway.json", &[b'x'; 10_000]).is_err());
        }
        "rotate_the_token" => {
            let rotated =
                SessionStore::new(&paths).update(|session| session.refresh_token = Secret::new("refresh-two"));
            // What matters is the file.
            drop(rotated);
        }
        "pair_again" => {
            let mut paired = session();
            paired.refresh_token = Secret::new("refresh-two");
            drop(SessionStore::new(&paths).create(paired, true));
        }
        "fill_the_log" => crate::log_file::child(&paths),
        task if task.starts_with("refresh ") => crate::matrix::refresh(task, &paths),
        task if task.starts_with("journal ") => crate::matrix::keep_a_journal(task, &paths),
        counter => {
            let store = SessionStore::new(&paths);
            for _ in 0..25 {
                store
                    .update(|session| {
                        let count = session.other.get(counter).and_then(Value::as_u64).unwrap_or(0);
                        session.other.insert(counter.to_owned(), json!(count + 1));
                    })
                    .unwrap();
            }
        }
    }
}

/// A disk that is full for this process: no file may grow beyond `bytes`.
pub(crate) fn limit_file_size(bytes: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    #[expect(unsafe_code, reason = "ignoring a signal has no handler that could be unsound")]
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, bytes.min(hard), hard).unwrap();
}
