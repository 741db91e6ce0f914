//! The state directory: permissions, links, strangers, torn writes, and the session file of other versions.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gateway::config::paths::Paths;
use gateway::domain::ids::{GatewayId, TeamId};
use gateway::domain::secret::Secret;
use gateway::state::fs::{FsError, OwnerDir};
use gateway::state::last_exit::{self, LastExit};
use gateway::state::lock::{LockError, StateLock};
use gateway::state::operator::{self, Operator};
use gateway::state::place;
use gateway::state::session::{Session, SessionError, SessionStore};
use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const CHILD_DIR: &str = "GATEWAY_TEST_STATE_DIR";
const CHILD_TASK: &str = "GATEWAY_TEST_STATE_TASK";

pub(crate) fn home() -> (TempDir, Paths) {
    let home = tempfile::tempdir().unwrap();
    let paths = Paths::in_dir(home.path().join("state"));
    (home, paths)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn put(path: &Path, text: &[u8]) {
    use std::io::Write as _;
    let mut options = fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(text).unwrap();
}

fn fixture(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state");
    fs::read(dir.join(name)).unwrap()
}

fn store_with(name: &str) -> (TempDir, SessionStore) {
    let (home, paths) = home();
    fs::create_dir(&paths.dir).unwrap();
    put(&paths.config_file, &fixture(name));
    (home, SessionStore::new(&paths))
}

fn session() -> Session {
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

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn everything_is_owner_only_and_a_loose_mode_is_repaired() {
    let (_home, paths) = home();
    let place = place::prepare(&paths).unwrap();
    place.dir.replace("a", b"1").unwrap();
    drop(place.dir.append("b").unwrap());
    place.dir.create_private("c").unwrap();
    for dir in [paths.dir.clone(), paths.tmp(), paths.work()] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    for file in ["a", "b", "c", "gateway.lock"] {
        assert_eq!(mode(&paths.dir.join(file)), 0o600, "{file}");
    }
    chmod(&paths.dir, 0o755);
    chmod(&paths.tmp(), 0o777);
    chmod(&paths.dir.join("a"), 0o644);
    let place = place::prepare(&paths).unwrap();
    assert_eq!(place.dir.read("a").unwrap().unwrap(), b"1");
    assert_eq!(
        [mode(&paths.dir), mode(&paths.tmp()), mode(&paths.dir.join("a"))],
        [0o700, 0o700, 0o600]
    );
}

#[test]
fn a_linked_state_directory_is_refused_with_the_command_that_mends_it() {
    let (home, paths) = home();
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    chmod(&elsewhere, 0o755);
    symlink(&elsewhere, &paths.dir).unwrap();
    let error = OwnerDir::open_or_create(&paths.dir).unwrap_err();
    assert!(matches!(error, FsError::Symlink { .. }), "{error}");
    assert!(error.to_string().contains(&format!("rm {}", paths.dir.display())));
    assert_eq!(mode(&elsewhere), 0o755);
}

#[test]
fn linked_files_are_neither_read_nor_written_nor_replaced() {
    let (home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let victim = home.path().join("victim");
    put(&victim, b"precious");
    chmod(&victim, 0o644);
    symlink(&victim, paths.dir.join("gateway.json")).unwrap();
    symlink(home.path().join("new"), paths.dir.join("dangling")).unwrap();
    let refused = |error: FsError| assert!(matches!(error, FsError::Symlink { .. }), "{error}");
    refused(dir.read("gateway.json").unwrap_err());
    refused(dir.replace("gateway.json", b"x").unwrap_err());
    refused(dir.append("gateway.json").unwrap_err());
    refused(dir.create_private("dangling").unwrap_err());
    assert!(matches!(
        SessionStore::new(&paths).load(),
        Err(SessionError::File(FsError::Symlink { .. }))
    ));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(mode(&victim), 0o644);
    assert!(!home.path().join("new").exists());
}

#[test]
fn a_fifo_or_directory_in_place_of_a_file_is_refused_at_once() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    nix::unistd::mkfifo(&paths.dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    dir.sub("folder").unwrap();
    for name in ["fifo", "folder"] {
        assert!(matches!(dir.read(name), Err(FsError::NotRegular { .. })), "{name}");
        assert!(matches!(dir.append(name), Err(FsError::NotRegular { .. })), "{name}");
    }
    for name in ["", ".", "..", "a/b", "/etc/passwd"] {
        assert!(matches!(dir.read(name), Err(FsError::BadName { .. })), "{name}");
    }
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    dir.replace("theirs", b"x").unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(paths.dir.join("theirs"), Some(12_345), None).unwrap();
        let error = dir.read("theirs").unwrap_err();
        assert!(matches!(error, FsError::ForeignOwner { owner: 12_345, .. }), "{error}");
        assert!(error.to_string().contains("chown $(id -un)"));
        assert!(dir.replace("theirs", b"y").is_err());
        std::os::unix::fs::chown(&paths.dir, Some(12_345), None).unwrap();
        let error = OwnerDir::open(&paths.dir).unwrap_err();
        assert!(matches!(error, FsError::ForeignOwner { .. }), "{error}");
    } else {
        let error = OwnerDir::open(Path::new("/usr")).unwrap_err();
        assert!(matches!(error, FsError::ForeignOwner { owner: 0, .. }), "{error}");
    }
}

#[test]
fn a_directory_chosen_by_hand_is_never_changed() {
    let (home, mut paths) = home();
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    chmod(&shared, 0o777);
    paths.log_file = shared.join("g.log");
    paths.pid_file = shared.join("g.pid");
    place::write_pid_file(&paths).unwrap();
    drop(gateway::state::log_file::RotatingLog::open(&paths).unwrap());
    assert_eq!(mode(&shared), 0o777);
    assert_eq!(mode(&paths.log_file), 0o600);
    assert_eq!(mode(&paths.pid_file), 0o600);

    paths.config_file = shared.join("g.json");
    let error = SessionStore::new(&paths).create(session(), true).unwrap_err();
    assert!(matches!(error, SessionError::File(FsError::Loose { .. })), "{error}");
    assert!(error.to_string().contains(&format!("chmod 700 {}", shared.display())));
    assert!(!paths.config_file.exists());

    chmod(&shared, 0o755);
    SessionStore::new(&paths).create(session(), true).unwrap();
    assert_eq!(mode(&shared), 0o755);
    assert_eq!(mode(&paths.config_file), 0o600);
}

#[test]
fn a_writer_killed_before_its_rename_leaves_the_old_file_and_no_litter_for_long() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    dir.replace("gateway.json", b"old").unwrap();
    let (stale, fresh) = (
        paths.dir.join(".gateway.json.tmp-1"),
        paths.dir.join(".gateway.json.tmp-2"),
    );
    put(&stale, b"to");
    put(&fresh, b"to");
    let long_ago = nix::sys::time::TimeSpec::new(1_000_000_000, 0);
    nix::sys::stat::utimensat(
        nix::fcntl::AT_FDCWD,
        &stale,
        &long_ago,
        &long_ago,
        nix::sys::stat::UtimensatFlags::NoFollowSymlink,
    )
    .unwrap();
    let dir = OwnerDir::open_or_create(dir.path()).unwrap();
    assert_eq!(dir.read("gateway.json").unwrap().unwrap(), b"old");
    assert!(!stale.exists(), "an abandoned file is removed");
    assert!(fresh.exists(), "a file that may have a writer stays");
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    dir.replace("gateway.json", b"old").unwrap();
    assert_eq!(
        run_child("write_beyond_the_limit", &paths).wait().unwrap().code(),
        Some(0)
    );
    assert_eq!(dir.read("gateway.json").unwrap().unwrap(), b"old");
    assert_eq!(dir.names().unwrap(), ["gateway.json"]);
}

#[test]
fn the_state_moves_to_the_fallback_and_is_found_there() {
    let home = tempfile::tempdir().unwrap();
    // A file where the directory's parent should be: also root cannot write below it.
    let (default, fallback) = (home.path().join("ro"), home.path().join("fallback"));
    fs::create_dir(&default).unwrap();
    put(&default.join("gateway.json"), &fixture("full.json"));
    let mut paths = Paths::in_dir(&default);
    paths.fallback_dir = Some(fallback.clone());
    let moved = if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&default, Some(12_345), None).unwrap();
        place::prepare(&paths).unwrap()
    } else {
        chmod(&default, 0o500);
        place::prepare(&paths).unwrap()
    };
    assert_eq!(moved.paths.dir, fallback);
    let from = moved.moved_from.expect("it moved");
    assert_eq!(from.dir, default);
    assert!(fallback.join("in-use").is_file());
    let session = SessionStore::new(&moved.paths).load().unwrap();
    assert_eq!(session.is_some(), from.session_copied);
    paths.fallback_dir = None;
    assert!(
        place::prepare(&paths).is_err(),
        "a directory chosen by hand never moves"
    );
}

