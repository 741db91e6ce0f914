//! The help is part of the product: it is compared whole, and mistakes are answered with a suggestion.

use crate::support::home::Home;

#[test]
fn without_a_command_the_help_is_shown() {
    let home = Home::new();
    let alone = home.gateway(&[]).ok();
    assert_eq!(alone.stderr, "");
    insta::assert_snapshot!("top", alone.stdout);
    for args in [&["--help"][..], &["-h"], &["help"], &["--", "--help"]] {
        assert_eq!(home.gateway(args).ok().stdout.trim(), alone.stdout.trim(), "{args:?}");
    }
    assert!(!home.state().exists(), "help must not create anything");
}

#[test]
fn topics_are_documented() {
    let home = Home::new();
    for topic in ["exit-codes", "environment", "examples"] {
        insta::assert_snapshot!(topic, home.gateway(&["help", topic]).ok().stdout);
    }
}

#[test]
fn topics_and_overview_fit_a_terminal_of_eighty_columns() {
    let home = Home::new();
    for args in [
        &["help"][..],
        &["help", "environment"],
        &["help", "examples"],
        &["help", "exit-codes"],
    ] {
        for line in home.gateway(args).ok().stdout.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
}

#[test]
fn every_command_is_in_the_overview_and_explains_itself() {
    let home = Home::new();
    let overview = home.gateway(&[]).ok().stdout;
    let mut texts = String::new();
    for line in home.gateway(&["completions", "bash"]).ok().stdout.lines() {
        let Some(rest) = line.trim().strip_prefix("gateway,") else {
            continue;
        };
        let name = rest.trim_end_matches(')');
        assert!(
            overview.contains(&format!("  {name} ")),
            "{name} is missing in the overview"
        );
        texts.push_str(&format!("## {name}\n\n{}\n", home.gateway(&[name, "-h"]).ok().stdout));
    }
    insta::assert_snapshot!("commands", texts);
}

#[test]
fn mistakes_are_documents_where_documents_are_wanted() {
    let home = Home::new();
    for (args, part) in [
        (&["run", "--json"][..], "PROMPT"),
        (&["status", "--jso", "--json"], "unexpected argument '--jso'"),
        (&["job", "--json"], "--json"),
        (&["run", "--json", "--timeout", "5h", "x"], "1s to 4h"),
    ] {
        let done = home.gateway(args).exits(2);
        let said: serde_json::Value = serde_json::from_str(&done.stderr).expect(&done.stderr);
        let error = &said["error"];
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        assert_eq!((&error["exit_code"], done.stdout.as_str()), (&2.into(), ""));
    }
    let done = home.gateway(&["run", "--sesion", "x", "--", "--json"]).exits(2);
    assert!(done.stderr.starts_with("error: "), "{done:?}");
}

#[test]
fn mistakes_are_refused_with_a_suggestion() {
    let home = Home::new();
    let cases: [(&[&str], &str); 6] = [
        (&["statsu"], "status"),
        (&["start", "--foregrond"], "--foreground"),
        (&["logs", "--line", "5"], "--lines"),
        (&["full-control", "enabel"], "enable"),
        (&["exec", "uname"], "-- <CMD>"),
        (&["help", "nothing"], "gateway help"),
    ];
    for (args, suggestion) in cases {
        let done = home.gateway(args).exits(2);
        assert!(done.stderr.contains(suggestion), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn colour_needs_a_terminal_or_a_wish() {
    let home = Home::new();
    assert!(!home.gateway(&["status"]).ok().stdout.contains('\u{1b}'));
    assert!(
        home.gateway(&["status", "--color", "always"])
            .ok()
            .stdout
            .contains('\u{1b}')
    );
    assert!(home.gateway(&["--color=always", "-h"]).ok().stdout.contains("gateway"));
}

#[test]
fn the_version_is_the_package_version() {
    let text = Home::new().gateway(&["--version"]).ok().stdout;
    assert_eq!(text.trim(), format!("gateway {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_job_id_that_is_none_is_said_before_anything_is_asked() {
    let home = Home::new();
    for command in ["show", "watch", "cancel"] {
        let done = home.gateway(&["job", command, "nope"]).exits(2);
        assert!(done.stderr.contains("gateway job list"), "{}", done.stderr);
    }
}

#[test]
fn a_mistyped_database_does_not_become_a_control_plane() {
    let home = Home::new();
    let path = home.state().with_extension("typo.sqlite");
    let named = format!("sqlite:{}", path.display());
    for args in [
        &["control-plane", "gateway", "list", "--database", named.as_str()][..],
        &["control-plane", "pairing-code"],
    ] {
        let done = home.gateway(args).exits(1);
        assert!(done.stderr.contains("gateway control-plane serve"), "{}", done.stderr);
    }
    assert!(!path.exists() && !home.state().exists(), "looking made something");
}

#[test]
fn a_missing_log_is_said() {
    let home = Home::new();
    let done = home.gateway(&["logs"]).ok();
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("no log yet"), "{}", done.stderr);
}

#[test]
fn doctor_has_its_own_sentence_about_providers() {
    let done = Home::new().gateway(&["doctor"]).exits(1);
    assert!(!done.stderr.contains("No gateway providers"), "{}", done.stderr);
}
