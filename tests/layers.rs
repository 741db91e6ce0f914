//! The architecture as a test: who may import whom, and how long a file may be.

#![expect(clippy::unwrap_used, reason = "a broken expectation in a test is a failed test")]
#![expect(clippy::string_slice, reason = "positions come from searches in the same text")]

use std::collections::{BTreeMap, BTreeSet};
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
    ("fake_model", 5),
    ("runtime", 6),
    ("cli", 7),
];
const MAX_LINES: usize = 500;
const P90_LINES: usize = 350;
const MEDIAN_LINES: usize = 150;

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

/// `(imported module, line number)` of every `crate::x` in the text, or whatever the root is called there; a group
/// reads as the module `{`.
fn imports(text: &str, root: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (line, code) in code_lines(text) {
        for rest in after_each(code, root) {
            let module: String = rest.chars().take_while(|c| is_word(*c)).collect();
            found.push((if module.is_empty() { "{".to_owned() } else { module }, line));
        }
    }
    found
}

/// What would hide an import from [`imports`], with its line number. `at_top`: the file is the `mod.rs` of a row.
fn detours(text: &str, at_top: bool) -> Vec<(&'static str, usize)> {
    const DETOURS: &[&str] = &["#[path", "super::super::", "include!(", "crate as ", "extern crate"];
    let mut found = Vec::new();
    for (line, code) in code_lines(text) {
        let named = DETOURS.iter().filter(|detour| code.contains(**detour));
        found.extend(named.map(|detour| (*detour, line)));
        // From there `super` is the crate; in the tests of the file it is the file.
        if at_top && after_each(code, "super::").any(|rest| !rest.starts_with('*')) {
            found.push(("super::", line));
        }
    }
    found
}

/// Lines with their numbers, comments cut off.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let cut = |line: &str| {
        let mut slashes = line.match_indices("//").map(|(at, _)| at);
        slashes.find(|at| !line[..*at].ends_with(':')).unwrap_or(line.len())
    };
    text.lines()
        .enumerate()
        .map(move |(index, line)| (index + 1, &line[..cut(line)]))
}

/// What follows each `root` that begins a path.
fn after_each<'a>(code: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    let begins = |before: &str| !before.strip_suffix("::").unwrap_or(before).ends_with(is_word);
    code.match_indices(root)
        .filter(move |(at, _)| begins(&code[..*at]))
        .map(|(at, _)| &code[at + root.len()..])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Why `importer` may not import `imported`, if it may not.
