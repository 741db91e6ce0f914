//! Cancelled turns on the real agent CLIs: final in time, nothing of them alive, nothing of theirs left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::at_work::{AtWork, Way};
use crate::support::stage::Stage;

/// Everything below a directory.
fn listing(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path);
    }
    found
}

/// Cancelled in every way while its shell sleeps, in a session of its own, too.
async fn while_its_shell_sleeps(agent: &str) {
    let stage = Stage::new(&[agent]).await;
    let dir = stage.workspace("project").await;
    std::fs::create_dir(dir.join(".git")).unwrap();
    stage.file("project/notes.txt", "mine");
    let script = "[[tool:bash setsid sh -c 'echo >there; exec sleep 600' & echo >here; sleep 600]]";
    let words = [
        "--provider",
        agent,
        "--full-control",
        "--cwd",
        dir.to_str().unwrap(),
        script,
    ];
    for way in [Way::SubagentCancel, Way::Interrupt, Way::JobCancel] {
        let turn = AtWork::start(&stage, &words).await;
        let written = ["here", "there"].map(|name| dir.join(name));
        turn.until(&stage, "both to sleep", || written.iter().all(|path| path.exists()))
            .await;
        turn.ends(&stage, way).await;
        let before = [".git", "notes.txt"].map(|name| dir.join(name));
        let expected: BTreeSet<PathBuf> = before.into_iter().chain(written.clone()).collect();
        assert_eq!(listing(&dir), expected, "{way:?}");
        for path in written {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test]
async fn claude_is_cancelled_while_its_shell_sleeps() {
    while_its_shell_sleeps("claude").await;
}

#[tokio::test]
async fn codex_is_cancelled_while_its_shell_sleeps() {
    while_its_shell_sleeps("codex").await;
}

#[tokio::test]
async fn gemini_is_cancelled_while_its_shell_sleeps() {
    while_its_shell_sleeps("gemini").await;
}

/// Cancelled while text streams.
async fn while_text_streams(agent: &str, way: Way) {
    let stage = Stage::new(&[agent]).await;
    let words = [
        "--provider",
        agent,
        "[[slow:2]] [[say:one two three four five six seven eight]]",
    ];
    let turn = AtWork::start(&stage, &words).await;
    turn.until(&stage, "the model to be asked", || !stage.model.asked().is_empty())
        .await;
    turn.ends(&stage, way).await;
}

#[tokio::test]
async fn claude_is_cancelled_while_text_streams() {
    while_text_streams("claude", Way::SubagentCancel).await;
}

#[tokio::test]
async fn codex_is_cancelled_while_text_streams() {
    while_text_streams("codex", Way::Interrupt).await;
}

#[tokio::test]
async fn gemini_is_cancelled_while_text_streams() {
    while_text_streams("gemini", Way::JobCancel).await;
}
