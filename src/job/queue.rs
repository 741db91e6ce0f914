//! The waiting line before the workers: bounded, keyed by job id, in order within a lane.
//!
//! Pure: no clock, channel or task. A job whose lane is busy waits aside and holds nobody up.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::domain::ids::{JobId, SubagentId};
use crate::domain::job::{Job, Timeline};

/// A job on its way to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The row.
    pub job: Job,
    /// Its steps so far.
    pub timeline: Timeline,
    /// What it costs in memory, roughly: bytes of its payload on the wire.
    pub bytes: usize,
}

/// Bounds of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that may run at the same time.
    pub slots: usize,
    /// Jobs that may wait.
    pub jobs: usize,
    /// Payload bytes that may wait.
    pub bytes: usize,
}

/// Answer to an offered job.
#[must_use = "a job that was not queued has to be asked for again"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It waits.
    Queued,
    /// It waits or runs already.
    Duplicate,
    /// No room; the row stays queued on the control plane.
    Full,
}

/// The queue; see the module's head.
#[derive(Debug)]
pub struct JobQueue {
    limits: Limits,
    /// Jobs that could start now, oldest arrival first.
    ready: BTreeMap<u64, Waiting>,
    /// Jobs behind a busy lane, in order.
    lanes: HashMap<SubagentId, VecDeque<(u64, Waiting)>>,
    /// Where each waiting job is.
    places: HashMap<JobId, u64>,
    running: HashMap<JobId, Option<SubagentId>>,
    busy: HashSet<SubagentId>,
    arrivals: u64,
    bytes: usize,
}

