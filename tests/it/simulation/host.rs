//! The daemon: what decides is real, what carries it out is modelled.

use std::collections::{HashMap, HashSet};

use gateway::backend::RealtimeEvent;
use gateway::domain::ids::JobId;
use gateway::domain::job::{Ingress, Timeline};
use gateway::job::queue::{JobQueue, Limits, Waiting};
use gateway::job::report::Schedule;
use gateway::runtime::feed::{self, Feed, Mode, Outcome, Switches};
use gateway::runtime::reconcile::{Page, Sweep};
use gateway::wire::job_row;
use rand::RngExt as _;
use serde_json::json;

use crate::simulation::channel::Channel;
use crate::simulation::{Answer, Event, Millis, Row, World};

const SLOTS: usize = 4;

pub(super) struct Host {
    channel: Channel,
    feed: Feed,
    queue: JobQueue,
    sweep: Option<(Sweep, Page)>,
    reports: Schedule,
    /// Claims whose answer was lost: the row may be ours.
    uncertain: HashSet<usize>,
    numbers: HashMap<JobId, usize>,
    /// The next look that is planned.
    wake: Option<Millis>,
}

fn id(job: usize) -> JobId {
    JobId::new(format!("job-{job:04}")).unwrap()
}

fn waiting(job: usize) -> Waiting {
    let row = json!({
        "id": id(job).as_str(), "team_id": "t", "gateway_id": "g", "status": "queued", "job_type": "shell_exec",
        "payload": {}, "created_at": "1", "updated_at": "1",
    });
    Waiting {
        job: job_row::decode(&row).unwrap(),
        timeline: Timeline::received(Ingress::Poll, jiff::Timestamp::UNIX_EPOCH),
        bytes: 10,
    }
}

impl Host {
    pub(super) fn new(world: &mut World) -> Self {
        let on = Switches {
            polling: true,
            realtime: true,
        };
        let limits = Limits {
            slots: SLOTS,
            jobs: 16,
            bytes: 1 << 20,
        };
        Self {
            channel: Channel::new(world.random.random()),
            feed: Feed::new(on, SLOTS, world.time()),
            queue: JobQueue::new(limits),
            sweep: None,
            reports: Schedule::default(),
            uncertain: HashSet::new(),
            numbers: HashMap::new(),
            wake: None,
        }
    }

    /// A row is there.
    pub(super) fn inserted(&mut self, world: &mut World) {
        let job = world.rows.len() - 1;
        self.numbers.insert(id(job), job);
        self.channel.inserted(world, job);
    }

    pub(super) fn weather(&mut self, world: &mut World) {
        if !world.network.keeps_sockets() {
            let told = self.channel.closes(world);
            self.told(world, told);
        }
    }

    pub(super) fn happens(&mut self, world: &mut World, event: Event) {
        match event {
            Event::Submit | Event::Weather => {}
            Event::Wake => self.wake = None,
            Event::Worked(job) => self.reports.add(id(job), world.time()),
            Event::Again(job) => self.claim(world, job),
            Event::Answer(Answer::Rows(rows)) => self.rows(world, rows),
            Event::Answer(Answer::Claimed(job, answer)) => self.claimed(world, job, answer),
            Event::Answer(Answer::Ended(job, arrived)) => self.ended(world, job, arrived),
            Event::Channel(socket, word) => {
                let (inserted, told) = self.channel.hears(world, socket, word);
                if let Some(job) = inserted {
                    self.pushed(world, job);
                }
                self.told(world, told);
            }
        }
    }

    /// Does whatever is due, and plans the next look.
    pub(super) fn go_on(&mut self, world: &mut World) {
        let told = self.channel.tick(world);
        self.told(world, told);
        while let Some(next) = self.queue.take_ready() {
            let job = self.numbers[&next.job.id];
            self.claim(world, job);
        }
        while let Some((due, _)) = self.reports.take_due(world.time(), false) {
            let job = self.numbers[&due];
            let act = move |rows: &mut Vec<Row>| {
                rows[job] = Row::Done;
                Answer::Ended(job, Some(()))
            };
            world.request(act, Answer::Ended(job, None));
        }
        if self.sweep.is_none()
            && let Some(due) = self.feed.due(world.time(), self.queue.free())
        {
            self.ask(world, due);
        }
        self.plan_look(world);
    }

