//! When which result is sent. Pure: time and randomness are handed in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::domain::backoff::Backoff;
use crate::domain::ids::JobId;
use crate::job::report::Cut;

/// Results on their way at the same time: each of them is in memory.
const MAX_SENDING: usize = 16;
/// While the control plane is away one result is enough to learn that it is back; and those that wait keep their order.
const MAX_SENDING_AWAY: usize = 1;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How often a result that is refused in every form, or has no row, is tried again: eight minutes.
const MAX_ROUNDS: u32 = 20;

#[derive(Debug)]
struct Entry {
    id: JobId,
    due: Duration,
    /// The control plane asked not to be asked earlier.
    not_before: Duration,
    backoff: Backoff,
    cut: Cut,
    /// How often even the reason alone was refused.
    rounds: u32,
    /// How often nothing came of it although nothing failed.
    in_vain: u32,
    sending: bool,
}

/// Results that are not yet confirmed, oldest first. One that is stuck holds no other up.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: BTreeMap<u64, Entry>,
    places: HashMap<JobId, u64>,
    sending: usize,
    added: u64,
}

impl Schedule {
    /// A new result, to be sent at once. One that is here already stays as it is.
    pub fn add(&mut self, id: JobId, now: Duration) {
        if self.places.contains_key(&id) {
            return;
        }
        let place = self.added;
        self.added += 1;
        self.places.insert(id.clone(), place);
        let entry = Entry {
            id,
            due: now,
            not_before: now,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            cut: Cut::Whole,
            rounds: 0,
            in_vain: 0,
            sending: false,
        };
        self.entries.insert(place, entry);
    }

    /// The oldest result that is due, if there is room to send it. `away` while the control plane does not answer.
    pub fn take_due(&mut self, now: Duration, away: bool) -> Option<(JobId, Cut)> {
        if self.is_full(away) {
            return None;
        }
        let entry = self
            .entries
            .values_mut()
            .find(|entry| !entry.sending && entry.due <= now)?;
        entry.sending = true;
        self.sending += 1;
        Some((entry.id.clone(), entry.cut))
    }

    /// It arrived, or nobody wants it any more.
    pub fn settled(&mut self, id: &JobId) {
        if let Some(entry) = self.places.remove(id).and_then(|place| self.entries.remove(&place)) {
            self.sending -= usize::from(entry.sending);
        }
    }

    /// It did not get through: later again.
    pub fn failed(&mut self, id: &JobId, now: Duration, retry_after: Option<Duration>, random: f64) {
        let Some(entry) = self.returned(id) else { return };
        // Half of the step is certain: with full jitter many retries would come at once.
        let step = entry.backoff.ceiling_step();
        let wait = step / 2 + (step / 2).mul_f64(random.clamp(0.0, 1.0));
        entry.not_before = now + retry_after.unwrap_or_default();
        entry.due = (now + wait).max(entry.not_before);
    }

    /// Nothing came of it although nothing failed: later again. `false` when that was of no use for minutes.
    pub fn in_vain(&mut self, id: &JobId, now: Duration, random: f64) -> bool {
        self.failed(id, now, None, random);
        let entry = self.places.get(id).and_then(|place| self.entries.get_mut(place));
        entry.is_some_and(|entry| {
            entry.in_vain += 1;
            entry.in_vain <= MAX_ROUNDS
        })
    }

    /// It was refused as it is: shorter at once. When there is nothing shorter it was not for its length: whole again
    /// later. `None` when that was of no use for minutes.
    pub fn refused(&mut self, id: &JobId, now: Duration) -> Option<Cut> {
        let entry = self.returned(id)?;
        entry.due = now;
        entry.cut = match entry.cut.next() {
            Some(shorter) => shorter,
            None if entry.rounds < MAX_ROUNDS => {
                entry.rounds += 1;
                entry.due = now + entry.backoff.ceiling_step();
                Cut::Whole
            }
            None => return None,
        };
        Some(entry.cut)
    }

