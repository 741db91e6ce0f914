//! Reads the change log once for this node and hands every change to the hub.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control_plane::realtime::event::Event;
use crate::control_plane::realtime::hub::Hub;
use crate::control_plane::store::ChangeFeed;

/// How long to wait before the log is read again after it could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `stop`. A failing store is asked again: the feed goes on where it was, so nothing is left out.
pub async fn run(mut feed: ChangeFeed, hub: Hub, stop: CancellationToken) {
    loop {
        let changes = tokio::select! {
            () = stop.cancelled() => return,
            changes = feed.next() => changes,
        };
        match changes {
            Ok(changes) => {
                if feed.take_gap() {
                    tracing::warn!("changes were pruned unread; every listener has to connect anew");
                    hub.cut_off();
                }
                for change in changes {
                    if hub.has_listeners(&change.table)
                        && let Some(event) = Event::read(change)
                    {
                        hub.publish(&event);
                    }
                }
            }
            Err(problem) => {
                tracing::warn!(%problem, "the change log cannot be read; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}
