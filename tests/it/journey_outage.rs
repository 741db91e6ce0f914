//! A control plane that dies and returns, a websocket that is cut, silent or refused.

use nix::sys::signal::{Signal, kill};

use crate::support::eventually::eventually;
use crate::support::fault_proxy::{FaultProxy, Sockets};
use crate::support::sandbox::Sandbox;

/// A host paired through a proxy that can be told to fail, and an operator beside the control plane.
async fn behind_a_proxy() -> (Sandbox, Sandbox, FaultProxy, String) {
    let (operator, host) = (Sandbox::new(), Sandbox::new());
    operator.up().await;
    let mut plane = operator.plane();
    let target = plane["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let proxy = FaultProxy::before(target).await;
    plane["url"] = proxy.url().into();
    let code = operator.json(&["control-plane", "pairing-code", "--json"]).await;
    host.pair_with(&plane, code["code"].as_str().unwrap()).await.ok();
    let id = host.gateway_id().await;
    operator.allow(&id).await;
    operator.run(&["exec", "--gateway", &id, "--", "true"]).await.ok();
    (operator, host, proxy, id)
}

#[tokio::test]
async fn jobs_are_served_while_the_websocket_is_cut_silent_or_refused() {
    let (operator, host, proxy, id) = behind_a_proxy().await;
    let exec = ["exec", "--gateway", &id, "--", "echo served"];
    for round in 0..3 {
        proxy.cut_sockets();
        assert_eq!(operator.run(&exec).await.ok().stdout, "served\n", "cut {round}");
    }
    proxy.freeze_sockets();
    assert_eq!(operator.run(&exec).await.ok().stdout, "served\n");
    proxy.sockets(Sockets::Refuse);
    proxy.cut_sockets();
    assert_eq!(operator.run(&exec).await.ok().stdout, "served\n");
    proxy.sockets(Sockets::Pass);
    eventually("the channel is joined again", || async {
        let status = host.json(&["status", "--json"]).await;
        (status["daemon"]["realtime"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn queued_jobs_are_done_after_an_outage() {
    let (operator, _host, proxy, id) = behind_a_proxy().await;
    proxy.blackout(true);
    let file = operator.home().join("effects");
    let mut waiting = Vec::new();
    for number in 0..3 {
        let command = format!("echo {number} >> {}", file.display());
        waiting.push(operator.submit_shell(&id, &command).await);
    }
    proxy.blackout(false);
    for job in &waiting {
        operator.run(&["job", "watch", job]).await.ok();
    }
    let mut done: Vec<_> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    done.sort();
    assert_eq!(done, ["0", "1", "2"]);
}

#[tokio::test]
async fn jobs_pushed_in_the_last_moment_run_after_the_outage() {
    let (operator, host, proxy, id) = behind_a_proxy().await;
    let daemon = host.daemon_pid().await;
    // The daemon finds the events in its socket only when the control plane is gone already.
    kill(daemon, Signal::SIGSTOP).unwrap();
    let job = operator.submit_shell(&id, "echo ran").await;
    proxy.blackout(true);
    kill(daemon, Signal::SIGCONT).unwrap();
    eventually("the daemon notices", || async {
        let status = host.json(&["status", "--json"]).await;
        (status["daemon"]["state"] != "ready").then_some(())
    })
    .await;
    proxy.blackout(false);
    assert_eq!(operator.run(&["job", "watch", &job]).await.ok().stdout, "ran\n");
}

#[tokio::test]
async fn a_daemon_outlives_its_control_plane() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let daemon = sandbox.daemon_pid().await;
    kill(sandbox.plane_pid(), Signal::SIGKILL).unwrap();
    eventually("the daemon says so", || async {
        let status = sandbox.json(&["status", "--json"]).await;
        (status["daemon"]["state"] == "offline").then_some(())
    })
    .await;
    sandbox.run(&["exec", "--", "true"]).await.exits(4);
    sandbox.run(&["up", "--detach"]).await.ok();
    assert_eq!(sandbox.run(&["exec", "--", "echo back"]).await.ok().stdout, "back\n");
    assert_eq!(sandbox.daemon_pid().await, daemon, "the daemon was not restarted");
}
