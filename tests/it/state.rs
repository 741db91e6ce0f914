//! The state directory: permissions, links, strangers, torn writes, locks, and the move to the fallback.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use gateway::config::paths::Paths;
use gateway::domain::ids::TeamId;
use gateway::domain::secret::Secret;
use gateway::state::fs::{FsError, OwnerDir};
use gateway::state::last_exit::{self, LastExit};
use gateway::state::lock::{LockError, StateLock};
use gateway::state::operator::{self, Operator};
use gateway::state::place;
use gateway::state::session::{SessionError, SessionStore};

use crate::support::state_dir::{home, mode, put, run_child, session, wait_for};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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
    let (locked, fallback) = (home.path().join("locked"), home.path().join("fallback"));
    let default = locked.join("state");
    let mut paths = Paths::in_dir(&default);
    fs::create_dir(&locked).unwrap();
    if nix::unistd::geteuid().is_root() {
        // Modes do not stop root; a stranger's directory does.
        SessionStore::new(&paths).create(session(), false).unwrap();
        std::os::unix::fs::chown(&default, Some(12_345), None).unwrap();
    } else {
        chmod(&locked, 0o500);
    }
    paths.fallback_dir = Some(fallback.clone());
    let moved = place::prepare(&paths).unwrap();
    assert_eq!(moved.paths.dir, fallback);
    let from = moved.moved_from.expect("it moved");
    assert_eq!(from.dir, default);
    assert!(fallback.join("in-use").is_file());
    assert_eq!(place::instead_of(&moved.dir).as_deref(), default.to_str());
    // A stranger's session is not taken along.
    assert!(!from.session_copied && SessionStore::new(&moved.paths).load().unwrap().is_none());
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

    let exit = LastExit {
        at: "2026-11-21T07:08:28.847Z".parse().unwrap(),
        ..LastExit::of_this_process(1, "session refused", Some("gateway pair CODE".to_owned()))
    };
    last_exit::save(&dir, &exit).unwrap();
    assert_eq!(last_exit::load(&dir).unwrap(), Some(exit));
    dir.replace("last_exit.json", b"{").unwrap();
    assert_eq!(last_exit::load(&dir).unwrap(), None);
}
