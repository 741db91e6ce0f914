//! The change log behind Realtime.

use std::time::Duration;

use gateway::control_plane::query::sql::{Dialect, SqlBuf};
use gateway::control_plane::query::value::stored_now;
use gateway::control_plane::registry::{GATEWAY_JOBS, TEAMS};
use gateway::control_plane::store::{Change, ChangeFeed, ChangeOp, Position, Rows, Store};
use serde_json::{Value, json};

use super::plane::{Plane, Who};
use crate::support::eventually::{PATIENCE, eventually};

async fn next(feed: &mut ChangeFeed, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let more = tokio::time::timeout(PATIENCE, feed.next())
            .await
            .expect("changes arrive");
        changes.extend(more.unwrap());
    }
    changes
}

/// What the log shows after a position, once it does: transactions of other databases hold the horizon back too.
async fn after(store: &Store, position: Position) -> Vec<Change> {
    eventually("the change is shown", || async {
        let changes = store.changes_after(position, 128).await.unwrap();
        (!changes.is_empty()).then_some(changes)
    })
    .await
}

fn parsed(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn every_change_is_logged_in_order_with_the_row_as_it_was_then() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        let rows = Rows::of(&GATEWAY_JOBS).eq("id", job["id"].as_str().unwrap());
        let changed = plane
            .store
            .update_rows(&rows, &json!({"status": "running"}))
            .await
            .unwrap();
        assert_eq!(plane.store.delete_rows(&rows).await.unwrap(), 1);
        plane
            .store
            .insert_row(&TEAMS, &json!({"name": "not for Realtime"}))
            .await
            .unwrap();

        let changes = next(&mut feed, 3).await;
        let ops: Vec<ChangeOp> = changes.iter().map(|change| change.op).collect();
        assert_eq!(ops, [ChangeOp::Insert, ChangeOp::Update, ChangeOp::Delete]);
        assert_eq!(parsed(changes[0].new.as_ref()), job);
        assert_eq!(parsed(changes[1].new.as_ref()), changed[0]);
        let identity = json!({"id": job["id"], "team_id": plane.teams[0], "gateway_id": plane.gateways[0]});
        assert_eq!(
            (&changes[0].old, parsed(changes[1].old.as_ref())),
            (&None, identity.clone())
        );
        assert_eq!((&changes[2].new, parsed(changes[2].old.as_ref())), (&None, identity));
        assert!(
            changes
                .iter()
                .all(|change| change.table == "gateway_jobs" && change.at.len() == 32 && !change.cut)
        );
        assert!(changes.windows(2).all(|pair| pair[0].position < pair[1].position));
    }
}

#[tokio::test]
async fn a_rolled_back_change_was_never_there() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        let mut tx = plane.store.begin().await.unwrap();
        tx.insert_row(&GATEWAY_JOBS, &plane.job(0)).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = plane.store.begin().await.unwrap();
        tx.insert_row(&GATEWAY_JOBS, &plane.job(0)).await.unwrap();
        drop(tx);
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        assert_eq!(parsed(next(&mut feed, 1).await[0].new.as_ref()), job);
    }
}

#[tokio::test]
async fn another_process_is_noticed() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        let other = Store::open(&plane.url).await.unwrap();
        let job = other.insert_row(&GATEWAY_JOBS, &plane.job(0)).await.unwrap();
        assert_eq!(parsed(next(&mut feed, 1).await[0].new.as_ref()), job);
        other.close().await;
    }
}

#[tokio::test]
async fn big_records_are_logged_without_their_big_columns() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        let mut row = plane.job(0);
        row["payload"] = json!({"command": "x".repeat(1_100_000)});
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &row).await;
        let change = next(&mut feed, 1).await.remove(0);
        let mut logged = job.clone();
        logged.as_object_mut().unwrap().shift_remove("payload");
        let mut seen = parsed(change.new.as_ref());
        assert!(change.cut && seen.get("payload").is_none());
        seen.as_object_mut().unwrap().sort_keys();
        logged.as_object_mut().unwrap().sort_keys();
        assert_eq!(seen, logged);
    }
}

/// The reader on PostgreSQL must not pass an open transaction: what it holds would never be read.
#[tokio::test]
async fn a_slow_transaction_is_not_overtaken() {
    let plane = Plane::postgres().await;
    let mut feed = plane.store.change_feed().await.unwrap();
    let mut slow = plane.store.begin().await.unwrap();
    let first = slow.insert_row(&GATEWAY_JOBS, &plane.job(0)).await.unwrap();
    let second = plane.store.insert_row(&GATEWAY_JOBS, &plane.job(0)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), feed.next()).await;
    assert!(early.is_err(), "{early:?}");
    slow.commit().await.unwrap();
    let changes = next(&mut feed, 2).await;
    let seen: Vec<Value> = changes
        .iter()
        .map(|change| parsed(change.new.as_ref())["id"].clone())
        .collect();
    assert_eq!(seen, [first["id"].clone(), second["id"].clone()]);
}

