//! X8: thirty jobs end while the network is gone.

use std::time::Duration;

use gateway::domain::ids::JobId;
use gateway::job::report::Schedule;

const JOBS: usize = 30;

/// The outbox's own part, on virtual time: an hour in which every attempt takes two seconds and fails.
#[test]
fn x8_an_hour_away_is_spent_with_one_result_in_hand_and_then_all_go_in_order() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const ATTEMPT: Duration = Duration::from_secs(2);
    let ids: Vec<_> = (0..JOBS).map(|n| JobId::new(n.to_string()).unwrap()).collect();
    let (mut schedule, mut now, mut attempts) = (Schedule::default(), Duration::ZERO, 0);
    ids.iter().for_each(|id| schedule.add(id.clone(), now));
    while now < HOUR {
        now = now.max(schedule.wake_at(true).unwrap());
        let (id, _) = schedule.take_due(now, true).unwrap();
        assert_eq!(schedule.take_due(now, true), None);
        now += ATTEMPT;
        schedule.failed(&id, now, None, 0.5);
        attempts += 1;
    }
    assert!((1_000..=1_800).contains(&attempts), "{attempts}");
    assert_eq!(schedule.len(), JOBS);
    schedule.nudge(now);
    let mut sent = Vec::new();
    while let Some((id, _)) = schedule.take_due(now, false) {
        schedule.settled(&id);
        sent.push(id);
    }
    assert_eq!(sent, ids);
}