#[test]
fn one_holder_at_a_time_and_its_name_is_known() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    assert_eq!(StateLock::holder(&dir, "gateway.lock").unwrap(), None);
    let held = StateLock::acquire(&dir, "gateway.lock").unwrap();
    let pid = Some(std::process::id());
    assert_eq!(StateLock::holder(&dir, "gateway.lock").unwrap().unwrap().pid, pid);
    let error = StateLock::acquire(&dir, "gateway.lock").unwrap_err();
    assert!(matches!(error, LockError::Held { pid: by, .. } if by == pid), "{error}");
    drop(held);
    assert_eq!(StateLock::holder(&dir, "gateway.lock").unwrap(), None);
    // The text of a dead holder means nothing, whatever it says.
    dir.replace("gateway.lock", b"-1 garbage").unwrap();
    StateLock::acquire(&dir, "gateway.lock").unwrap();
}

#[test]
fn a_killed_holder_lets_go() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let mut child = run_child("hold_the_lock", &paths);
    wait_for(|| paths.dir.join("held").exists());
    let holder = StateLock::holder(&dir, "gateway.lock").unwrap().unwrap();
    assert_eq!(holder.pid, Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    StateLock::acquire(&dir, "gateway.lock").unwrap();
}

#[test]
fn processes_that_change_the_session_at_once_lose_nothing() {
    let (_home, paths) = home();
    SessionStore::new(&paths).create(session(), false).unwrap();
    let children: Vec<_> = ["count_a", "count_b"].map(|task| run_child(task, &paths)).into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let session = SessionStore::new(&paths).load().unwrap().unwrap();
    assert_eq!(session.other["count_a"], json!(25));
    assert_eq!(session.other["count_b"], json!(25));
}

