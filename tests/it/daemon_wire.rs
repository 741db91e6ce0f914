//! What the daemon says, recorded at the socket and held against the transcript of the gateway it replaces
//! (`@panorama-ai/gateway` 2.32.167 with supabase-js 2.119, observed on the wire).
//!
//! Departures, each with its reason:
//!
//! | observed | ours | why |
//! |---|---|---|
//! | `GET /auth/v1/user` before the first heartbeat | none | the first heartbeat proves the session as well, one trip earlier |
//! | reconcile `select=*`, no limit | cancels and jobs apart, `limit` of the free slots, `order=created_at,id` | a cancel must not wait behind jobs; memory and traffic are bounded |
//! | channel filter `team_id=eq.T` | `gateway_id=eq.G`, and a second binding for cancelled rows | other gateways' commands do not come here; cancels are noticed at once |
//! | claim, duplicate, status, control, resource and vm_id one after another | control row (with `vm_id`) and resource beside the claim, no status read | the claimed row carries the status; two trips instead of five |
//! | duplicate query with `attempt=eq.1`, `limit=1` | attempts compared here, `created_at` and `started_at` read | null is attempt 1, and one of two twins must win |
//! | completion without representation | `select=id,status` and `Prefer: return=representation` | a row that was not running any more has to be seen |
//! | two events of `pair`, context `pairing` | none by `pair`; the daemon that it starts tells, context `startup` | one sender; a host that is only started tells as much |
//! | an event after a model call was made and failed | also `unknown`, `check_type=light`: a CLI that no model was asked of | the daemon looks at CLIs without spending the user's tokens |
//! | nothing when a verdict changes later | told once, context `refresh` | a CLI that goes away in the night is news |
//! | completion `{status,result,error,completed_at}` | also `debug` with the job's steps | `job show` names ingress and times |

use serde_json::{Value, json};

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::recorder::{Recorder, Seen};

/// Method, path, decoded query pairs and heartbeat status of a request, in one line.
fn line(seen: &Seen, host: &Host) -> String {
    let url = reqwest::Url::parse(&format!("http://h{}", seen.target)).unwrap();
    let query: Vec<String> = url
        .query_pairs()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let said = if seen.target.ends_with("gateway-heartbeat") {
        format!(" {}", body["status"].as_str().unwrap_or_default())
    } else {
        String::new()
    };
    format!("{} {}?{}{said}", seen.method, url.path(), query.join("&"))
        .replace(&host.paired.gateway_id, "G")
        .replace(&host.paired.team_id, "T")
        .replace(&host.resource, "R")
        .replace(&host.plane.anon_key, "ANON")
}

const CANCELS: &str = "GET /rest/v1/gateway_jobs?select=*&team_id=eq.T&status=eq.queued&gateway_id=eq.G\
                       &job_type=eq.subagent_cancel&order=created_at.asc,id.asc&limit=100";
const JOBS: &str = "GET /rest/v1/gateway_jobs?select=*&team_id=eq.T&status=eq.queued&gateway_id=eq.G\
                    &job_type=neq.subagent_cancel&order=created_at.asc,id.asc&limit=10";
const EVENTS: &str = "POST /rest/v1/gateway_events?";
/// One agent CLI that answers, as in the observation.
const CLAUDE_ALONE: [(&str, &str); 3] = [
    ("PANORAMA_CLAUDE_CLI", "/bin/bash"),
    ("PANORAMA_CODEX_CLI", "/nowhere/codex"),
    ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
];

#[tokio::test]
async fn start_idle_and_end_say_what_was_observed() {
    let (host, recorder) = Host::recorded().await;
    let daemon = host.start_ready(&CLAUDE_ALONE).await;
    eventually("a ready heartbeat", || async {
        (host.wire_status().await == "ready").then_some(())
    })
    .await;
    host.told(3).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    let seen = recorder.seen();
    let mut lines: Vec<String> = seen.iter().map(|seen| line(seen, &host)).collect();
    assert_eq!(lines.first().unwrap(), "POST /functions/v1/gateway-heartbeat? pending");
    let beats: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("POST /functions/v1/gateway-heartbeat? "))
        .collect();
    assert!(beats.ends_with(&["ready", "pending", "offline"]), "{beats:?}");
    assert_eq!(lines.last().unwrap(), "POST /functions/v1/gateway-heartbeat? offline");
    assert!(
        lines.contains(&"POST /functions/v1/gateway-heartbeat? ready".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"GET /realtime/v1/websocket?apikey=ANON&eventsPerSecond=10&vsn=2.0.0".to_owned()),
        "{lines:#?}"
    );
    lines.sort();
    lines.dedup();
    let reads = ["running", "/realtime", "gateway-heartbeat"];
    lines.retain(|line| !reads.iter().any(|known| line.contains(known)));
    assert_eq!(lines, [CANCELS, JOBS, EVENTS].map(str::to_owned));
    for request in seen.iter().filter(|seen| !seen.target.starts_with("/realtime")) {
        assert_eq!(request.header("apikey"), Some(host.plane.anon_key.as_str()));
        assert_eq!(
            request.header("authorization"),
            Some(format!("Bearer {}", host.paired.access).as_str())
        );
        assert!(request.header("x-client-info").is_some(), "{request:?}");
        let profile = if request.method == "GET" {
            "accept-profile"
        } else {
            "content-profile"
        };
        assert!(
            request.target.starts_with("/functions") || request.header(profile) == Some("public"),
            "{request:?}"
        );
    }
    heartbeat_body(&seen);
    event_bodies(&seen, &host);
    channel_frames(&recorder.frames(), &host);
}

