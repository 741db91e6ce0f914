//! `gateway workspace`: where the owner lets agents work.

use std::os::unix::fs::symlink;

use crate::support::home::Home;
use crate::support::state_dir::mode;

#[test]
fn directories_are_allowed_listed_and_taken_back() {
    let home = Home::new();
    let none = home.gateway(&["workspace", "list"]).ok();
    assert!(none.stdout.contains("gateway workspace add DIR"), "{none:?}");
    let code = home.path().join("code");
    std::fs::create_dir(&code).unwrap();
    symlink(&code, home.path().join("link")).unwrap();
    let real = std::fs::canonicalize(&code).unwrap();
    let added = home.gateway(&["workspace", "add", "link"]).ok();
    assert!(added.stdout.starts_with("OK Agents may work in "), "{added:?}");
    let again = home.gateway(&["workspace", "add", "code", "--json"]).ok().json();
    assert_eq!(again["workspaces"], serde_json::json!([real]));
    assert_eq!(
        home.gateway(&["workspace", "list"]).ok().stdout,
        format!("{}\n", real.display())
    );
    assert_eq!(mode(&home.state().join("workspaces.json")), 0o600);
    std::fs::remove_dir(&code).unwrap();
    home.gateway(&["workspace", "remove", real.to_str().unwrap()]).ok();
    let gone = home.gateway(&["workspace", "remove", "code"]).exits(1);
    assert!(gone.stderr.contains("gateway workspace list"), "{gone:?}");
    let missing = home.gateway(&["workspace", "add", "code"]).exits(1);
    assert!(missing.stderr.contains("no agent can work in code"), "{missing:?}");
}

#[test]
fn two_who_allow_at_once_both_count() {
    let home = Home::new();
    let names: Vec<String> = (0..8).map(|number| format!("d{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            std::fs::create_dir(home.path().join(name)).unwrap();
            home.command(&["workspace", "add", name]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = home.gateway(&["workspace", "list", "--json"]).ok().json();
    assert_eq!(list["workspaces"].as_array().unwrap().len(), names.len());
}
