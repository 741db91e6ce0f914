//! The journal against a model in memory: after any work, and a log that ends at any byte, it is as it once was.

use std::collections::BTreeMap;
use std::fs;

use gateway::domain::job::JobOutcome;
use gateway::state::fs::OwnerDir;
use gateway::state::journal::{Journal, ProcessIdentityRecord};
use proptest::prelude::*;

use crate::journal::{Running, claim, copied, job, noise, outcome, timeline};
use crate::support::state_dir::home;

/// Something that is done to the job of this number.
#[derive(Debug, Clone, Copy)]
enum Act {
    Claim,
    Start,
    Say(usize),
    Finish(usize),
    Report,
    Refuse,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Claimed { started: bool },
    Finished(JobOutcome),
    Reported,
    SetAside,
}

type Model = BTreeMap<u8, State>;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Claim),
        2 => Just(Act::Start),
        1 => (0..9_000_usize).prop_map(Act::Say),
        3 => (0..9_000_usize).prop_map(Act::Finish),
        2 => Just(Act::Report),
        1 => Just(Act::Refuse),
    ]
}

fn process() -> ProcessIdentityRecord {
    ProcessIdentityRecord {
        pid: 4_194_303,
        start_ticks: 1,
        pgid: 4_194_303,
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Does it to the journal, and to the model if the journal took it.
async fn perform(journal: &Journal, model: &mut Model, number: u8, act: Act) {
    let id = job(number);
    let (took, next) = match act {
        Act::Claim => {
            let claimed = journal.claimed(&claim(&id)).await;
            (claimed.is_ok(), State::Claimed { started: false })
        }
        Act::Start => (
            journal
                .started(&id, process(), serde_json::json!({"method": "cgroup"}))
                .await
                .is_ok(),
            match model.get(&number) {
                Some(State::Claimed { .. }) | None => State::Claimed { started: true },
                Some(other) => other.clone(),
            },
        ),
        Act::Say(bytes) => {
            // A job that does not run says nothing.
            if matches!(model.get(&number), Some(State::Claimed { .. })) {
                journal.said(&id, 0, noise(bytes)).await.unwrap();
            }
            return;
        }
        Act::Finish(bytes) => {
            let end = outcome(noise(bytes));
            let finished = journal.finished(&id, &end, &timeline()).await;
            (finished.is_ok(), State::Finished(end))
        }
        Act::Report => {
            journal.reported(&id).await.unwrap();
            // It is written with the next commit.
            journal.probe().await.unwrap();
            (model.contains_key(&number), State::Reported)
        }
        Act::Refuse => {
            let aside = journal.set_aside(&id, "refused").await;
            (aside.is_ok(), State::SetAside)
        }
    };
    assert_eq!(
        took,
        matches!(act, Act::Claim) || model.contains_key(&number),
        "{act:?}"
    );
    if took {
        model.insert(number, next);
    }
}

/// What the journal says, in the words of the model; numbers it does not list are taken from `model`, and counted.
async fn found(journal: &Journal, model: &Model) -> Model {
    let mut found = Model::new();
    let number = |id: &str| id.strip_prefix("job-").unwrap().parse::<u8>().unwrap();
    let recovered = journal.recover().await.unwrap();
    for open in recovered.interrupted {
        let started = open.process == Some(process());
        let doubled = found.insert(number(open.entry.job_id.as_str()), State::Claimed { started });
        assert_eq!(doubled, None);
    }
    for id in recovered.unreported.into_iter().map(|entry| entry.job_id) {
        let (end, _) = journal.outcome(&id).await.unwrap().end().unwrap();
        assert_eq!(found.insert(number(id.as_str()), State::Finished(end)), None);
    }
    let closed = |state: &&State| matches!(state, State::Reported | State::SetAside);
    let counts = journal.counts().await.unwrap();
    assert_eq!(
        counts.reported + counts.set_aside,
        u64::try_from(model.values().filter(closed).count()).unwrap()
    );
    found.extend(
        model
            .iter()
            .filter(|(_, state)| closed(state))
            .map(|(n, s)| (*n, s.clone())),
    );
    found
}

async fn holds(acts: Vec<(u8, Act)>, cuts: Vec<prop::sample::Index>) {
    let (_home, paths) = home();
    let dir = OwnerDir::open_or_create(&paths.dir).unwrap();
    let running = Running::open(&dir).await;
    let mut history = Vec::new();
    let mut model = Model::new();
    for (number, act) in acts {
        perform(&running.journal, &mut model, number, act).await;
        let length = fs::metadata(paths.dir.join("journal.sqlite-wal")).unwrap().len();
        history.push((length, model.clone()));
    }
    assert_eq!(found(&running.journal, &model).await, model);
    let whole = history.last().map_or(0, |(length, _)| *length);
    for cut in cuts {
        let at = cut.index(usize::try_from(whole).unwrap() + 1) as u64;
        let (_copy, copy) = copied(&dir, |dir| {
            let log = fs::File::options().write(true).open(dir.join("journal.sqlite-wal"));
            log.unwrap().set_len(at).unwrap();
        });
        let reached = history.iter().rev().find(|(length, _)| *length <= at);
        let then = reached.map(|(_, model)| model.clone()).unwrap_or_default();
        let cut_off = Running::open(&copy).await;
        assert_eq!(cut_off.set_aside, None);
        assert_eq!(found(&cut_off.journal, &then).await, then, "cut at {at} of {whole}");
        cut_off.close().await;
    }
    running.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_cut_anywhere_is_as_it_was_after_some_act(
        acts in prop::collection::vec((0..4_u8, act()), 1..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(holds(acts, cuts));
    }
}