fn heartbeat_body(seen: &[Seen]) {
    let beat = seen
        .iter()
        .find(|seen| seen.target.ends_with("gateway-heartbeat"))
        .unwrap();
    let body: Value = serde_json::from_str(&beat.body).unwrap();
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["status", "capabilities", "device_name"]);
    assert_eq!(body["capabilities"]["schema_version"], "v1");
    let providers = body["capabilities"]["providers"].as_object().unwrap();
    assert!(providers.keys().eq(["claude_code", "codex", "gemini"]));
    assert_eq!(
        body["capabilities"]["hosts"]["gateway"]["metadata"],
        json!({"install_full_control_enabled": true})
    );
    assert_eq!(body["capabilities"]["runtime"]["node_version"], "none");
    assert_eq!(beat.header("content-type"), Some("application/json"));
}

fn event_bodies(seen: &[Seen], host: &Host) {
    let told = seen.iter().filter(|seen| seen.target.ends_with("gateway_events"));
    let mut bodies: Vec<&str> = told
        .map(|seen| {
            assert_eq!(seen.header("prefer"), Some("return=minimal"));
            seen.body.as_str()
        })
        .collect();
    bodies.sort_unstable();
    let event = |provider: &str, message: &str, status: &str, error: Value| {
        json!({
            "gateway_id": host.paired.gateway_id, "team_id": host.paired.team_id, "provider": provider,
            "level": "warn", "code": "provider_validation", "message": format!("{provider} validation {message}"),
            "details": {"context": "startup", "status": status, "check_type": "light", "error": error,
                "duration_ms": null},
        })
        .to_string()
    };
    let missing = |provider: &str| {
        let error = format!("spawn /nowhere/{provider} ENOENT");
        event(provider, &format!("failed: {error}"), "unavailable", json!(error))
    };
    let asked_nothing = event("claude_code", "status: unknown", "unknown", Value::Null);
    assert_eq!(bodies, [asked_nothing, missing("codex"), missing("gemini")]);
}

fn channel_frames(frames: &[String], host: &Host) {
    let frames: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str(frame).unwrap())
        .collect();
    let topic = format!("realtime:gateway_jobs_{}", host.paired.gateway_id);
    let join = &frames[0];
    assert_eq!((&join[2], &join[3]), (&json!(topic), &json!("phx_join")));
    let filter = format!("gateway_id=eq.{}", host.paired.gateway_id);
    let wanted = json!([
        {"event": "INSERT", "schema": "public", "table": "gateway_jobs", "filter": filter},
        {"event": "UPDATE", "schema": "public", "table": "gateway_jobs", "filter": "status=eq.cancelled"},
    ]);
    assert_eq!(join[4]["config"]["postgres_changes"], wanted);
    assert_eq!(join[4]["config"]["private"], false);
    assert_eq!(join[4]["access_token"], json!(host.paired.access));
    assert_eq!(frames.last().unwrap()[3], "phx_leave");
}

/// Requests that name the job or its gate, in order of their method and target.
async fn said_for(host: &Host, recorder: &Recorder, id: &str) -> Vec<String> {
    let row = host.done(id).await;
    assert_eq!(row["status"], "completed", "{row}");
    let about = |line: &String| line.contains(id) || line.contains("team_gateways") || line.contains("team_resources");
    let seen = recorder.seen();
    let lines = seen.iter().map(|seen| line(seen, host)).filter(about);
    lines.map(|line| line.replace(id, "J")).collect()
}

#[tokio::test]
async fn a_pushed_shell_job_takes_four_requests_in_two_trips() {
    let (host, recorder) = Host::recorded().await;
    let daemon = host.start_ready(&[("PANORAMA_GATEWAY_TEST_POLLING", "off")]).await;
    let id = host.shell("true").await;
    let mut lines = said_for(&host, &recorder, &id).await;
    let last = lines.pop().unwrap();
    assert_eq!(
        last,
        "PATCH /rest/v1/gateway_jobs?id=eq.J&status=eq.running&select=id,status"
    );
    lines.sort();
    assert_eq!(
        lines,
        [
            "GET /rest/v1/team_gateways?select=full_control_enabled,status,last_seen_at,capabilities,vm_id&id=eq.G&team_id=eq.T",
            "GET /rest/v1/team_resources?select=id,team_id,resource_type,max_access_level,metadata&id=eq.R&team_id=eq.T",
            "PATCH /rest/v1/gateway_jobs?id=eq.J&team_id=eq.T&status=eq.queued&gateway_id=eq.G&select=*",
        ]
    );
    let seen = recorder.seen();
    let claim = seen.iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(claim.header("prefer"), Some("return=representation"));
    let body: Value = serde_json::from_str(&claim.body).unwrap();
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        (keys, &body["status"]),
        (vec!["status", "gateway_id", "started_at"], &json!("running"))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_diagnostic_job_takes_two_requests() {
    let (host, recorder) = Host::recorded().await;
    let daemon = host.start_ready(&[("PANORAMA_GATEWAY_TEST_POLLING", "off")]).await;
    let id = host.submit("diagnostic", json!({}), json!({})).await;
    assert_eq!(
        said_for(&host, &recorder, &id).await,
        [
            "PATCH /rest/v1/gateway_jobs?id=eq.J&team_id=eq.T&status=eq.queued&gateway_id=eq.G&select=*",
            "PATCH /rest/v1/gateway_jobs?id=eq.J&status=eq.running&select=id,status",
        ]
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