    fn plan_look(&mut self, world: &mut World) {
        let millis = |at: std::time::Duration| Millis::try_from(at.as_millis()).unwrap() + 1;
        let feed = self.feed.wake_at(self.queue.free()).map(millis);
        let reports = self.reports.wake_at(false).map(millis);
        let next = [feed, reports, Some(self.channel.deadline())]
            .into_iter()
            .flatten()
            .min();
        let next = next.unwrap().max(world.now + 1);
        if self.wake.is_none_or(|planned| next < planned) {
            self.wake = Some(next);
            world.plan(next - world.now, Event::Wake);
        }
    }

    fn told(&mut self, world: &World, events: Vec<RealtimeEvent>) {
        for event in events {
            let event = match event {
                RealtimeEvent::Subscribed => feed::Event::Subscribed,
                RealtimeEvent::SystemOk => feed::Event::SystemOk,
                RealtimeEvent::Down { .. } => feed::Event::PushLost,
                RealtimeEvent::Change(_) => continue,
            };
            self.feed.on(world.time(), event);
        }
    }

    fn ask(&mut self, world: &mut World, due: feed::Due) {
        let mut sweep = due.jobs.then(|| Sweep::new(self.queue.free(), 0));
        let page = sweep.as_ref().and_then(Sweep::next);
        // Without a page only the other questions travel.
        let page = page.unwrap_or(Page { limit: 0, offset: 0 });
        self.sweep = Some((sweep.take().unwrap_or_else(|| Sweep::new(0, 0)), page));
        let act = move |rows: &mut Vec<Row>| {
            let queued = (0..rows.len()).filter(|job| rows[*job] == Row::Queued);
            Answer::Rows(Some(queued.skip(page.offset).take(page.limit).collect()))
        };
        world.request(act, Answer::Rows(None));
    }

    fn rows(&mut self, world: &mut World, rows: Option<Vec<usize>>) {
        let Some((mut sweep, page)) = self.sweep.take() else {
            return;
        };
        let spread = world.random.random();
        let Some(rows) = rows else {
            return self
                .feed
                .finished(world.time(), Outcome::Failed { after: None }, spread);
        };
        for job in rows
            .iter()
            .copied()
            .filter(|job| !self.queue.holds(&id(*job)))
            .collect::<Vec<_>>()
        {
            match self.queue.offer(waiting(job)) {
                gateway::job::queue::Offer::Queued => sweep.took(),
                gateway::job::queue::Offer::Duplicate => {}
                gateway::job::queue::Offer::Full => sweep.passed_busy(),
            }
        }
        if page.limit > 0 {
            sweep.page_done(rows.len(), page.limit);
        }
        let more = sweep.more();
        self.feed.finished(world.time(), Outcome::Done { more }, spread);
    }

    fn pushed(&mut self, world: &World, job: usize) {
        let in_charge = matches!(self.feed.mode(), Mode::Push { .. });
        if !in_charge || !self.feed.accepts_push() {
            return;
        }
        if self.queue.offer(waiting(job)) == gateway::job::queue::Offer::Full {
            self.feed.on(world.time(), feed::Event::Refused);
        }
    }

    fn claim(&mut self, world: &mut World, job: usize) {
        let uncertain = self.uncertain.contains(&job);
        // One row, one claim: what is running although its claim got no answer is ours by the time in it.
        let act = move |rows: &mut Vec<Row>| {
            let ours = rows[job] == Row::Queued || (uncertain && rows[job] == Row::Running);
            if ours {
                rows[job] = Row::Running;
            }
            Answer::Claimed(job, Some(ours))
        };
        world.request(act, Answer::Claimed(job, None));
    }

    fn claimed(&mut self, world: &mut World, job: usize, answer: Option<bool>) {
        match answer {
            Some(true) => {
                self.uncertain.remove(&job);
                world.works[job] += 1;
                let takes = world.between(1, 3_000);
                world.plan(takes, Event::Worked(job));
            }
            Some(false) => {
                self.uncertain.remove(&job);
                self.free(world, job);
            }
            None => {
                self.uncertain.insert(job);
                let pause = world.between(500, 8_000);
                world.plan(pause, Event::Again(job));
            }
        }
    }

    fn ended(&mut self, world: &mut World, job: usize, arrived: Option<()>) {
        match arrived {
            Some(()) => self.reports.settled(&id(job)),
            None => {
                let spread = world.random.random();
                self.reports.failed(&id(job), world.time(), None, spread);
            }
        }
        self.free(world, job);
    }

    fn free(&mut self, world: &World, job: usize) {
        self.queue.done(&id(job));
        self.feed.on(world.time(), feed::Event::SlotFreed);
    }
}
