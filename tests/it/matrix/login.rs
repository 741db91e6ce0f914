//! Rows A1, A2, X16 and X17: a session that is refused, and one that is refreshed under difficulties.

use futures_util::future::join_all;
use gateway::backend::{Auth, Endpoint, Http};
use gateway::config::paths::Paths;
use gateway::domain::needles::Needles;
use gateway::domain::secret::Secret;
use gateway::runtime::session_keeper::{SessionKeeper, tokens_of};
use gateway::state::session::SessionStore;

use crate::backend_auth::{HOUR, MemoryStore, is_refresh, jwt, refreshed, refreshes, tokens};
use crate::cli_start::{paired, pid};
use crate::matrix::scene::{Scene, printed};
use crate::matrix::twins::{INGRESSES, Work, on_both_ways_in};
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::scripted_server::{KEY, Reply, ScriptedServer, Seen};
use crate::support::state_dir::{home, run_child, session};
use serde_json::json;

#[test]
fn a1_a_start_with_a_refused_session_tells_how_to_pair_again() {
    let home = paired();
    let gateway = home.gateway(&["status", "--json"]).ok().json()["gateway_id"].clone();
    home.gateway(&["stop"]).ok();
    home.gateway(&["control-plane", "gateway", "remove", gateway.as_str().unwrap()])
        .ok();
    let plane = home.serve_again();
    let done = home.gateway(&["start"]).exits(1);
    assert!(
        done.stderr.contains("session was refused") || done.stderr.contains("refused the session"),
        "{done:?}"
    );
    assert!(done.stderr.contains("gateway pair CODE"), "{done:?}");
    assert!(pid(&home).is_null(), "{done:?}");
    drop(plane);
}