    /// The control plane is there again: no need to wait out the back-off.
    pub fn nudge(&mut self, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| !entry.sending) {
            entry.due = entry.due.min(now).max(entry.not_before);
            entry.backoff.reset();
        }
    }

    /// When [`Self::take_due`] is worth asking again; `None` until something is added or returns.
    #[must_use]
    pub fn wake_at(&self, away: bool) -> Option<Duration> {
        if self.is_full(away) {
            return None;
        }
        self.entries
            .values()
            .filter(|entry| !entry.sending)
            .map(|entry| entry.due)
            .min()
    }

    /// Results not yet confirmed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is confirmed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    const fn is_full(&self, away: bool) -> bool {
        self.sending >= if away { MAX_SENDING_AWAY } else { MAX_SENDING }
    }

    fn returned(&mut self, id: &JobId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(self.places.get(id)?)?;
        if std::mem::take(&mut entry.sending) {
            self.sending -= 1;
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn id(text: &str) -> JobId {
        JobId::new(text).unwrap()
    }

    #[test]
    fn oldest_first_and_a_stuck_one_holds_nobody_up() {
        let mut schedule = Schedule::default();
        for name in ["a", "b", "a"] {
            schedule.add(id(name), at(0));
        }
        assert_eq!(schedule.take_due(at(0), false), Some((id("a"), Cut::Whole)));
        schedule.failed(&id("a"), at(1), None, 0.5);
        assert_eq!(schedule.take_due(at(1), false), Some((id("b"), Cut::Whole)));
        schedule.settled(&id("b"));
        assert_eq!((schedule.take_due(at(1), false), schedule.len()), (None, 1));
        assert_eq!(schedule.wake_at(false), Some(at(376)));
    }

    #[test]
    fn retries_slow_down_and_a_sign_of_life_hurries_them() {
        let mut schedule = Schedule::default();
        schedule.add(id("a"), at(0));
        let mut now = at(0);
        for _ in 0..12 {
            assert!(schedule.take_due(now, false).is_some());
            schedule.failed(&id("a"), now, None, 1.0);
            let wait = schedule.wake_at(false).unwrap() - now;
            assert!(wait >= at(500) && wait <= at(30_000));
            now += wait;
        }
        assert!(schedule.take_due(now, false).is_some());
        schedule.failed(&id("a"), now, None, 1.0);
        schedule.nudge(now + at(5));
        assert_eq!(schedule.wake_at(false), Some(now + at(5)));
        assert!(schedule.take_due(now + at(5), false).is_some());
        schedule.failed(&id("a"), now, Some(at(60_000)), 0.0);
        schedule.nudge(now + at(6));
        assert_eq!(
            schedule.wake_at(false),
            Some(now + at(60_000)),
            "a wait that was asked for is kept"
        );
    }

    #[test]
    fn a_refused_result_gets_shorter_and_later_is_tried_whole_again() {
        let mut schedule = Schedule::default();
        schedule.add(id("a"), at(0));
        let (mut cuts, mut now) = (Vec::new(), at(0));
        while let Some(wake) = schedule.wake_at(false) {
            now = now.max(wake);
            let (id, cut) = schedule.take_due(now, false).unwrap();
            cuts.push(cut);
            if schedule.refused(&id, now).is_none() {
                schedule.settled(&id);
            }
        }
        let ladder = [Cut::Whole, Cut::Short, Cut::Shorter, Cut::Reason];
        assert!(
            cuts.chunks(4).all(|round| round == ladder) && cuts.len() == 84,
            "{cuts:?}"
        );
        assert!(now > at(400_000) && now < at(900_000), "{now:?}");
        assert!(schedule.is_empty() && schedule.sending == 0);
    }

    #[test]
    fn a_result_without_a_row_is_given_up_after_minutes() {
        let mut schedule = Schedule::default();
        schedule.add(id("a"), at(0));
        let (mut now, mut attempts) = (at(0), 1);
        while schedule.take_due(now, false).is_some() && schedule.in_vain(&id("a"), now, 1.0) {
            now = schedule.wake_at(false).unwrap();
            attempts += 1;
        }
        assert_eq!(attempts, 21);
        assert!(now > at(400_000) && now < at(600_000), "{now:?}");
    }

    proptest! {
        #[test]
        fn everything_arrives_once_the_way_is_clear(fates in proptest::collection::vec(0..4_u8, 0..400)) {
            let mut schedule = Schedule::default();
            for n in 0..40 {
                schedule.add(id(&n.to_string()), at(0));
            }
            let (mut fates, mut now, mut settled) = (fates.into_iter(), at(0), 0);
            while let Some(wake) = schedule.wake_at(false) {
                now = now.max(wake);
                let mut batch = Vec::new();
                while let Some((id, _)) = schedule.take_due(now, false) { batch.push(id); }
                prop_assert!(!batch.is_empty() && batch.len() <= MAX_SENDING);
                for id in batch {
                    match fates.next() {
                        Some(0) => schedule.failed(&id, now, None, 0.3),
                        Some(1) => schedule.failed(&id, now, Some(at(700)), 0.3),
                        Some(2) if schedule.refused(&id, now).is_some() => {}
                        Some(_) | None => { settled += 1; schedule.settled(&id); }
                    }
                }
            }
            prop_assert_eq!((settled, schedule.sending), (40, 0));
        }
    }
}
