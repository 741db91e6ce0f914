//! The Realtime state machine in simulated time, and the frames that the official client and server exchange.

use std::time::Duration;

use gateway::backend::RealtimeEvent;
use gateway::backend::realtime::Binding;
use gateway::backend::realtime::machine::{
    Action, DEAD_PEER, HEARTBEAT, HEARTBEAT_REPLY, Input, JOIN_DEADLINE, Machine, OPEN_DEADLINE,
};
use gateway::domain::secret::Secret;
use gateway::wire::phoenix::{Frame, Vsn};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

const TOPIC: &str = "realtime:gateway_jobs_G";

fn binding(event: &str, filter: &str) -> Binding {
    Binding {
        event: event.to_owned(),
        table: "gateway_jobs".to_owned(),
        filter: Some(filter.to_owned()),
    }
}

/// A machine with its clock.
struct Lab {
    machine: Machine,
    now: Instant,
}

impl Lab {
    fn new(unit: f64) -> Self {
        let now = Instant::now();
        let bindings = vec![binding("INSERT", "team_id=eq.T")];
        Self {
            machine: Machine::new("gateway_jobs_G", bindings, now, Box::new(move || unit)),
            now,
        }
    }

    fn give(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(self.now, input);
        std::iter::from_fn(|| self.machine.action()).collect()
    }

    fn server(&mut self, text: &str) -> Vec<Action> {
        let frame = Frame::decode(Vsn::V2, text).unwrap();
        self.give(Input::Frame(frame))
    }

    /// Goes to the machine's own deadline.
    fn wait(&mut self) -> (Duration, Vec<Action>) {
        let until = self.machine.deadline();
        let waited = until.saturating_duration_since(self.now);
        self.now = self.now.max(until);
        (waited, self.give(Input::Tick))
    }

    fn open(&mut self) -> Vec<Action> {
        assert!(matches!(self.wait().1[..], [Action::Open { .. }]));
        self.give(Input::Opened(Secret::new("J")))
    }

    fn joined() -> Self {
        let mut lab = Self::new(0.5);
        lab.open();
        assert_eq!(lab.server(JOIN_OK), [Action::Emit(RealtimeEvent::Subscribed)]);
        lab
    }
}

const JOIN_OK: &str = r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"ok","response":{"postgres_changes":[{"id":93486771,"event":"INSERT","schema":"public","table":"gateway_jobs","filter":"team_id=eq.T"}]}}]"#;
const SYSTEM_OK: &str = r#"[null,null,"realtime:gateway_jobs_G","system",{"extension":"postgres_changes","status":"ok","message":"Subscribed to PostgreSQL","channel":"gateway_jobs_G"}]"#;

fn sent(actions: &[Action]) -> Vec<String> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send(frame) => Some(frame.encode(Vsn::V2)),
        Action::Open { .. } | Action::Close | Action::CheckToken | Action::Emit(_) => None,
    });
    frames.collect()
}

fn down(actions: &[Action]) -> (String, Duration) {
    let [Action::Close, Action::Emit(RealtimeEvent::Down { reason, retry_in })] = actions else {
        panic!("not down: {actions:?}");
    };
    (reason.clone(), *retry_in)
}

#[test]
fn the_join_is_the_official_clients_join() {
    let join = sent(&Lab::new(0.0).open());
    assert_eq!(
        join,
        [
            r#"["1","1","realtime:gateway_jobs_G","phx_join",{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"postgres_changes":[{"event":"INSERT","schema":"public","table":"gateway_jobs","filter":"team_id=eq.T"}],"private":false},"access_token":"J"}]"#
        ]
    );
}