#[tokio::test]
async fn a2_a_session_refused_while_running_is_a_state_and_pairing_again_ends_it() {
    on_both_ways_in(async |ingress| {
        let settings: Vec<_> = ingress.setting().into_iter().collect();
        let mut host = Host::new().await;
        let daemon = host.start_ready(&settings).await;
        host.revoke().await;
        let status = daemon.reaches("unauthenticated").await;
        assert!(status.reason.unwrap_or_default().contains("gateway pair"));
        host.paired = host.plane.pair("host").await;
        host.write_session();
        let again = eventually("the new session to be used", || async {
            let now = daemon.status().await?;
            (now.gateway_id == host.paired.gateway_id).then_some(now)
        })
        .await;
        assert_eq!(again.pid, status.pid, "the same daemon");
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a2_a_session_refused_while_running_is_a_final_error_at_the_next_start() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    host.revoke().await;
    daemon.reaches("unauthenticated").await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    let exit = host.start(&[]).ended().await;
    assert_eq!(exit.exit_code, Some(1));
    let last = std::fs::read_to_string(host.paths().last_exit()).unwrap();
    assert!(last.contains("gateway pair"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn x16_a_rotation_whose_answer_was_lost_is_repeated_with_the_same_token() {
    let fresh = jwt("b", HOUR);
    let portal = Reply::Json(200, json!({"portal": true}));
    let lost = [Reply::Cut, Reply::Json(502, json!({})), portal, refreshed(&fresh, "r2")];
    let server = ScriptedServer::replies(lost).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    assert_eq!(store.auth(&server).bearer().await.unwrap().expose(), fresh);
    let sent: Vec<_> = server.seen().iter().map(Seen::json).collect();
    assert_eq!(sent, vec![json!({"refresh_token": "r1"}); 4]);
    assert_eq!(store.refresh_token(), "r2");
}

#[tokio::test]
async fn x16_a_daemon_whose_refresh_was_answered_to_nobody_goes_on() {
    on_both_ways_in(async |ingress| {
        let scene = Scene::with_short_tokens(ingress).await;
        scene.proxy.lose_answer_to(&["POST /auth/v1/token"]);
        let script = "until [ -e $here/go ]; do sleep 0.1; done; echo still in";
        let jobs = join_all([Work::Shell, Work::Agent].map(|work| scene.work(work, script))).await;
        let daemon = scene.start().await;
        eventually("a token after the lost one", || async {
            (scene.stored_token() != scene.host.paired.refresh).then_some(())
        })
        .await;
        assert!(scene.proxy.has_lost_all());
        std::fs::create_dir(scene.path("go")).unwrap();
        for job in jobs {
            assert_eq!(printed(&scene.done_once(&job).await), "still in");
        }
        daemon.ready().await;
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn x17_two_logins_on_one_store_refresh_once_between_them() {
    let fresh = jwt("b", HOUR);
    let server = ScriptedServer::replies([refreshed(&fresh, "r2")]).await;
    let store = MemoryStore::new(tokens(&jwt("a", -1), "r1"));
    let (daemon, cli) = (store.auth(&server), store.auth(&server));
    let (one, other) = tokio::join!(daemon.bearer(), cli.bearer());
    assert_eq!(
        (one.unwrap().expose(), other.unwrap().expose()),
        (fresh.as_str(), fresh.as_str())
    );
    assert_eq!(refreshes(&server), 1);
}

#[tokio::test]
async fn x17_processes_that_refresh_at_once_refresh_once() {
    let (_home, paths) = home();
    let store = SessionStore::new(&paths);
    store.create(session(), false).unwrap();
    store
        .update(|session| session.access_token = Secret::new(jwt("a", -1)))
        .unwrap();
    let fresh = jwt("b", HOUR);
    let answer = fresh.clone();
    let server = ScriptedServer::start(move |seen| {
        assert!(is_refresh(seen), "{}", seen.target);
        refreshed(&answer, "r2")
    })
    .await;
    let children: Vec<_> = (0..4)
        .map(|_| run_child(&format!("refresh {}", server.url), &paths))
        .collect();
    let waiting = tokio::task::spawn_blocking(move || {
        children
            .into_iter()
            .map(|mut child| child.wait().unwrap().success())
            .collect()
    });
    let ended: Vec<bool> = waiting.await.unwrap();
    assert_eq!(ended, [true; 4]);
    assert_eq!(refreshes(&server), 1);
    assert_eq!(store.load().unwrap().unwrap().refresh_token.expose(), "r2");
}

/// Each of the processes of the test above.
pub(crate) fn child(task: &str, paths: &Paths) {
    let url = task.split_once(' ').unwrap().1;
    let store = SessionStore::new(paths);
    let session = store.load().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let http = Http::new(Endpoint::new(url, Secret::new(KEY)).unwrap()).unwrap();
        let keeper = SessionKeeper::new(store, &session, Needles::default());
        let auth = Auth::session(http, std::sync::Arc::new(keeper), tokens_of(&session));
        let bearer = auth.bearer().await.unwrap();
        // One that comes late finds what another has refreshed.
        assert_eq!(bearer, SessionStore::new(paths).load().unwrap().unwrap().access_token);
    });
}

mod nightly {
    use std::time::Duration;

    use super::{Host, INGRESSES};
    use crate::support::eventually::within;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a2_a_refused_session_is_asked_about_rarely() {
        for ingress in INGRESSES {
            let settings: Vec<_> = ingress.setting().into_iter().collect();
            let (host, recorder) = Host::recorded().await;
            let daemon = host.start_ready(&settings).await;
            host.revoke().await;
            daemon.reaches("unauthenticated").await;
            let (before, began) = (recorder.seen().len(), tokio::time::Instant::now());
            within(MINUTE * 2, "a minute to be over", || async {
                (began.elapsed() >= MINUTE).then_some(())
            })
            .await;
            daemon.reaches("unauthenticated").await;
            let asked = recorder.seen().len() - before;
            assert!(asked <= 15, "{asked} requests in a minute");
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    }
}