#[tokio::test]
async fn pruning_takes_what_is_old_and_keeps_what_is_recent() {
    for plane in Plane::both().await {
        let before = plane.store.past().await.unwrap().position();
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        assert_eq!(plane.store.prune_changes().await.unwrap(), 0);
        // The horizon may have stood before what came earlier, and may stand before this.
        eventually("the recent change, which was kept", || async {
            let changes = after(&plane.store, before).await;
            let is_it = |change: &Change| parsed(change.new.as_ref())["id"] == job["id"];
            changes.iter().any(is_it).then_some(())
        })
        .await;

        let mut age = SqlBuf::new(plane.store.dialect());
        age.push("UPDATE change_log SET at='2020-01-01T00:00:00.000000+00:00'");
        let aged = plane.store.write(age).await.unwrap();
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        assert_eq!(plane.store.prune_changes().await.unwrap(), aged);
        let mut feed = plane.store.change_feed().await.unwrap();
        let rows = Rows::of(&GATEWAY_JOBS).eq("id", job["id"].as_str().unwrap());
        plane
            .store
            .update_rows(&rows, &json!({"status": "cancelled"}))
            .await
            .unwrap();
        assert_eq!(next(&mut feed, 1).await[0].op, ChangeOp::Update);
    }
}

async fn logged_bytes(store: &Store) -> usize {
    let mut sum = SqlBuf::new(store.dialect());
    sum.push("SELECT CAST(coalesce(sum(octet_length(new)),0) AS text) FROM change_log");
    store.read(sum).await.unwrap()[0].parse().unwrap()
}

#[tokio::test]
async fn pruning_counts_bytes() {
    for plane in Plane::both().await {
        for size in [900_000, 900_000, 10, 900_000, 900_000] {
            let mut job = plane.job(0);
            job["payload"] = json!({"command": "x".repeat(size)});
            plane.insert(Who::Operator(0), "gateway_jobs", &job).await;
        }
        assert_eq!(plane.store.prune_changes_over(9_000_000).await.unwrap(), 0);
        plane.store.prune_changes_over(2_000_000).await.unwrap();
        let left = logged_bytes(&plane.store).await;
        assert!((1_800_000..=2_000_000).contains(&left), "{left}");
        // Whatever the limit, the newest stays.
        plane.store.prune_changes_over(1).await.unwrap();
        assert!(logged_bytes(&plane.store).await > 900_000);
    }
}

/// Also while there is always more to read.
#[tokio::test]
async fn a_flood_of_big_records_is_pruned_while_it_is_read() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        let numbers = match plane.store.dialect() {
            Dialect::Sqlite => {
                "printf('%.*c',1000000,'x') FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<330) SELECT i FROM n)"
            }
            Dialect::Postgres => "repeat('x',1000000) FROM generate_series(1,330)",
        };
        let mut fill = SqlBuf::new(plane.store.dialect());
        fill.push("INSERT INTO change_log (at,table_name,op,cut,new) SELECT '")
            .push(&stored_now())
            .push("','gateway_jobs','INSERT',1=0,")
            .push(numbers);
        plane.store.write(fill).await.unwrap();
        // Until nothing more comes.
        while tokio::time::timeout(Duration::from_secs(2), feed.next()).await.is_ok() {}
        let left = logged_bytes(&plane.store).await;
        assert!(left <= (256 + 32) * 1024 * 1024, "{left}");
    }
}

#[tokio::test]
async fn big_records_are_read_in_pieces() {
    for plane in Plane::both().await {
        let before = plane.store.past().await.unwrap().position();
        for _job in 0..10 {
            let mut job = plane.job(0);
            job["payload"] = json!({"command": "x".repeat(1_000_000)});
            plane.insert(Who::Operator(0), "gateway_jobs", &job).await;
        }
        let changes = after(&plane.store, before).await;
        assert!(changes.len() < 10, "{}", changes.len());
        let last = changes.last().unwrap().position;
        assert!(!after(&plane.store, last).await.is_empty());
    }
}

#[tokio::test]
async fn a_feed_that_was_overtaken_by_pruning_says_so_once() {
    for plane in Plane::both().await {
        let mut feed = plane.store.change_feed().await.unwrap();
        plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        next(&mut feed, 1).await;
        // Quiet for long: everything is old, and the place of the feed stays.
        let mut age = SqlBuf::new(plane.store.dialect());
        age.push("UPDATE change_log SET at='2020-01-01T00:00:00.000000+00:00'");
        plane.store.write(age).await.unwrap();
        plane.store.prune_changes().await.unwrap();
        plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        next(&mut feed, 1).await;
        assert!(!feed.take_gap());

        for _job in 0..3 {
            plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        }
        let mut prune = SqlBuf::new(plane.store.dialect());
        prune.push("DELETE FROM change_log WHERE seq<(SELECT max(seq) FROM change_log)");
        plane.store.write(prune).await.unwrap();
        next(&mut feed, 1).await;
        assert!(feed.take_gap());
        assert!(!feed.take_gap());
    }
}
