//! X40: an agent CLI that hangs when it is asked who it is, floods, or vanishes.

use crate::provider_health::{GOOD, Stage};

/// A Codex that does this instead of telling its version while `$here/moody` is there.
async fn moody(mood: &str) -> Stage {
    Stage::new(|programs| {
        programs.put("moody", "");
        programs.moody_codex(&format!(r#"if [ -e "$here/moody" ]; then {mood}; fi"#), GOOD);
    })
    .await
}

#[tokio::test]
async fn x40_a_provider_that_hangs_at_its_version_holds_up_nobody() {
    let stage = moody("trap '' TERM; sleep 600").await;
    let fails = stage.codex_fails("does not answer", "`codex --version` does not end");
    stage.while_it_beats(fails).await;
    // Nothing about the file changes: it is asked again by itself.
    stage.programs.remove("moody");
    stage.codex_recovers().await;
    stage.end().await;
}

/// Far more than a daemon takes.
#[cfg(target_os = "linux")]
const MOST_KB: u64 = 150_000;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn x40_a_provider_that_floods_at_its_version_holds_up_nobody() {
    let stage = moody("head -c 1000000000 /dev/zero; exit").await;
    let known = stage.while_it_beats(async {
        let known = stage.is("codex", "unavailable").await;
        let why = known["error"].as_str().unwrap();
        assert!(
            why.contains("printed more than") || why.contains("did not end within"),
            "{known}"
        );
    });
    known.await;
    let peak = stage.daemon.peak_memory_kb();
    assert!(peak < MOST_KB, "{peak} kB");
    stage.programs.remove("moody");
    stage.codex_recovers().await;
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn x40_a_provider_that_vanishes_is_shown_as_gone() {
    let stage = Stage::new(|programs| {
        programs.codex(GOOD);
    })
    .await;
    stage.codex_recovers().await;
    let vanishes = async {
        stage.programs.remove("codex");
        let gone = stage.is("codex", "unavailable").await;
        assert!(gone["error"].as_str().unwrap().ends_with("ENOENT"), "{gone}");
    };
    stage.while_it_beats(vanishes).await;
    stage.codex_fails("not installed", "Install Codex").await;
    stage.programs.codex(GOOD);
    stage.codex_recovers().await;
    stage.end().await;
}
