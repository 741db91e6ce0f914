//! X13: the name of the control plane leads nowhere, then somewhere, then elsewhere.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::fault_proxy::FaultProxy;

const NAME: &str = "plane.gateway.test";

/// What the daemon's host knows of names.
fn say(hosts: &Path, address: &str) {
    let mut file = File::options().write(true).truncate(true).open(hosts).unwrap();
    writeln!(file, "{address} {NAME}").unwrap();
}

#[tokio::test]
async fn x13_a_name_that_leads_nowhere_and_then_elsewhere_needs_no_restart() {
    let mut host = Host::new().await;
    let first = FaultProxy::before(host.plane.address).await;
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], first.port()));
    let second = FaultProxy::at(elsewhere, host.plane.address).await;
    host.url = format!("http://{NAME}:{}", first.port());
    host.write_session();
    let hosts = host.state.path().join("hosts");
    File::create_new(&hosts).unwrap();
    let daemon = host.start_with_names_of(&hosts, &[]);
    let status = daemon.reaches("offline").await;
    let reason = status.reason.unwrap_or_default();
    assert!(reason.contains("cannot reach"), "{reason}");
    say(&hosts, "127.0.0.1");
    daemon.ready().await;
    assert_eq!(host.done(&host.shell("true").await).await["status"], "completed");
    first.blackout(true);
    say(&hosts, "127.0.0.2");
    assert_eq!(host.done(&host.shell("true").await).await["status"], "completed");
    eventually("the channel to be joined there", || async {
        daemon.status().await?.realtime.then_some(())
    })
    .await;
    assert!(second.on(&["PATCH /rest/v1/gateway_jobs"]).count() > 0);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
