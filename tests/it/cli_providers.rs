//! `gateway providers`: what is there, and what its owner sets.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::fake_agent::script;
use crate::support::home::{Done, Home};
use crate::support::sandbox::Sandbox;
use crate::support::state_dir::mode;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

/// A program that says it is Claude, where nobody looks for one.
#[expect(clippy::disallowed_methods, reason = "a fake program of a test")]
fn hidden_claude(home: &Home) -> PathBuf {
    let path = home.path().join("hidden");
    let text = "#!/bin/sh\ncase $1 in --version) echo '9.9.9 (Claude Code)';; \
                *) echo '--json-schema --output-format (stream-json) --tools';; esac\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// Address, key and root's leave for a Claude that lies in an odd place; gives its path and what the last command said.
#[expect(clippy::disallowed_methods, reason = "a key as a person keeps it")]
fn set_up(home: &Home) -> (PathBuf, Done) {
    let program = hidden_claude(home);
    let key = home.path().join("key");
    std::fs::write(&key, "sk-hidden\n").unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    home.gateway(&["providers", "set", "claude", "--command", program.to_str().unwrap()])
        .ok();
    let url = "http://127.0.0.1:9/";
    let set = ["--base-url", url, "--key-file", "key", "--allow-root"];
    let said = home.gateway(&[&["providers", "set", "claude"][..], &set].concat()).ok();
    (program, said)
}

#[test]
fn nobody_is_told_to_change_the_mode_of_what_is_no_file() {
    let home = Home::new();
    let done = home
        .gateway(&["providers", "set", "claude", "--key-file", "/tmp"])
        .exits(1);
    assert!(!done.stderr.contains("chmod"), "{done:?}");
}

fn claude(home: &Home) -> Value {
    home.gateway(&["providers", "list", "--json"]).ok().json()["claude_code"].clone()
}

#[test]
fn what_is_set_is_shown_without_its_secret() {
    let home = Home::new();
    let (program, said) = set_up(&home);
    assert!(said.stdout.starts_with("OK Claude is set\n"), "{said:?}");
    assert!(said.stdout.contains("Key: set\n") && said.stderr.is_empty(), "{said:?}");
    let found = claude(&home);
    let own = home.state().join("providers/claude_code");
    for (name, value) in [
        ("installed", json!(true)),
        ("version", json!("9.9.9 (Claude Code)")),
        ("command", json!(program)),
        ("home", json!(own)),
        ("base_url", json!("http://127.0.0.1:9")),
        ("key_set", json!(true)),
        ("allow_root", json!(true)),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    assert_eq!(found["supports"]["output_schema"], true);
    let text = home.gateway(&["providers", "list"]).ok();
    for part in [
        "Claude (claude): installed\n",
        "Health: not tried yet\n",
        "Can: answer with JSON of a schema, show its work as it goes, work without tools\n",
        "Home: ~/.panorama/gateway/providers/claude_code\n",
        "May act freely as root: Yes\n",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    for shown in [format!("{said:?}"), found.to_string(), text.stdout] {
        assert!(!shown.contains("sk-hidden"), "{shown}");
    }
    assert_eq!(mode(&home.state().join("providers.json")), 0o600);
}

#[test]
fn doctor_shows_homes_and_who_may_act_freely_as_root() {
    let home = Home::new();
    set_up(&home);
    let doctor = home.gateway(&["doctor"]).exits(1);
    let line = "  - claude_code: ~/.panorama/gateway/providers/claude_code; may act freely as root\n";
    assert!(doctor.stdout.contains(line), "{}", doctor.stdout);
    assert!(
        doctor.stdout.contains("  - codex: your own login\n"),
        "{}",
        doctor.stdout
    );
    let doctor = home.gateway(&["doctor", "--json"]).exits(1).json();
    assert_eq!(doctor["provider_settings"]["claude_code"]["allow_root"], true);
}

#[test]
fn what_is_set_and_forgotten_is_told_to_programs() {
    let home = Home::new();
    let url = "http://127.0.0.1:9";
    let set = ["providers", "set", "codex", "--base-url", url, "--json"];
    let set = home.gateway(&set).ok().json();
    let own = home.state().join("providers/codex");
    let expected = json!({
        "provider": "codex", "command": null, "base_url": url, "key_set": false, "home": own, "allow_root": false,
    });
    assert_eq!(set, expected);
    let unset = || home.gateway(&["providers", "unset", "codex", "--json"]).ok().json();
    assert_eq!(unset(), json!({"provider": "codex", "was_set": true}));
    assert_eq!(unset(), json!({"provider": "codex", "was_set": false}));
}

#[test]
fn a_program_that_does_not_start_is_not_called_missing() {
    let home = Home::new();
    let broken = home.path().join("broken");
    let set = |program: &str| {
        home.gateway(&["providers", "set", "claude", "--command", program]).ok();
        home.gateway(&["providers", "list"]).ok().stdout
    };
    let missing = set(broken.to_str().unwrap());
    assert!(missing.contains("Claude (claude): not installed\n"), "{missing}");
    assert!(
        missing.contains("npm install -g @anthropic-ai/claude-code"),
        "{missing}"
    );
    let broken = script(home.path(), "echo no >&2; exit 1");
    let listed = set(&broken);
    assert!(listed.contains("Claude (claude): does not start\n"), "{listed}");
}

/// Nobody is logged in: that shows only when somebody asks.
#[tokio::test]
async fn why_the_last_run_failed_is_shown() {
    let mut sandbox = Sandbox::new();
    let failed = r#"{"type":"turn.failed","error":{"message":"unexpected status 401 Unauthorized"}}"#;
    let body = format!(
        "case \"$*\" in --version) echo codex-cli 0.169.0; exit;; *--help*) cat '{HELP}'; exit;; esac\n\
         cat >/dev/null; echo '{failed}'; exit 1"
    );
    let agent = script(sandbox.home(), &body);
    sandbox.set_env("PANORAMA_CODEX_CLI", &agent);
    sandbox.set_env("PANORAMA_CLAUDE_CLI", "/nowhere/claude");
    sandbox.set_env("PANORAMA_GEMINI_CLI", "/nowhere/gemini");
    sandbox.run(&["up", "--detach"]).await.ok();
    let known = || async { sandbox.json(&["providers", "list", "--json"]).await["codex"]["health"].clone() };
    assert_eq!(known().await["status"], "unknown");
    sandbox.run(&["run", "--provider", "codex", "hello"]).await.exits(1);
    let health = known().await;
    assert_eq!(health["status"], "unhealthy");
    assert!(health["error"].as_str().unwrap().contains("401"), "{health}");
    let doctor = sandbox.run(&["doctor", "--validate", "light"]).await.ok();
    assert!(
        doctor.stdout.contains("codex: unhealthy (not logged in: ") && doctor.stdout.contains("401"),
        "{doctor:?}"
    );
    let again = sandbox.run(&["run", "--provider", "codex", "hello"]).await.exits(1);
    assert!(again.stderr.contains("not logged in"), "{again:?}");
}

#[test]
fn settings_change_one_by_one_and_are_forgotten_together() {
    let home = Home::new();
    let (program, _) = set_up(&home);
    home.gateway(&["providers", "set", "claude", "--no-allow-root"]).ok();
    let found = claude(&home);
    assert_eq!((&found["allow_root"], &found["key_set"]), (&json!(false), &json!(true)));
    home.gateway(&["providers", "unset", "claude"]).ok();
    let found = claude(&home);
    assert_eq!((&found["home"], &found["key_set"]), (&json!(null), &json!(false)));
    assert_ne!(found["command"], json!(program));
    let nothing = home.gateway(&["providers", "unset", "claude"]).ok();
    assert!(nothing.stdout.contains("Nothing was set"), "{nothing:?}");
}

#[test]
fn leave_that_nobody_asks_for_is_not_noted() {
    let home = Home::new();
    let set = [
        "providers",
        "set",
        "codex",
        "--command",
        "codex",
        "--allow-root",
        "--json",
    ];
    let said = home.gateway(&set).ok();
    assert!(said.stderr.contains("--allow-root changes nothing here"), "{said:?}");
    assert_eq!(said.json()["allow_root"], false);
}

#[expect(clippy::disallowed_methods, reason = "a key as a careless person keeps it")]
#[test]
fn settings_that_make_no_sense_are_refused() {
    let home = Home::new();
    for args in [
        &["providers", "set", "claude"][..],
        &["providers", "set", "perplexity", "--allow-root"],
        &["providers", "set", "codex", "--base-url", "127.0.0.1:9"],
        &["providers", "set", "codex", "--base-url", "ftp://host"],
        &["providers", "set", "codex", "--base-url", "http://me:secret@host"],
    ] {
        home.gateway(args).exits(2);
    }
    let set = ["providers", "set", "gemini", "--key-file", "key"];
    home.gateway(&set).exits(1);
    let key = home.path().join("key");
    std::fs::write(&key, "\n").unwrap();
    home.gateway(&set).exits(2);
    assert!(!home.state().join("providers.json").exists());
    std::fs::write(&key, "k").unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let done = home.gateway(&set).ok();
    assert!(
        done.stderr
            .contains("Other users of this machine may read the key file."),
        "{done:?}"
    );
}