#[test]
fn files_of_other_versions_are_read_as_they_are() {
    let (_home, store) = store_with("full.json");
    let full = store.load().unwrap().unwrap();
    assert_eq!(full.supabase_url, "https://backend.example/");
    assert_eq!(full.refresh_token.expose(), "refresh-one");
    assert_eq!(full.device_name.as_deref(), Some("Büro-Mac"));
    assert!(full.full_control_enabled && !full.is_vm_guest());
    assert_eq!(full.provider_health.len(), 2);

    let (_home, store) = store_with("minimal.json");
    let minimal = store.load().unwrap().unwrap();
    assert!(!minimal.full_control_enabled && minimal.provider_health.is_empty());

    let (_home, store) = store_with("null.json");
    assert_eq!(store.load().unwrap(), None);
    assert!(matches!(store.update(|_| {}), Err(SessionError::NotPaired { .. })));

    let (_home, store) = store_with("vm_guest.json");
    let guest = store.load().unwrap().unwrap();
    assert!(guest.is_vm_guest() && store.is_vm_guest().unwrap());
    assert_eq!(guest.other.keys().collect::<Vec<_>>(), ["vmGuest", "zebra", "apple"]);

    let (_home, store) = store_with("unpaired_guest.json");
    assert_eq!(store.load().unwrap(), None);
    assert!(store.is_vm_guest().unwrap());

    let (_home, store) = store_with("unknown_provider.json");
    let odd = store.load().unwrap().unwrap();
    assert!(!odd.full_control_enabled, "only a literal true counts");
    assert_eq!(odd.provider_health["qwen"]["status"], "dizzy");
}

#[test]
fn missing_unreadable_corrupt_and_incomplete_are_told_apart() {
    let (_home, paths) = home();
    assert_eq!(SessionStore::new(&paths).load().unwrap(), None);
    let (_home, store) = store_with("incomplete.json");
    let error = store.load().unwrap_err();
    assert!(error.requires_pairing());
    assert!(error.to_string().contains("refreshToken, teamId missing"), "{error}");
    for (text, reason) in [
        (&b"{\"accessToken\": \"hunter2\""[..], "invalid JSON"),
        (b"", "invalid JSON"),
        (b"[]", "no JSON object"),
        (b"{\"teamId\": 7}", "$.teamId"),
        (b"\xff\xfe", "invalid JSON"),
    ] {
        put(store.path(), text);
        let error = store.load().unwrap_err();
        assert!(matches!(error, SessionError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(reason) && !text.contains("hunter2"), "{text}");
    }
    fs::remove_file(store.path()).unwrap();
    fs::create_dir(store.path()).unwrap();
    assert!(matches!(store.load(), Err(SessionError::File(_))));
}

#[test]
fn an_update_keeps_order_unknown_members_and_what_others_wrote() {
    let (_home, store) = store_with("unknown_provider.json");
    let before = json_of(store.path());
    store.update(|session| session.full_control_enabled = true).unwrap();
    let after = json_of(store.path());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&after), keys(&before));
    let mut expected = before;
    expected["full_control_enabled"] = json!(true);
    assert_eq!(after, expected);
    let text = fs::read_to_string(store.path()).unwrap();
    assert!(
        text.starts_with("{\n  \"futureFirst\": 1,\n  \"supabaseUrl\""),
        "{text}"
    );
    assert!(!text.ends_with('\n'));
    assert_eq!(mode(store.path()), 0o600);
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let (_home, store) = store_with("minimal.json");
    let before = fs::metadata(store.path()).unwrap().ino();
    store.update(|_| {}).unwrap();
    assert_eq!(fs::metadata(store.path()).unwrap().ino(), before);
}

