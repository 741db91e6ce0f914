//! The real agent CLIs, where `tests/run` installs them.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Claude Code.
pub(crate) fn claude() -> PathBuf {
    program("claude")
}

/// Codex, the native program.
pub(crate) fn codex() -> PathBuf {
    program("codex")
}

/// Gemini CLI; it needs [`path`].
pub(crate) fn gemini() -> PathBuf {
    program("gemini")
}

/// `PATH` with that directory of programs first.
#[expect(
    clippy::disallowed_methods,
    reason = "tests take the rest from their own environment"
)]
pub(crate) fn path(bin: &Path) -> OsString {
    let rest = std::env::var("PATH").unwrap();
    let dirs = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(dirs).unwrap()
}

/// Makes a directory with those CLIs alone, and the Node that Gemini needs.
pub(crate) fn link(dir: &Path, names: &[&str]) {
    std::fs::create_dir(dir).unwrap();
    for name in names.iter().chain(&["node"]) {
        std::os::unix::fs::symlink(program(name), dir.join(name)).unwrap();
    }
}

/// Makes a program of a script.
#[expect(clippy::disallowed_methods, reason = "a test's own files need no guard")]
pub(crate) fn write(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A temporary directory that is not below `/tmp`: there Codex does not install its sandbox helper.
pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// All of them, and the Node that Gemini needs.
pub(crate) fn bin() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("agent-clis/bin")
}

#[track_caller]
fn program(name: &str) -> PathBuf {
    let path = bin().join(name);
    assert!(path.exists(), "{} is not installed: run `tests/run`", path.display());
    path
}
