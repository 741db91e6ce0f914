//! A control plane of one's own: serving, tokens, pairing codes, and pairing with it from another home.

use crate::support::home::{Done, Home, Plane};

/// A served control plane, and the home of its owner.
fn plane() -> (Home, Plane) {
    let owner = Home::new();
    let plane = owner.serve();
    (owner, plane)
}

fn pairing_code(owner: &Home) -> String {
    let code = owner.gateway(&["control-plane", "pairing-code", "--json"]).ok().json();
    code["code"].as_str().unwrap().to_owned()
}

fn pair(host: &Home, plane: &Plane, args: &[&str]) -> Done {
    let common = ["pair", "--supabase-url", &plane.url, "--anon-key", &plane.key];
    host.gateway(&[&common, args].concat())
}

fn login(operator: &Home, owner: &Home, plane: &Plane) {
    let token = owner
        .gateway(&["control-plane", "token", "create", "--json"])
        .ok()
        .json();
    let args = ["login", "--url", &plane.url, "--anon-key", &plane.key];
    operator
        .gateway_with_input(&args, token["token"].as_str().unwrap())
        .ok();
}

#[test]
fn bad_codes_change_nothing() {
    let (owner, plane) = plane();
    let host = Home::new();
    let wrong = pair(&host, &plane, &["AAAA-BBBB-CCCC"]).exits(1);
    assert!(wrong.stderr.starts_with("ERROR "), "{wrong:?}");
    assert!(wrong.stderr.contains("ask for a new code"), "{wrong:?}");
    assert!(!host.state().join("gateway.json").exists());
    let code = pairing_code(&owner);
    pair(&host, &plane, &[&code]).ok();
    let before = std::fs::read(host.state().join("gateway.json")).unwrap();
    let used = pair(&host, &plane, &["--force", &code]).exits(1);
    assert!(used.stderr.contains("ask for a new code"), "{used:?}");
    assert_eq!(std::fs::read(host.state().join("gateway.json")).unwrap(), before);
}

#[test]
fn a_paired_host_is_not_paired_again_by_accident() {
    let (owner, plane) = plane();
    let host = Home::new();
    let paired = pair(&host, &plane, &["--full-control", "yes", &pairing_code(&owner)]).ok();
    assert!(paired.stdout.contains("OK Paired to team successfully\n"), "{paired:?}");
    assert!(paired.stdout.contains("Host machine control: Enabled"), "{paired:?}");
    let first = host.gateway(&["status", "--json"]).ok().json();
    assert_eq!(first["full_control_enabled"], true);
    let code = pairing_code(&owner);
    let refused = pair(&host, &plane, &[&code]).exits(1);
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    pair(&host, &plane, &["--force", "--full-control=off", &code]).ok();
    let second = host.gateway(&["status", "--json"]).ok().json();
    assert_ne!(first["gateway_id"], second["gateway_id"]);
    assert_eq!(second["full_control_enabled"], false);
}

#[test]
fn unpairing_revokes_and_forgets() {
    let (owner, plane) = plane();
    let host = Home::new();
    pair(&host, &plane, &[&pairing_code(&owner)]).ok();
    let kept = std::fs::read(host.state().join("gateway.json")).unwrap();
    let done = host.gateway(&["unpair"]).ok();
    assert!(done.stdout.contains("OK Unpaired; the session is revoked"), "{done:?}");
    assert!(!host.state().join("gateway.json").exists());
    assert_eq!(host.gateway(&["status", "--json"]).ok().json()["paired"], false);
    let session: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(session["supabaseUrl"], plane.url);
}

#[test]
fn a_host_that_was_removed_is_unpaired_or_paired_anew_without_more_words() {
    let (owner, plane) = plane();
    let host = Home::new();
    pair(&host, &plane, &["--full-control", &pairing_code(&owner)]).ok();
    let remove = || {
        let id = host.gateway(&["status", "--json"]).ok().json()["gateway_id"].clone();
        owner
            .gateway(&["control-plane", "gateway", "remove", id.as_str().unwrap()])
            .ok();
    };
    remove();
    host.gateway(&["pair", "--force", &pairing_code(&owner)]).ok();
    let status = host.gateway(&["status", "--json"]).ok().json();
    assert_eq!((&status["state"], &status["paired"]), (&"ready".into(), &true.into()));
    remove();
    let done = host.gateway(&["unpair"]).ok();
    assert!(done.stdout.contains("OK Unpaired"), "{done:?}");
    assert!(!host.state().join("gateway.json").exists());
}