#[test]
fn golden_frames_of_a_good_life() {
    let mut lab = Lab::joined();
    assert_eq!(lab.server(SYSTEM_OK), [Action::Emit(RealtimeEvent::SystemOk)]);
    let actions = lab.server(r#"[null,null,"realtime:gateway_jobs_G","postgres_changes",{"ids":[93486771],"data":{"schema":"public","table":"gateway_jobs","type":"INSERT","commit_timestamp":"2026-11-21T01:08:28.234Z","errors":null,"columns":[{"name":"id","type":"uuid"}],"record":{"id":"j","team_id":"T","status":"queued","payload":{"k":"v"}}}}]"#);
    let [Action::Emit(RealtimeEvent::Change(change))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(
        (change.kind.as_str(), change.id(), change.errors.len()),
        ("INSERT", Some("j"), 0)
    );
    assert_eq!(change.record["payload"]["k"], "v");
    let (waited, actions) = lab.wait();
    assert_eq!(waited, HEARTBEAT);
    assert_eq!(sent(&actions), [r#"[null,"2","phoenix","heartbeat",{}]"#]);
    assert!(actions.contains(&Action::CheckToken));
    assert_eq!(
        lab.server(r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#),
        []
    );
    let push = lab.give(Input::Token(Secret::new("J2")));
    assert_eq!(
        sent(&push),
        [r#"["1","3","realtime:gateway_jobs_G","access_token",{"access_token":"J2"}]"#]
    );
    assert_eq!(lab.give(Input::Token(Secret::new("J2"))), [], "told twice");
    let leave = lab.machine.leave().unwrap().encode(Vsn::V2);
    assert_eq!(leave, r#"["1","4","realtime:gateway_jobs_G","phx_leave",{}]"#);
}

#[test]
fn an_event_over_the_servers_limit_is_flagged() {
    let mut lab = Lab::joined();
    let actions = lab.server(r#"[null,null,"realtime:gateway_jobs_G","postgres_changes",{"ids":[1],"data":{"schema":"public","table":"gateway_jobs","type":"INSERT","errors":["Error 413: Payload Too Large"],"record":{"id":"j"}}}]"#);
    let [Action::Emit(RealtimeEvent::Change(change))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(change.errors, ["Error 413: Payload Too Large"]);
    assert_eq!(change.id(), Some("j"));
}

#[test]
fn every_end_of_the_channel_leads_back_to_a_join() {
    let ends = [
        (r#"["1","1","realtime:gateway_jobs_G","phx_close",{}]"#, false),
        (
            r#"["1","1","realtime:gateway_jobs_G","phx_error",{"reason":"channel_crash"}]"#,
            false,
        ),
        (
            r#"["1",null,"realtime:gateway_jobs_G","system",{"extension":"system","status":"error","message":"Token has expired 0 seconds ago","channel":"gateway_jobs_G"}]"#,
            true,
        ),
        (
            r#"[null,null,"realtime:gateway_jobs_G","system",{"extension":"postgres_changes","status":"error","message":"x","channel":"gateway_jobs_G"}]"#,
            false,
        ),
        (
            r#"["1","9","realtime:gateway_jobs_G","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#,
            false,
        ),
    ];
    for (end, renews) in ends {
        let mut lab = Lab::joined();
        down(&lab.server(end));
        assert!(!lab.machine.is_joined());
        assert_eq!(lab.wait().1, [Action::Open { renew: renews }], "{end}");
        let join = sent(&lab.give(Input::Opened(Secret::new("J2"))));
        assert!(
            join[0].starts_with(r#"["1","1","#) && join[0].contains("J2"),
            "{join:?}"
        );
    }
}

#[test]
fn a_join_refused_for_its_token_brings_a_fresh_one() {
    let mut lab = Lab::new(0.5);
    lab.open();
    let (reason, _) = down(&lab.server(r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"error","response":{"reason":"InvalidJWTToken: Token has expired 12 seconds ago"}}]"#));
    assert!(reason.contains("expired 12 seconds"), "{reason}");
    assert_eq!(lab.wait().1, [Action::Open { renew: true }]);
}

#[test]
fn other_bindings_than_asked_for_are_refused() {
    let echoes = [
        json!([]),
        json!([{"id": 1, "event": "*", "schema": "public", "table": "gateway_jobs", "filter": "team_id=eq.T"}]),
        json!([{"id": 1, "event": "INSERT", "schema": "public", "table": "gateway_jobs", "filter": "team_id=eq.U"}]),
        json!([{"id": 1, "event": "INSERT", "schema": "public", "table": "gateway_jobs"}]),
    ];
    for echo in echoes {
        let mut lab = Lab::new(0.5);
        lab.open();
        let reply = Frame::new(
            TOPIC,
            "phx_reply",
            json!({"status": "ok", "response": {"postgres_changes": echo}}),
        )
        .with_refs(Some("1".to_owned()), Some("1".to_owned()));
        down(&lab.give(Input::Frame(reply)));
    }
}

#[test]
fn a_silent_peer_is_dead_within_thirty_five_seconds() {
    let mut lab = Lab::joined();
    let silent_since = lab.now;
    lab.wait();
    let (waited, actions) = lab.wait();
    assert_eq!(waited, HEARTBEAT_REPLY);
    let (_, retry_in) = down(&actions);
    assert_eq!(lab.now - silent_since, HEARTBEAT + HEARTBEAT_REPLY);
    assert!(lab.now - silent_since < DEAD_PEER);
    assert!(retry_in <= Duration::from_secs(1));
}

#[test]
fn a_peer_that_talks_but_never_answers_heartbeats_lives() {
    let mut lab = Lab::joined();
    for _ in 0..20 {
        lab.wait();
        lab.now += Duration::from_secs(1);
        assert_eq!(lab.give(Input::Alive), []);
    }
    assert!(lab.machine.is_joined());
}

#[test]
fn joins_and_openings_have_deadlines() {
    let mut lab = Lab::new(0.5);
    lab.open();
    let (waited, actions) = lab.wait();
    down(&actions);
    assert_eq!(waited, JOIN_DEADLINE);
    lab.wait();
    let (waited, actions) = lab.wait();
    down(&actions);
    assert_eq!(waited, OPEN_DEADLINE);
}

#[test]
fn waits_grow_to_eight_seconds_and_only_health_resets_them() {
    let mut lab = Lab::new(1.0);
    let mut waits = Vec::new();
    for _ in 0..7 {
        lab.open();
        lab.server(JOIN_OK);
        lab.now += Duration::from_secs(5);
        let closed = Input::Closed {
            reason: "x".to_owned(),
            retry_after: None,
        };
        waits.push(down(&lab.give(closed)).1.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8, 8]);
    lab.open();
    lab.server(JOIN_OK);
    lab.now += Duration::from_secs(61);
    let closed = Input::Closed {
        reason: "x".to_owned(),
        retry_after: Some(Duration::from_secs(9)),
    };
    assert_eq!(
        down(&lab.give(closed)).1,
        Duration::from_secs(10),
        "one second and what the server asked for"
    );
}

#[test]
fn frames_of_an_earlier_join_and_of_other_topics_are_of_no_concern() {
    let mut lab = Lab::joined();
    assert_eq!(lab.server(r#"["7","7","realtime:gateway_jobs_G","phx_close",{}]"#), []);
    assert_eq!(lab.server(r#"[null,null,"realtime:other","phx_close",{}]"#), []);
    assert_eq!(
        lab.server(r#"[null,null,"realtime:gateway_jobs_G","presence_state",{}]"#),
        []
    );
    assert!(lab.machine.is_joined());
}

#[test]
fn nonsense_in_a_good_frame_is_counted_and_survived() {
    let mut lab = Lab::joined();
    for payload in [
        "[]",
        "{}",
        r#"{"data":1}"#,
        r#"{"data":{"type":"INSERT","table":"t","errors":null,"record":[]}}"#,
    ] {
        let text = format!(r#"[null,null,"{TOPIC}","postgres_changes",{payload}]"#);
        assert_eq!(lab.server(&text), []);
    }
    assert_eq!(lab.machine.malformed(), 4);
    assert!(lab.machine.is_joined());
}

#[test]
fn a_reason_never_repeats_the_token() {
    let mut lab = Lab::new(0.5);
    lab.wait();
    lab.give(Input::Opened(Secret::new("secret-jwt")));
    let reply =
        r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"error","response":{"reason":"bad: secret-jwt"}}]"#;
    let (reason, _) = down(&lab.server(reply));
    assert!(!reason.contains("secret-jwt"), "{reason}");
}

/// One step of a random schedule.
#[derive(Debug, Clone)]
enum Step {
    ToDeadline,
    Pass(u64),
    Opened,
    Refused,
    Closed,
    Token(u8),
    Server(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::ToDeadline),
        1 => (0_u64..40_000).prop_map(Step::Pass),
        4 => Just(Step::Opened),
        1 => Just(Step::Refused),
        1 => Just(Step::Closed),
        1 => any::<u8>().prop_map(Step::Token),
        6 => (0..SERVER.len()).prop_map(Step::Server),
    ];
    proptest::collection::vec(step, 1..200)
}

const SERVER: [&str; 7] = [
    JOIN_OK,
    SYSTEM_OK,
    r#"["1","1","realtime:gateway_jobs_G","phx_close",{}]"#,
    r#"["1","1","realtime:gateway_jobs_G","phx_reply",{"status":"error","response":{"reason":"Unauthorized: x"}}]"#,
    r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#,
    r#"["3","3","realtime:gateway_jobs_G","phx_error",{}]"#,
    r#"[null,null,"realtime:gateway_jobs_G","postgres_changes",{"data":{"type":"INSERT","table":"gateway_jobs","record":{"id":"j"}}}]"#,
];

/// What the outside of the machine looks like, and what must hold whatever happens.
#[derive(Default)]
struct Outside {
    socket: bool,
    opening: bool,
    subscribed: bool,
    last_open: Option<Instant>,
}

impl Outside {
    fn apply(&mut self, now: Instant, actions: Vec<Action>) -> Result<(), TestCaseError> {
        for action in actions {
            match action {
                Action::Open { .. } => {
                    prop_assert!(!self.socket && !self.opening, "a second socket");
                    let gap = self.last_open.map(|at| now.saturating_duration_since(at));
                    prop_assert!(
                        gap.is_none_or(|gap| gap >= Duration::from_millis(50)),
                        "a busy loop: {gap:?}"
                    );
                    self.opening = true;
                    self.last_open = Some(now);
                }
                Action::Send(_) => prop_assert!(self.socket, "sent without a socket"),
                Action::Close => {
                    prop_assert!(self.socket || self.opening, "nothing to close");
                    (self.socket, self.opening) = (false, false);
                }
                Action::CheckToken => {}
                Action::Emit(RealtimeEvent::Subscribed) => {
                    prop_assert!(self.socket && !self.subscribed, "subscribed twice");
                    self.subscribed = true;
                }
                Action::Emit(RealtimeEvent::SystemOk | RealtimeEvent::Change(_)) => prop_assert!(self.socket),
                Action::Emit(RealtimeEvent::Down { retry_in, .. }) => {
                    prop_assert!(!self.socket && retry_in <= Duration::from_secs(8));
                    self.subscribed = false;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_socket_and_always_a_way_back(steps in steps(), unit in 0.0..1.0_f64) {
        let mut lab = Lab::new(unit);
        let mut outside = Outside::default();
        for step in steps {
            let input = match step {
                Step::ToDeadline => {
                    lab.now = lab.now.max(lab.machine.deadline());
                    Input::Tick
                }
                Step::Pass(ms) => {
                    lab.now += Duration::from_millis(ms);
                    Input::Tick
                }
                Step::Opened if outside.opening => {
                    (outside.opening, outside.socket) = (false, true);
                    Input::Opened(Secret::new("J"))
                }
                Step::Refused if outside.opening => Input::Closed { reason: "r".to_owned(), retry_after: None },
                Step::Closed if outside.socket => Input::Closed { reason: "c".to_owned(), retry_after: None },
                Step::Server(index) if outside.socket => Input::Frame(Frame::decode(Vsn::V2, SERVER[index]).unwrap()),
                Step::Token(number) => Input::Token(Secret::new(number.to_string())),
                Step::Opened | Step::Refused | Step::Closed | Step::Server(_) => continue,
            };
            let actions = lab.give(input);
            outside.apply(lab.now, actions)?;
            prop_assert_eq!(lab.machine.is_joined(), outside.subscribed);
            prop_assert!(lab.machine.deadline() <= lab.now + DEAD_PEER, "sleeps for too long");
        }
        // Left alone with a good server, it is subscribed again before long.
        for _ in 0..10 {
            if lab.machine.is_joined() {
                break;
            }
            if outside.opening {
                (outside.opening, outside.socket) = (false, true);
                let actions = lab.give(Input::Opened(Secret::new("J")));
                outside.apply(lab.now, actions)?;
            }
            if outside.socket {
                let actions = lab.server(JOIN_OK);
                outside.apply(lab.now, actions)?;
            } else {
                let (_, actions) = lab.wait();
                outside.apply(lab.now, actions)?;
            }
        }
        prop_assert!(lab.machine.is_joined());
    }
}
