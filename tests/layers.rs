//! The architecture as a test: who may import whom, and how long a file may be.

#![expect(clippy::unwrap_used, reason = "a broken expectation in a test is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module may import modules of rows above its own, never of its own row.
const ROWS: &[(&str, u8)] = &[
    ("domain", 0),
    ("wire", 1),
    ("config", 1),
    ("state", 2),
    ("backend", 2),
    ("process", 2),
    ("provider", 3),
    ("job", 4),
    ("control_plane", 5),
    ("runtime", 6),
    ("cli", 7),
];
const MAX_LINES: usize = 500;

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn files_below(dirs: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in dirs.iter().map(|dir| root.join(dir)).filter(|dir| dir.is_dir()) {
        rust_files(&dir, &mut found);
    }
    found
}

/// `(imported module, line number)` of every `crate::x` in the text; a group reads as the module `{`.
fn imports(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for rest in code.split("crate::").skip(1) {
            let module: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((if module.is_empty() { "{".to_owned() } else { module }, index + 1));
        }
    }
    found
}

/// Why `importer` may not import `imported`, if it may not.
fn refusal(importer: &str, file: &str, imported: &str, rows: &BTreeMap<&str, u8>) -> Option<String> {
    let (own, other) = (rows.get(importer)?, rows.get(imported));
    let Some(other) = other else {
        return Some(format!("`crate::{imported}` is no module of the table"));
    };
    if importer == imported {
        return None;
    }
    if importer == "control_plane" && *other > 1 {
        return Some("the control plane is the other end of the wire: rows 0-1 only".to_owned());
    }
    if importer == "provider" && imported == "process" && file != "probe.rs" {
        return Some("only provider/probe.rs starts processes".to_owned());
    }
    (other >= own).then(|| format!("row {own} may not import row {other} (`{imported}`)"))
}

#[test]
fn imports_only_go_up() {
    let rows: BTreeMap<_, _> = ROWS.iter().copied().collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in files_below(&["src"]) {
        let inside = path.strip_prefix(&src).unwrap();
        let importer = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let file = inside.file_name().unwrap().to_string_lossy().into_owned();
        for (imported, line) in imports(&fs::read_to_string(&path).unwrap()) {
            if let Some(why) = refusal(&importer, &file, &imported, &rows) {
                wrong.push(format!("{}:{line}: {why}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_is_in_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            ["main", "lib"].contains(&name.as_str()) || ROWS.iter().any(|(module, _)| *module == name),
            "{name} has no row"
        );
    }
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = files_below(&["src", "tests", "benches"])
        .into_iter()
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (lines > MAX_LINES).then(|| format!("{} has {lines} lines, the limit is {MAX_LINES}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn planted_faults_are_caught() {
    let rows: BTreeMap<_, _> = ROWS.iter().copied().collect();
    assert_eq!(imports("use crate::{cli, job};"), [("{".to_owned(), 1)]);
    assert!(refusal("domain", "job.rs", "cli", &rows).is_some());
    assert!(refusal("state", "fs.rs", "backend", &rows).is_some());
    assert!(refusal("control_plane", "auth.rs", "state", &rows).is_some());
    assert!(refusal("job", "queue.rs", "{", &rows).is_some());
    assert!(refusal("job", "queue.rs", "domain", &rows).is_none());
}
