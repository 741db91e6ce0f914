//! The session file: other versions' files, several writers, and what a new pairing keeps.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gateway::domain::secret::Secret;
use gateway::state::session::{SessionError, SessionStore};
use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::state_dir::{home, mode, put, run_child, session};

fn fixture(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state");
    fs::read(dir.join(name)).unwrap()
}

fn store_with(name: &str) -> (TempDir, SessionStore) {
    let (home, paths) = home();
    fs::create_dir(&paths.dir).unwrap();
    put(&paths.config_file, &fixture(name));
    (home, SessionStore::new(&paths))
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn processes_that_change_the_session_at_once_lose_nothing() {
    let (_home, paths) = home();
    SessionStore::new(&paths).create(session(), false).unwrap();
    let children: Vec<_> = ["count_a", "count_b"].map(|task| run_child(task, &paths)).into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let session = SessionStore::new(&paths).load().unwrap().unwrap();
    assert_eq!(session.other["count_a"], json!(25));
    assert_eq!(session.other["count_b"], json!(25));
}

#[test]
fn files_of_other_versions_are_read_as_they_are() {
    let (_home, store) = store_with("full.json");
    let full = store.load().unwrap().unwrap();
    assert_eq!(full.supabase_url, "https://backend.example/");
    assert_eq!(full.refresh_token.expose(), "refresh-one");
    assert_eq!(full.device_name.as_deref(), Some("Büro-Mac"));
    assert!(full.full_control_enabled && !full.is_vm_guest());
    assert_eq!(full.provider_health.len(), 2);

    let (_home, store) = store_with("minimal.json");
    let minimal = store.load().unwrap().unwrap();
    assert!(!minimal.full_control_enabled && minimal.provider_health.is_empty());

    let (_home, store) = store_with("null.json");
    assert_eq!(store.load().unwrap(), None);
    assert!(matches!(store.update(|_| {}), Err(SessionError::NotPaired { .. })));

    let (_home, store) = store_with("vm_guest.json");
    let guest = store.load().unwrap().unwrap();
    assert!(guest.is_vm_guest() && store.is_vm_guest().unwrap());
    assert_eq!(guest.other.keys().collect::<Vec<_>>(), ["vmGuest", "zebra", "apple"]);

    let (_home, store) = store_with("unpaired_guest.json");
    assert_eq!(store.load().unwrap(), None);
    assert!(store.is_vm_guest().unwrap());

    let (_home, store) = store_with("unknown_provider.json");
    let odd = store.load().unwrap().unwrap();
    assert!(!odd.full_control_enabled, "only a literal true counts");
    assert_eq!(odd.provider_health["qwen"]["status"], "dizzy");
}

#[test]
fn missing_unreadable_corrupt_and_incomplete_are_told_apart() {
    let (_home, paths) = home();
    assert_eq!(SessionStore::new(&paths).load().unwrap(), None);
    let (_home, store) = store_with("incomplete.json");
    let error = store.load().unwrap_err();
    assert!(error.requires_pairing());
    assert!(error.to_string().contains("refreshToken, teamId missing"), "{error}");
    for (text, reason) in [
        (&b"{\"accessToken\": \"hunter2\""[..], "invalid JSON"),
        (b"", "invalid JSON"),
        (b"[]", "no JSON object"),
        (b"{\"teamId\": 7}", "$.teamId"),
        (b"\xff\xfe", "invalid JSON"),
    ] {
        put(store.path(), text);
        let error = store.load().unwrap_err();
        assert!(matches!(error, SessionError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(reason) && !text.contains("hunter2"), "{text}");
    }
    fs::remove_file(store.path()).unwrap();
    fs::create_dir(store.path()).unwrap();
    assert!(matches!(store.load(), Err(SessionError::File(_))));
}

#[test]
fn an_update_keeps_order_unknown_members_and_what_others_wrote() {
    let (_home, store) = store_with("unknown_provider.json");
    let before = json_of(store.path());
    store.update(|session| session.full_control_enabled = true).unwrap();
    let after = json_of(store.path());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&after), keys(&before));
    let mut expected = before;
    expected["full_control_enabled"] = json!(true);
    assert_eq!(after, expected);
    let text = fs::read_to_string(store.path()).unwrap();
    assert!(
        text.starts_with("{\n  \"futureFirst\": 1,\n  \"supabaseUrl\""),
        "{text}"
    );
    assert!(!text.ends_with('\n'));
    assert_eq!(mode(store.path()), 0o600);
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let (_home, store) = store_with("minimal.json");
    let before = fs::metadata(store.path()).unwrap().ino();
    store.update(|_| {}).unwrap();
    assert_eq!(fs::metadata(store.path()).unwrap().ino(), before);
}

#[test]
fn pairing_again_keeps_the_guest_identity_and_unknown_members() {
    for name in ["vm_guest.json", "unpaired_guest.json"] {
        let (_home, store) = store_with(name);
        let old = json_of(store.path());
        store.create(session(), true).unwrap();
        let new = json_of(store.path());
        assert_eq!(new["vmGuest"], old["vmGuest"]);
        assert_eq!(new["zebra"], old["zebra"]);
        assert_eq!(new["refreshToken"], "refresh");
        assert!(store.load().unwrap().unwrap().is_vm_guest());
    }
    let (_home, store) = store_with("vm_guest.json");
    store.create(session(), false).unwrap();
    assert_eq!(json_of(store.path()).get("vmGuest"), None);
}

#[test]
fn the_generation_before_is_kept_and_used_when_the_file_is_damaged() {
    let (_home, store) = store_with("vm_guest.json");
    store
        .update(|session| session.refresh_token = Secret::new("refresh-two"))
        .unwrap();
    let previous = store.previous().unwrap().unwrap();
    assert_eq!(previous.refresh_token.expose(), "refresh-one");
    put(store.path(), b"");
    let found = store.load().unwrap().unwrap();
    assert_eq!(found.refresh_token.expose(), "refresh-one");
    assert!(store.wipe().unwrap());
    assert_eq!(store.previous().unwrap(), None);
    assert_eq!(store.load().unwrap(), None);
}

#[tokio::test]
async fn only_one_process_refreshes_and_changes_go_on_meanwhile() {
    let (_home, store) = store_with("minimal.json");
    let guard = store.refresh_guard().await.unwrap();
    store
        .update(|session| session.device_name = Some("x".to_owned()))
        .unwrap();
    let other = store.clone();
    let mut second = std::pin::pin!(other.refresh_guard());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(guard);
    drop(second.await.unwrap());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = proptest::prop_oneof![
        proptest::strategy::Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn unknown_members_survive_a_round_trip(
        unknown in prop::collection::vec(("x_[^\0]{0,12}", json_value()), 0..6),
        token in any::<String>(),
    ) {
        let (_home, store) = store_with("minimal.json");
        let mut file = json_of(store.path());
        for (key, value) in &unknown {
            file[key] = value.clone();
        }
        put(store.path(), serde_json::to_string(&file).unwrap().as_bytes());
        store.update(|session| session.access_token = Secret::new(token.clone())).unwrap();
        file["accessToken"] = Value::from(token);
        let after = json_of(store.path());
        let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut expected = order(&file);
        expected.push("full_control_enabled".to_owned());
        assert_eq!(order(&after), expected);
        file["full_control_enabled"] = json!(false);
        assert_eq!(after, file);
    }
}
