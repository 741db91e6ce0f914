//! X8: an hour that nobody waits for. The parts that decide are given their time; nothing here is a clock.

use std::time::Duration;

use gateway::domain::ids::JobId;
use gateway::job::report::Schedule;
use gateway::runtime::feed::{Feed, Outcome, Switches};

const HOUR: Duration = Duration::from_hours(1);
const SWITCHES: Switches = Switches {
    polling: true,
    realtime: true,
};

fn job(number: usize) -> JobId {
    JobId::new(format!("job-{number}")).unwrap()
}

/// The network is gone for an hour in which thirty jobs end.
#[test]
fn x8_after_an_hour_without_a_network_every_result_is_sent_in_order() {
    let mut schedule = Schedule::default();
    let (mut now, mut attempts, mut ended) = (Duration::ZERO, 0, 0);
    while now < HOUR {
        if ended < 30 && now >= Duration::from_secs(100 * ended as u64) {
            schedule.add(job(ended), now);
            ended += 1;
        }
        while let Some((id, _)) = schedule.take_due(now, true) {
            attempts += 1;
            schedule.failed(&id, now, None, 0.5);
        }
        now += Duration::from_millis(100);
    }
    assert_eq!(schedule.len(), 30);
    // Each is tried every fifteen to thirty seconds once its waits have grown.
    assert!(attempts < 30 * 250, "{attempts}");
    schedule.nudge(now);
    let mut sent = Vec::new();
    while let Some((id, _)) = schedule.take_due(now, false) {
        schedule.settled(&id);
        sent.push(id);
    }
    assert_eq!(sent, (0..30).map(job).collect::<Vec<_>>());
}

/// The questions of that hour are no more than one every four seconds.
#[test]
fn x8_an_hour_without_a_network_is_no_storm() {
    let mut feed = Feed::new(SWITCHES, 10, Duration::ZERO);
    let mut asked = 0;
    while let Some(at) = feed.wake_at(10).filter(|at| *at < HOUR) {
        assert!(feed.due(at, 10).is_some());
        feed.finished(at, Outcome::Failed { after: None }, 1.0);
        asked += 1;
    }
    assert!((600..=902).contains(&asked), "{asked}");
}
