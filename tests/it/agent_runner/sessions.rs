//! Turns of one session: one after the other, each with its own figures.

use gateway::domain::run::FailureKind;
use gateway::provider::request::Session;
use serde_json::json;

use super::{Bench, failure, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn turns_of_one_session_never_overlap() {
    let bench = Bench::new(FakeDriver::default());
    let body =
        r#"echo begin >>"${0%/*}/log"; sleep 0.1; echo end >>"${0%/*}/log"; echo '{"answer":"x","session":"s"}'"#;
    let [(first, _), (second, _)] = bench.both(body).await;
    assert_eq!((text(&first), text(&second)), ("x", "x"));
    assert_eq!(bench.notes("log"), "begin\nend\nbegin\nend\n");
}

#[tokio::test]
async fn another_session_than_the_one_resumed_is_a_failure() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"answer":"x","session":"fresh"}'"#);
    turn.request.session = Session::Resume("old".to_owned());
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report).0, FailureKind::Session);
    assert_eq!(report.session_id.as_deref(), Some("fresh"));
}

#[tokio::test]
async fn figures_are_those_of_the_run() {
    let bench = Bench::new(FakeDriver {
        cumulative: true,
        ..FakeDriver::default()
    });
    let figures = async |total: u32, session: Session| {
        let body = format!(r#"echo '{{"answer":"x","session":"s","usage":{{"in":{total}}},"cost":{total}}}'"#);
        let mut turn = bench.turn(&body);
        turn.request.session = session;
        let (report, _) = bench.run(&turn).await;
        (report.usage, report.cost_usd)
    };
    let resumed = || Session::Resume("s".to_owned());
    assert_eq!(
        figures(100, Session::New("s".to_owned())).await,
        (Some(json!({"in": 100})), Some(100.0))
    );
    assert_eq!(figures(250, resumed()).await, (Some(json!({"in": 150})), Some(150.0)));
    assert_eq!(figures(300, resumed()).await, (Some(json!({"in": 50})), Some(50.0)));
}
