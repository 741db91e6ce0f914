//! Reconnect, reconcile and claim in simulated time: the parts that decide, with a control plane, a network and work
//! that are models. A seed is a history; the same seed is the same history.
//!
//! The real parts are the channel's machine, the feed, the sweep, the queue and the schedule of reports. What carries
//! out their decisions is modelled here, as the ingress, the worker and the reporter do it.

mod channel;
mod host;
mod network;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::host::Host;
use self::network::{Fate, Network};

/// Milliseconds since the beginning.
type Millis = u64;

/// How long things go wrong.
const TROUBLE: Millis = 90_000;
/// How long everything may take once nothing goes wrong any more: a wait of the reports, and some polls.
const RECOVERY: Millis = 60_000;
const JOBS: usize = 40;
const HISTORIES: u64 = 3_000;

/// What happens at a moment.
#[derive(Debug)]
enum Event {
    /// Somebody submits the next job.
    Submit,
    /// The network changes.
    Weather,
    /// An answer arrives, or the certainty that none will.
    Answer(Answer),
    /// The daemon looks at its clocks.
    Wake,
    /// A job's work is over.
    Worked(usize),
    /// A claim whose answer was lost is asked about.
    Again(usize),
    /// Something comes over the channel of this number.
    Channel(u64, channel::Word),
}

#[derive(Debug)]
enum Answer {
    /// Rows that are queued.
    Rows(Option<Vec<usize>>),
    /// A claim: whether the row is ours now.
    Claimed(usize, Option<bool>),
    /// An end: whether it arrived.
    Ended(usize, Option<()>),
}

/// How a row stands on the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Queued,
    Running,
    Done,
}

/// The world.
struct World {
    now: Millis,
    random: StdRng,
    /// By moment, and by order within it.
    coming: BTreeMap<(Millis, u64), Event>,
    planned: u64,
    network: Network,
    rows: Vec<Row>,
    /// How often each job's work was done.
    works: Vec<u32>,
    requests: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: 0,
            random: StdRng::seed_from_u64(seed),
            coming: BTreeMap::new(),
            planned: 0,
            network: Network::Good,
            rows: Vec::new(),
            works: Vec::new(),
            requests: 0,
        }
    }

    fn plan(&mut self, after: Millis, event: Event) {
        self.planned += 1;
        self.coming.insert((self.now + after, self.planned), event);
    }

    fn between(&mut self, least: Millis, most: Millis) -> Millis {
        self.random.random_range(least..=most)
    }

    const fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    /// A request: what it does there, if it gets there, and when its answer comes, if one does.
    fn request(&mut self, act: impl FnOnce(&mut Vec<Row>) -> Answer, lost: Answer) {
        self.requests += 1;
        let (fate, took) = self.network.carry(&mut self.random);
        let answer = match fate {
            Fate::Answered => act(&mut self.rows),
            Fate::AnswerLost => {
                act(&mut self.rows);
                lost
            }
            Fate::NotDelivered => lost,
        };
        self.plan(took, Event::Answer(answer));
    }

    fn weather(&mut self) {
        self.network = match self.now {
            TROUBLE.. => Network::Good,
            _ => Network::any(&mut self.random),
        };
        if self.now < TROUBLE {
            let lasts = self.between(500, 20_000).min(TROUBLE - self.now);
            self.plan(lasts.max(1), Event::Weather);
        }
    }

    fn is_over(&self) -> bool {
        self.rows.len() == JOBS && self.rows.iter().all(|row| *row == Row::Done)
    }
}

/// Runs one history; tells when everything was done, and how many requests that took.
fn history(seed: u64) -> Result<(Millis, u32), String> {
    let mut world = World::new(seed);
    let mut host = Host::new(&mut world);
    for _ in 0..JOBS {
        let at = world.between(0, TROUBLE);
        world.plan(at, Event::Submit);
    }
    world.plan(0, Event::Weather);
    world.plan(0, Event::Wake);
    while let Some(((at, _), event)) = world.coming.pop_first() {
        if at > TROUBLE + RECOVERY {
            return Err(format!("seed {seed}: not done in time: {:?}", world.rows));
        }
        world.now = at;
        match event {
            Event::Submit => {
                world.rows.push(Row::Queued);
                world.works.push(0);
                host.inserted(&mut world);
            }
            Event::Weather => {
                world.weather();
                host.weather(&mut world);
            }
            other @ (Event::Answer(_) | Event::Wake | Event::Worked(_) | Event::Again(_) | Event::Channel(..)) => {
                host.happens(&mut world, other);
            }
        }
        host.go_on(&mut world);
        if let Some(job) = world.works.iter().position(|works| *works > 1) {
            return Err(format!("seed {seed}: job {job} ran twice"));
        }
        if world.is_over() {
            return Ok((world.now, world.requests));
        }
    }
    Err(format!("seed {seed}: nothing happens any more: {:?}", world.rows))
}

#[test]
fn in_every_history_each_job_runs_once_and_is_done_soon_after_the_trouble() {
    let ends: Vec<_> = (0..HISTORIES).map(|seed| history(seed).unwrap()).collect();
    // Polls, claims and reports of a hundred seconds and forty jobs; a hot loop would make thousands.
    let most = ends.iter().map(|(_, requests)| *requests).max();
    assert!(most < Some(1_000), "{most:?}");
}

#[test]
fn a_seed_is_a_history() {
    for seed in 0..20 {
        assert_eq!(history(seed), history(seed));
    }
}
