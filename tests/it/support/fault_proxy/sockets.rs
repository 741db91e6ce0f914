//! One websocket: both ways, with frames slipped in towards the client, until it is cut or falls silent.

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, ReadHalf, WriteHalf};
use tokio::sync::broadcast;

use super::Shared;
use super::message::Peer;

/// A whole text in one frame that is not masked, as a server sends it.
const TEXT: u8 = 0x81;

pub(super) async fn relay(mut client: Peer, upstream: Peer, shared: &Shared) -> Option<()> {
    let mut mode = shared.mode.subscribe();
    let before = *mode.borrow_and_update();
    let slipped_in = shared.slipped_in.subscribe();
    let (from_client, to_client) = client.stream.split();
    let silent = tokio::select! {
        _ = both_ways((from_client, to_client), upstream, slipped_in, shared) => false,
        changed = mode.wait_for(|mode| mode.cuts != before.cuts || mode.freezes != before.freezes) =>
            changed.is_ok_and(|mode| mode.cuts == before.cuts),
    };
    if silent {
        // Held open until it is cut, or the test is over.
        mode.wait_for(|mode| mode.cuts != before.cuts).await.ok()?;
    }
    if mode.borrow().cuts != before.cuts {
        // What a dying path looks like.
        client.reset();
    }
    None
}

async fn both_ways(
    (mut from_client, to_client): (ReadHalf<'_>, WriteHalf<'_>),
    upstream: Peer,
    slipped_in: broadcast::Receiver<String>,
    shared: &Shared,
) {
    let (stream, mut write) = upstream.stream.into_split();
    let held = upstream.held;
    // An end of either side ends both.
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut write) => {}
        _ = down(Peer { stream, held }, to_client, slipped_in, shared) => {}
    }
}

/// Passes on whole frames, so that others fit between them.
async fn down(
    mut upstream: Peer<OwnedReadHalf>,
    mut client: WriteHalf<'_>,
    mut slipped_in: broadcast::Receiver<String>,
    shared: &Shared,
) -> Option<()> {
    let agreed = upstream.head().await?;
    client.write_all(&agreed.bytes).await.ok()?;
    loop {
        tokio::select! {
            end = upstream.until(end_of_frame) => {
                let frame: Vec<u8> = upstream.held.drain(..end?).collect();
                if frame[0] == TEXT {
                    let text = String::from_utf8_lossy(&frame[start_of_payload(&frame)..]);
                    shared.heard.lock().unwrap().push(text.into_owned());
                }
                client.write_all(&frame).await.ok()?;
            }
            text = slipped_in.recv() => client.write_all(&frame_of(&text.ok()?)).await.ok()?,
        }
    }
}

fn start_of_payload(frame: &[u8]) -> usize {
    match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// Where the first of these frames of a server ends.
fn end_of_frame(held: &[u8]) -> Option<usize> {
    let (head, payload) = held.split_at_checked(2)?;
    let extended = payload.get(..start_of_payload(head) - 2)?;
    let length = extended.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let length = if extended.is_empty() {
        usize::from(head[1])
    } else {
        length
    };
    let end = 2 + extended.len() + length;
    (held.len() >= end).then_some(end)
}

fn frame_of(text: &str) -> Vec<u8> {
    let length = text.len();
    let head = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..126), _) => vec![TEXT, length],
        (_, Ok(length)) => [&[TEXT, 126][..], &length.to_be_bytes()].concat(),
        _ => [&[TEXT, 127][..], &length.to_be_bytes()].concat(),
    };
    [&head, text.as_bytes()].concat()
}

#[test]
fn frames_are_found_and_made() {
    for length in [0, 125, 126, 70_000] {
        let frame = frame_of(&"x".repeat(length));
        assert_eq!(end_of_frame(&frame), Some(frame.len()), "{length}");
        assert_eq!(end_of_frame(&frame[..frame.len() - 1]), None, "{length}");
    }
}