fn refusal(importer: &str, file: &str, imported: &str, rows: &BTreeMap<&str, u8>) -> Option<String> {
    if importer == "main.rs" {
        return (imported != "cli").then(|| "`main` only calls `cli`".to_owned());
    }
    let Some(other) = rows.get(imported) else {
        return Some(format!("`crate::{imported}` is no module of the table"));
    };
    let own = rows.get(importer)?;
    if importer == imported {
        return None;
    }
    if ["control_plane", "fake_model"].contains(&importer) && *other > 1 {
        return Some("it is the other end of a wire: rows 0-1 only".to_owned());
    }
    if importer == "provider" && imported == "process" && file != "provider/probe.rs" {
        return Some("only provider/probe.rs starts processes".to_owned());
    }
    if imported == "process" && (file == "cli/exec.rs" || file.starts_with("cli/job") || file.starts_with("cli/run")) {
        return Some("`exec`, `run` and `job` write rows and watch them, nothing else".to_owned());
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
        let file = inside.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        // The library cannot name itself otherwise without `extern crate`.
        let root = if file == "main.rs" { "gateway::" } else { "crate::" };
        for (imported, line) in imports(&text, root) {
            if let Some(why) = refusal(&importer, &file, &imported, &rows) {
                wrong.push(format!("{file}:{line}: {why}"));
            }
        }
        for (detour, line) in detours(&text, file == format!("{importer}/mod.rs")) {
            wrong.push(format!("{file}:{line}: `{detour}` hides what is imported"));
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
    let mut lengths: Vec<_> = files_below(&["src", "tests", "benches"])
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .collect();
    lengths.sort();
    let at = |percent: usize| lengths[lengths.len() * percent / 100].0;
    let (longest, path) = lengths.last().unwrap();
    assert!(
        *longest <= MAX_LINES,
        "{} has {longest} lines, the limit is {MAX_LINES}",
        path.display()
    );
    assert!(
        at(50) <= MEDIAN_LINES,
        "half of the files have {} lines or more",
        at(50)
    );
    assert!(at(90) <= P90_LINES, "a tenth of the files has {} lines or more", at(90));
}

#[test]
fn planted_faults_are_caught() {
    let rows: BTreeMap<_, _> = ROWS.iter().copied().collect();
    for text in [
        "use crate::{cli, job};",
        "use ::crate::{cli};",
        "use {crate::{cli}, std::io};",
    ] {
        assert_eq!(imports(text, "crate::"), [("{".to_owned(), 1)], "{text}");
    }
    assert_eq!(
        imports("\nlet url = \"http://x\"; crate::cli::main() // crate::job", "crate::"),
        [("cli".to_owned(), 2)]
    );
    assert_eq!(imports("use ::gateway::{cli};", "gateway::"), [("{".to_owned(), 1)]);
    assert!(imports("use crate::runtime::gateway::Plan;", "gateway::").is_empty());
    for text in [
        "#[path = \"../cli/mod.rs\"]",
        "use super::super::cli;",
        "use crate as all;",
        "include!(\"x.rs\");",
        "extern crate self as gateway;",
    ] {
        assert_eq!(detours(text, false).len(), 1, "{text}");
    }
    assert_eq!(detours("use super::cli;", true).len(), 1);
    assert_eq!(detours("    use super::*;", true).len(), 0);
    for (importer, file, imported) in [
        ("main.rs", "main.rs", "runtime"),
        ("domain", "domain/job.rs", "cli"),
        ("state", "state/fs.rs", "backend"),
        ("provider", "provider/health.rs", "process"),
        ("control_plane", "control_plane/auth.rs", "state"),
        ("fake_model", "fake_model/server.rs", "provider"),
        ("cli", "cli/job/watch.rs", "process"),
        ("job", "job/queue.rs", "{"),
    ] {
        assert!(
            refusal(importer, file, imported, &rows).is_some(),
            "{file} imports {imported}"
        );
    }
    assert!(refusal("main.rs", "main.rs", "cli", &rows).is_none());
    assert!(refusal("provider", "provider/probe.rs", "process", &rows).is_none());
    assert!(refusal("job", "job/queue.rs", "domain", &rows).is_none());
}

/// Rows of the fault matrix are the beginnings of test names.
fn row_tests(text: &str) -> impl Iterator<Item = &str> {
    let name = |rest: &'_ str| rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let names = text.split("fn ").skip(1).map(move |rest| &rest[..name(rest)]);
    names.filter(|name| {
        let row = name.split('_').next().unwrap_or_default();
        let digits = row.strip_prefix(|c| "ncipsalx".contains(c)).unwrap_or_default();
        name.contains('_') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `docs/RELIABILITY.md` names every test of the fault matrix, nothing else, and every row has one.
#[test]
fn the_table_of_faults_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/RELIABILITY.md")).unwrap();
    let files = files_below(&["tests/it"]);
    let texts: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let tests: BTreeSet<_> = texts.iter().flat_map(|text| row_tests(text)).collect();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let mut named = BTreeSet::new();
    for (row, rest) in rows.filter(|(row, _)| *row != "row") {
        let beginning = format!("{}_", row.to_lowercase());
        let of_row: Vec<_> = rest.split('`').filter(|name| name.starts_with(&beginning)).collect();
        assert!(!of_row.is_empty(), "row {row} has no test");
        named.extend(of_row);
    }
    assert_eq!(named, tests, "the table and the tests differ");
}