#[test]
fn pairing_again_keeps_the_guest_identity_and_unknown_members() {
    for name in ["vm_guest.json", "unpaired_guest.json"] {
        let (_home, store) = store_with(name);
        let old = json_of(store.path());
        store.create(session(), true).unwrap();
        let new = json_of(store.path());
        assert_eq!(new["vmGuest"], old["vmGuest"]);
        assert_eq!(new["zebra"], old["zebra"]);
        assert_eq!(new["refreshToken"], "refresh");
        assert!(store.load().unwrap().unwrap().is_vm_guest());
    }
    let (_home, store) = store_with("vm_guest.json");
    store.create(session(), false).unwrap();
    assert_eq!(json_of(store.path()).get("vmGuest"), None);
}

#[test]
fn the_generation_before_is_kept_until_the_new_tokens_were_used() {
    let (_home, store) = store_with("vm_guest.json");
    store
        .update(|session| session.refresh_token = Secret::new("refresh-two"))
        .unwrap();
    let previous = store.previous().unwrap().unwrap();
    assert_eq!(previous.refresh_token.expose(), "refresh-one");
    put(store.path(), b"");
    let found = store.load().unwrap().unwrap();
    assert_eq!(found.refresh_token.expose(), "refresh-one");
    store.confirm().unwrap();
    assert_eq!(store.previous().unwrap(), None);
    assert!(store.load().is_err());
    assert!(store.wipe().unwrap());
    assert_eq!(store.load().unwrap(), None);
}

#[tokio::test]
async fn only_one_process_refreshes_and_changes_go_on_meanwhile() {
    let (_home, store) = store_with("minimal.json");
    let guard = store.refresh_guard().await.unwrap();
    store
        .update(|session| session.device_name = Some("x".to_owned()))
        .unwrap();
    let other = store.clone();
    let mut second = std::pin::pin!(other.refresh_guard());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(guard);
    drop(second.await.unwrap());
}

#[test]
fn operator_and_last_exit_round_trip() {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let operator = Operator {
        url: "http://127.0.0.1:1".to_owned(),
        anon_key: Secret::new("k"),
        token: Secret::new("gwop_x"),
        team_id: TeamId::new("t").unwrap(),
    };
    assert_eq!(operator::load(&dir).unwrap(), None);
    operator::save(&dir, &operator).unwrap();
    assert_eq!(operator::load(&dir).unwrap(), Some(operator));
    assert_eq!(mode(&paths.operator_file()), 0o600);
    assert!(operator::wipe(&dir).unwrap() && !operator::wipe(&dir).unwrap());

    let exit = LastExit::of_this_process(1, "session refused", Some("gateway pair CODE".to_owned()));
    last_exit::save(&dir, &exit).unwrap();
    assert_eq!(last_exit::load(&dir).unwrap(), Some(exit));
    dir.replace("last_exit.json", b"{").unwrap();
    assert_eq!(last_exit::load(&dir).unwrap(), None);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = proptest::prop_oneof![
        proptest::strategy::Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn unknown_members_survive_a_round_trip(
        unknown in prop::collection::vec(("x_[^\0]{0,12}", json_value()), 0..6),
        token in any::<String>(),
    ) {
        let (_home, store) = store_with("minimal.json");
        let mut file = json_of(store.path());
        for (key, value) in &unknown {
            file[key] = value.clone();
        }
        put(store.path(), serde_json::to_string(&file).unwrap().as_bytes());
        store.update(|session| session.access_token = Secret::new(token.clone())).unwrap();
        file["accessToken"] = Value::from(token);
        let after = json_of(store.path());
        let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut expected = order(&file);
        expected.push("full_control_enabled".to_owned());
        assert_eq!(order(&after), expected);
        file["full_control_enabled"] = json!(false);
        assert_eq!(after, file);
    }
}

/// Runs [`child_process`] in a process of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "the test binary starts itself to be two processes"
)]
pub(crate) fn run_child(task: &str, paths: &Paths) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::child_process"])
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
        "fill_the_log" => crate::log_file::child(&paths),
        "fill_the_journal" | "claim_for_ever" => crate::journal::child(&task, &paths),
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
