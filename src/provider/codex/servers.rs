//! MCP servers that the owner has set up for their own Codex. Started in a run that may not do everything they would
//! give it tools that no sandbox confines, so such a run switches each of them off by its name.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Makes Codex list them.
pub const LIST: [&str; 3] = ["mcp", "list", "--json"];
/// What every configuration that has such a server says.
const WORD: &str = "mcp_servers";
const OF_THE_HOST: [&str; 2] = ["/etc/codex/config.toml", "/etc/codex/managed_config.toml"];

/// Whether a run in `cwd` may start any: some configuration speaks of them. `home` is what Codex keeps its own in.
#[must_use]
pub fn may_be_any(home: Option<&Path>, cwd: &Path) -> bool {
    let projects = cwd.ancestors().map(|dir| dir.join(".codex"));
    let dirs = home.map(Path::to_path_buf).into_iter().chain(projects);
    let mut files = dirs
        .map(|dir| dir.join("config.toml"))
        .chain(OF_THE_HOST.map(PathBuf::from));
    files.any(|path| may_name_any(&path))
}

/// What cannot be read may say anything.
fn may_name_any(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(text) => String::from_utf8_lossy(&text).contains(WORD),
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ),
    }
}

/// The names in what Codex listed.
///
/// # Errors
/// Why they cannot be told. A run must not be started on the guess that there are none.
pub fn named(listed: Result<Vec<u8>, String>) -> Result<Vec<String>, String> {
    let failed = |why: &str| format!("Codex did not tell which MCP servers its owner has set up: {why}");
    let listed = listed.map_err(|error| failed(&error))?;
    let listed: Vec<Value> = serde_json::from_slice(&listed).map_err(|error| failed(&error.to_string()))?;
    let name = |server: &Value| server.get("name").and_then(Value::as_str).map(str::to_owned);
    listed
        .iter()
        .map(|server| name(server).ok_or_else(|| failed("one has no name")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_none_is_no_empty_list() {
        let listed = br#"[{"name":"a","enabled":true},{"name":"b c"}]"#.to_vec();
        assert_eq!(named(Ok(listed)), Ok(vec!["a".to_owned(), "b c".to_owned()]));
        for broken in [Err("gone".to_owned()), Ok(b"none".to_vec()), Ok(b"[{}]".to_vec())] {
            assert!(named(broken).unwrap_err().contains("MCP servers"));
        }
    }

    #[test]
    fn codex_is_asked_only_where_a_configuration_speaks_of_servers() {
        let home = tempfile::tempdir().unwrap();
        let cwd = home.path().join("project/deep");
        std::fs::create_dir_all(cwd.join("../.codex")).unwrap();
        assert!(!may_be_any(Some(home.path()), &cwd));
        std::os::unix::fs::symlink("/nowhere", home.path().join("config.toml")).unwrap();
        assert!(!may_be_any(Some(home.path()), &cwd));
        // A directory cannot be read as a file.
        std::fs::create_dir(home.path().join("project/.codex/config.toml")).unwrap();
        assert!(may_be_any(None, &cwd));
    }
}