#[test]
fn an_unreachable_control_plane_keeps_the_session_unless_forced() {
    let (owner, plane) = plane();
    let host = Home::new();
    pair(&host, &plane, &[&pairing_code(&owner)]).ok();
    drop(plane);
    let done = host.gateway(&["unpair"]).exits(1);
    assert!(done.stderr.contains("--force"), "{done:?}");
    assert!(host.state().join("gateway.json").exists());
    host.gateway(&["unpair", "--force"]).ok();
    assert!(!host.state().join("gateway.json").exists());
}

#[test]
fn an_operator_logs_in_and_out_of_range() {
    let (owner, plane) = plane();
    let operator = Home::new();
    let args = ["login", "--url", &plane.url, "--anon-key", &plane.key];
    let bad = operator.gateway_with_input(&args, "gwop_wrong").exits(7);
    assert!(bad.stderr.contains("does not accept this operator token"), "{bad:?}");
    assert!(!operator.state().join("operator.json").exists());
    login(&operator, &owner, &plane);
    assert_eq!(operator.gateway(&["job", "list"]).ok().stdout, "No jobs.\n");
    let done = operator.gateway(&["exec", "--", "id"]).exits(1);
    assert!(done.stderr.contains("This team has no gateway."), "{done:?}");
    drop(plane);
    let done = operator.gateway(&["job", "list"]).exits(4);
    assert!(done.stderr.contains("cannot be reached"), "{done:?}");
}

#[test]
fn a_token_of_the_environment_wins_and_a_revoked_one_is_refused() {
    let (owner, plane) = plane();
    let operator = Home::new();
    login(&operator, &owner, &plane);
    let with_token = |token: &str| {
        let mut command = operator.command(&["job", "list"]);
        command.env("GATEWAY_TOKEN", token).output().unwrap().status.code()
    };
    assert_eq!(with_token("gwop_wrong"), Some(7));
    let token = owner
        .gateway(&["control-plane", "token", "create", "--json"])
        .ok()
        .json();
    assert_eq!(with_token(token["token"].as_str().unwrap()), Some(0));
    let id = token["id"].as_str().unwrap();
    owner.gateway(&["control-plane", "token", "revoke", id]).ok();
    let listed = owner.gateway(&["control-plane", "token", "list", "--json"]).ok();
    assert!(!listed.stdout.contains("gwop_"), "a list shows no secrets");
    owner.gateway(&["control-plane", "token", "revoke", id]).exits(1);
}

#[test]
fn layers_of_the_control_plane_are_switched() {
    let (owner, plane) = plane();
    let host = Home::new();
    pair(&host, &plane, &[&pairing_code(&owner)]).ok();
    let gateways = owner
        .gateway(&["control-plane", "gateway", "list", "--json"])
        .ok()
        .json();
    let id = gateways[0]["id"].as_str().unwrap();
    assert_eq!(gateways[0]["full_control_enabled"], false);
    owner
        .gateway(&["control-plane", "gateway", "full-control", id, "on"])
        .ok();
    let shown = owner.gateway(&["control-plane", "gateway", "show", id]).ok().stdout;
    assert!(shown.contains("Team layer of machine control: Enabled"), "{shown}");
    let resources = owner
        .gateway(&["control-plane", "resource", "list", "--json"])
        .ok()
        .json();
    assert_eq!(resources[0]["metadata"]["full_control"], false);
    let resource = resources[0]["id"].as_str().unwrap();
    owner
        .gateway(&["control-plane", "resource", "full-control", resource, "on"])
        .ok();
    owner.gateway(&["control-plane", "resource", "revoke", resource]).ok();
    owner
        .gateway(&[
            "control-plane",
            "resource",
            "create",
            "--gateway",
            id,
            "--full-control",
            "on",
        ])
        .ok();
    let table = owner.gateway(&["control-plane", "resource", "list"]).ok().stdout;
    assert!(table.contains(" on "), "{table}");
    owner
        .gateway(&["control-plane", "gateway", "show", "nonsense"])
        .exits(1);
}

#[test]
fn one_control_plane_per_state_directory() {
    let (owner, plane) = plane();
    let second = owner
        .gateway(&["control-plane", "serve", "--listen", "127.0.0.1:0"])
        .exits(1);
    assert!(second.stderr.contains("runs already"), "{second:?}");
    let status = owner.gateway(&["status", "--json"]).ok().json();
    assert_eq!(status["embedded_control_plane"]["url"], plane.url);
}
