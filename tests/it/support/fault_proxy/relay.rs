//! One connection: its requests, one after the other, each with its fault.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::message::{Message, Peer};
use super::rules::Fault;
use super::{Mode, Shared, Sockets, sockets};

/// Serves until either side ends, or a blackout begins.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    if mode.borrow().blackout {
        return;
    }
    tokio::select! {
        _ = converse(Peer::new(client), &shared) => {}
        () = until_dark(&mut mode) => {}
    }
}

/// Returns when the blackout begins, or when the proxy itself is gone.
async fn until_dark(mode: &mut watch::Receiver<Mode>) {
    let _proxy_gone = mode.wait_for(|mode| mode.blackout).await.is_err();
}

async fn until_stranded(mode: &mut watch::Receiver<Mode>, known: u64) {
    let _proxy_gone = mode.wait_for(|mode| mode.strandings != known).await.is_err();
}

async fn converse(mut client: Peer, shared: &Shared) -> Option<()> {
    let (mut mode, mut stranded) = (shared.mode.subscribe(), shared.mode.subscribe());
    let mut upstream = None;
    let known = mode.borrow().strandings;
    loop {
        let request = tokio::select! {
            request = client.request() => request?,
            () = until_stranded(&mut stranded, known) => std::future::pending().await,
        };
        let fault = shared
            .rules
            .lock()
            .unwrap()
            .fault_of(request.first_line(), request.body_len());
        if !request.is_upgrade() {
            mode.wait_for(|mode| !mode.stalled).await.ok()?;
        }
        match fault {
            Some(Fault::Answer(bytes)) => {
                client.stream.write_all(&bytes).await.ok()?;
                continue;
            }
            Some(Fault::Silence) => return until_gone(&mut client).await,
            Some(Fault::Reset) => {
                client.reset();
                return None;
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Held) => {
                let now = mode.borrow().heals;
                mode.wait_for(|mode| mode.heals != now).await.ok()?;
            }
            Some(Fault::LoseAnswer | Fault::CutAnswer) | None => {}
        }
        if request.is_upgrade() {
            return upgrade(client, &request, shared).await;
        }
        let answer = forward(&mut upstream, &request, shared).await?;
        client = pass_back(client, answer, fault).await?;
    }
}

async fn until_gone(client: &mut Peer) -> Option<()> {
    while client.more().await.is_some() {}
    None
}

async fn upgrade(mut client: Peer, request: &Message, shared: &Shared) -> Option<()> {
    if shared.mode.borrow().sockets == Sockets::Refuse {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.stream.write_all(refusal).await.ok();
    }
    let mut upstream = Peer::new(TcpStream::connect(shared.target).await.ok()?);
    upstream.stream.write_all(&request.bytes).await.ok()?;
    sockets::relay(client, upstream, shared).await
}

/// Asks the control plane, over one connection for all requests of a client's.
async fn forward(upstream: &mut Option<Peer>, request: &Message, shared: &Shared) -> Option<Message> {
    if upstream.is_none() {
        *upstream = Some(Peer::new(TcpStream::connect(shared.target).await.ok()?));
    }
    let upstream = upstream.as_mut()?;
    upstream.stream.write_all(&request.bytes).await.ok()?;
    upstream.answer(request).await
}

/// Gives the answer back, as far as the fault lets it; `None` ends the connection.
async fn pass_back(mut client: Peer, answer: Message, fault: Option<Fault>) -> Option<Peer> {
    match fault {
        Some(Fault::LoseAnswer) => {
            client.reset();
            return None;
        }
        Some(Fault::CutAnswer) => {
            let some = answer.bytes.len() - answer.body_len().div_ceil(2);
            client.stream.write_all(&answer.bytes[..some]).await.ok()?;
            return None;
        }
        Some(_) | None => client.stream.write_all(&answer.bytes).await.ok()?,
    }
    Some(client)
}