impl JobQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ready: BTreeMap::new(),
            lanes: HashMap::new(),
            places: HashMap::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
            arrivals: 0,
            bytes: 0,
        }
    }

    /// Adds a job, unless it is here already or there is no room.
    ///
    /// A single job larger than the byte bound is taken when nothing else waits: it could never run otherwise.
    pub fn offer(&mut self, waiting: Waiting) -> Offer {
        if self.holds(&waiting.job.id) {
            return Offer::Duplicate;
        }
        let fits = self.bytes.saturating_add(waiting.bytes) <= self.limits.bytes || self.places.is_empty();
        if self.places.len() >= self.limits.jobs || !fits {
            return Offer::Full;
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes = self.bytes.saturating_add(waiting.bytes);
        self.places.insert(waiting.job.id.clone(), arrival);
        match waiting.job.lane() {
            Some(lane) if !self.busy.insert(lane.clone()) => {
                self.lanes.entry(lane).or_default().push_back((arrival, waiting));
            }
            Some(_) | None => {
                self.ready.insert(arrival, waiting);
            }
        }
        Offer::Queued
    }

    /// Hands out the oldest job that may start, if a slot is free. It counts as running until [`Self::done`].
    pub fn take_ready(&mut self) -> Option<Waiting> {
        if self.running.len() >= self.limits.slots {
            return None;
        }
        let (_, waiting) = self.ready.pop_first()?;
        self.places.remove(&waiting.job.id);
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        self.running.insert(waiting.job.id.clone(), waiting.job.lane());
        Some(waiting)
    }

    /// A running job ended: its slot and lane are free.
    pub fn done(&mut self, id: &JobId) {
        if let Some(Some(lane)) = self.running.remove(id) {
            self.release(&lane);
        }
    }

    /// Forgets a waiting job, because nobody wants it any more.
    pub fn withdraw(&mut self, id: &JobId) -> Option<Waiting> {
        let arrival = self.places.remove(id)?;
        let waiting = match self.ready.remove(&arrival) {
            Some(waiting) => {
                if let Some(lane) = waiting.job.lane() {
                    self.release(&lane);
                }
                waiting
            }
            None => self.leave_lane(id)?,
        };
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    /// Forgets every waiting job; their rows stay queued on the control plane.
    pub fn clear_waiting(&mut self) {
        self.ready.clear();
        self.lanes.clear();
        self.places.clear();
        self.bytes = 0;
        self.busy = self.running.values().flatten().cloned().collect();
    }

    /// Slots for which nothing waits: how many rows are worth asking for.
    #[must_use]
    pub fn free(&self) -> usize {
        self.limits.slots.saturating_sub(self.running.len() + self.ready.len())
    }

    /// Whether the job waits or runs here.
    #[must_use]
    pub fn holds(&self, id: &JobId) -> bool {
        self.places.contains_key(id) || self.running.contains_key(id)
    }

    /// Whether a job of this lane would have to wait for another one.
    #[must_use]
    pub fn lane_is_busy(&self, lane: &SubagentId) -> bool {
        self.busy.contains(lane)
    }

    /// Jobs running now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Jobs waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// The lane's next job moves up, or the lane becomes free.
    fn release(&mut self, lane: &SubagentId) {
        let next = self.lanes.get_mut(lane).and_then(VecDeque::pop_front);
        if self.lanes.get(lane).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(lane);
        }
        match next {
            Some((arrival, waiting)) => {
                self.ready.insert(arrival, waiting);
            }
            None => {
                self.busy.remove(lane);
            }
        }
    }

    fn leave_lane(&mut self, id: &JobId) -> Option<Waiting> {
        let lane = self
            .lanes
            .iter()
            .find(|(_, line)| line.iter().any(|(_, waiting)| waiting.job.id == *id))
            .map(|(lane, _)| lane.clone())?;
        let line = self.lanes.get_mut(&lane)?;
        let place = line.iter().position(|(_, waiting)| waiting.job.id == *id)?;
        let (_, waiting) = line.remove(place)?;
        if line.is_empty() {
            self.lanes.remove(&lane);
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::domain::ids::TeamId;
    use crate::domain::job::{Ingress, JobKind, JobStatus, Requester};

    fn waiting(id: &str, lane: Option<u8>, bytes: usize) -> Waiting {
        let mut payload = Map::new();
        if let Some(lane) = lane {
            payload.insert("subagent_id".to_owned(), Value::from(format!("lane-{lane}")));
        }
        let kind = if lane.is_some() { "subagent_run" } else { "shell_exec" };
        Waiting {
            job: Job {
                id: JobId::new(id).unwrap(),
                team_id: TeamId::new("t").unwrap(),
                gateway_id: None,
                kind: JobKind::from_wire(kind),
                status: JobStatus::Queued,
                payload,
                requested_via: None,
                requested_by: Requester::default(),
                idempotency_key: None,
                attempt: None,
                created_at: "2026-01-01T00:00:00Z".to_owned(),
            },
            timeline: Timeline::received(Ingress::Poll, crate::domain::clock::now()),
            bytes,
        }
    }

    fn queue(slots: usize, jobs: usize, bytes: usize) -> JobQueue {
        JobQueue::new(Limits { slots, jobs, bytes })
    }

    fn id(text: &str) -> JobId {
        JobId::new(text).unwrap()
    }

    #[test]
    fn a_busy_lane_holds_nobody_else_up_and_keeps_its_order() {
        let mut queue = queue(3, 10, 1000);
        for (name, lane) in [("a1", Some(1)), ("a2", Some(1)), ("b1", Some(2)), ("c", None)] {
            assert_eq!(queue.offer(waiting(name, lane, 1)), Offer::Queued);
        }
        let mut taken = || queue.take_ready().map(|waiting| waiting.job.id.to_string());
        assert_eq!([taken(), taken(), taken()].map(Option::unwrap), ["a1", "b1", "c"]);
        queue.done(&id("c"));
        assert!(queue.take_ready().is_none(), "a2 waits for a1");
        queue.done(&id("a1"));
        assert_eq!(queue.take_ready().unwrap().job.id, id("a2"));
    }

    #[test]
    fn both_bounds_refuse_and_one_oversized_job_passes_alone() {
        let mut queue = queue(1, 2, 100);
        assert_eq!(queue.offer(waiting("big", None, 500)), Offer::Queued);
        assert_eq!(queue.offer(waiting("small", None, 1)), Offer::Full);
        assert!(queue.take_ready().is_some());
        assert_eq!(queue.offer(waiting("x", None, 50)), Offer::Queued);
        assert_eq!(queue.offer(waiting("big", None, 1)), Offer::Duplicate, "running");
        assert_eq!(queue.offer(waiting("x", None, 50)), Offer::Duplicate, "waiting");
        assert_eq!(queue.offer(waiting("y", None, 50)), Offer::Queued);
        assert_eq!(queue.offer(waiting("z", None, 0)), Offer::Full);
    }

    #[test]
    fn withdrawing_the_head_of_a_lane_moves_the_next_one_up() {
        let mut queue = queue(1, 10, 100);
        for name in ["a1", "a2", "a3"] {
            assert_eq!(queue.offer(waiting(name, Some(1), 1)), Offer::Queued);
        }
        assert!(queue.withdraw(&id("a1")).is_some());
        assert!(queue.withdraw(&id("a3")).is_some());
        assert!(queue.withdraw(&id("nobody")).is_none());
        assert_eq!(queue.take_ready().unwrap().job.id, id("a2"));
        queue.done(&id("a2"));
        assert!(!queue.lane_is_busy(&SubagentId::new("lane-1").unwrap()));
    }

    #[test]
    fn clearing_keeps_what_runs() {
        let mut queue = queue(1, 10, 100);
        for name in ["a1", "a2"] {
            assert_eq!(queue.offer(waiting(name, Some(1), 1)), Offer::Queued);
        }
        assert!(queue.take_ready().is_some());
        queue.clear_waiting();
        assert_eq!((queue.running(), queue.waiting()), (1, 0));
        assert!(queue.holds(&id("a1")) && !queue.holds(&id("a2")));
        assert!(queue.lane_is_busy(&SubagentId::new("lane-1").unwrap()));
        queue.done(&id("a1"));
        assert_eq!(queue.offer(waiting("a3", Some(1), 1)), Offer::Queued);
        assert!(queue.take_ready().is_some());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Offer(u8, Option<u8>, usize),
        Take,
        Done(usize),
        Withdraw(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (any::<u8>(), proptest::option::of(0..4_u8), 0..40_usize).prop_map(|(n, lane, bytes)| Act::Offer(n, lane, bytes)),
            3 => Just(Act::Take),
            3 => any::<usize>().prop_map(Act::Done),
            1 => any::<u8>().prop_map(Act::Withdraw),
        ]
    }

    proptest! {
        #[test]
        fn every_job_is_handed_out_once_in_lane_order(acts in proptest::collection::vec(act(), 0..300)) {
            let mut queue = queue(4, 12, 200);
            let mut running: Vec<Waiting> = Vec::new();
            let mut expected: Vec<Waiting> = Vec::new();
            for act in acts {
                match act {
                    Act::Offer(n, lane, bytes) => {
                        let job = waiting(&n.to_string(), lane, bytes);
                        let held = queue.holds(&job.job.id);
                        match queue.offer(job.clone()) {
                            Offer::Queued => { prop_assert!(!held); expected.push(job); }
                            Offer::Duplicate => prop_assert!(held),
                            Offer::Full => prop_assert!(!held),
                        }
                    }
                    Act::Take => if let Some(taken) = queue.take_ready() {
                        let lane = taken.job.lane();
                        prop_assert!(lane.is_none() || running.iter().all(|other| other.job.lane() != lane));
                        let free = |w: &&Waiting| w.job.lane().is_none_or(|l| running.iter().all(|o| o.job.lane().as_ref() != Some(&l)));
                        prop_assert_eq!(&expected.iter().find(free).unwrap().job.id, &taken.job.id, "the oldest that may start");
                        expected.retain(|other| other.job.id != taken.job.id);
                        running.push(taken);
                    },
                    Act::Done(n) => if !running.is_empty() {
                        let ended = running.remove(n % running.len());
                        queue.done(&ended.job.id);
                    },
                    Act::Withdraw(n) => {
                        let gone = id(&n.to_string());
                        prop_assert_eq!(queue.withdraw(&gone).is_some(), expected.iter().any(|w| w.job.id == gone));
                        expected.retain(|other| other.job.id != gone);
                    }
                }
                prop_assert!(queue.waiting() <= 12 && queue.running() <= 4);
                prop_assert_eq!((queue.waiting(), queue.running()), (expected.len(), running.len()));
                prop_assert_eq!(queue.bytes, expected.iter().map(|w| w.bytes).sum::<usize>());
            }
            for ended in running.drain(..) { queue.done(&ended.job.id); }
            while let Some(taken) = queue.take_ready() {
                expected.retain(|other| other.job.id != taken.job.id);
                queue.done(&taken.job.id);
            }
            prop_assert!(expected.is_empty(), "starved: {expected:?}");
            prop_assert!(queue.busy.is_empty() && queue.lanes.is_empty());
        }
    }
}
