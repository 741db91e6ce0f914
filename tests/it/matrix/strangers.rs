//! X11: a control plane whose certificate is no proof.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::time::Instant;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

/// Shakes hands over TLS, and no more.
#[derive(Debug, Default)]
struct Counts {
    tried: AtomicUsize,
    trusted: AtomicUsize,
}

impl Counts {
    fn tried(&self) -> usize {
        self.tried.load(Ordering::SeqCst)
    }

    fn trusted(&self) -> usize {
        self.trusted.load(Ordering::SeqCst)
    }

    async fn tries_more(&self, times: usize) {
        let before = self.tried();
        eventually("more attempts", || async {
            (self.tried() >= before + times).then_some(())
        })
        .await;
    }

    /// Answers with this certificate for as long as the test runs; gives the address.
    fn answer_with(self: &Arc<Self>, certificate: &str) -> String {
        gateway::backend::http::install_crypto();
        let chain = vec![CertificateDer::from_pem_file(file(certificate)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(file("leaf.key")).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let (config, counts) = (Arc::new(config.unwrap()), Arc::clone(self));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counts.tried.fetch_add(1, Ordering::SeqCst);
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that leaves in the middle is what is counted.
                if let Ok(mut stream) = stream
                    && connection.complete_io(&mut stream).is_ok()
                {
                    counts.trusted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        url
    }
}

/// A host that trusts the authority of the certificates here.
async fn host_before(counts: &Arc<Counts>, certificate: &str) -> (Host, String) {
    let mut host = Host::new().await;
    host.url = counts.answer_with(certificate);
    host.write_session();
    (host, file("ca.pem").display().to_string())
}

async fn is_refused(certificate: &str, why: &str) {
    let counts = Arc::<Counts>::default();
    let (host, authority) = host_before(&counts, certificate).await;
    let daemon = host.start(&[("SSL_CERT_FILE", &authority)]);
    let status = daemon.reaches("offline").await;
    let reason = status.reason.unwrap_or_default();
    assert!(reason.contains("no trusted connection to 127.0.0.1"), "{reason}");
    if cfg!(target_os = "linux") {
        assert!(reason.contains(why), "{reason}");
    }
    // What was on its way when the first was refused.
    counts.tries_more(3).await;
    let began = Instant::now();
    counts.tries_more(3).await;
    assert!(began.elapsed() > Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert_eq!(counts.trusted(), 0);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn x11_a_certificate_that_is_no_proof_is_refused_with_the_reason_and_tried_slowly() {
    tokio::join!(
        is_refused("expired.pem", "expired"),
        is_refused("elsewhere.pem", "not valid for name")
    );
}

/// So that the refusals above are for what they say.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn x11_a_good_certificate_of_the_same_authority_is_trusted() {
    let counts = Arc::default();
    let (host, authority) = host_before(&counts, "good.pem").await;
    let daemon = host.start(&[("SSL_CERT_FILE", &authority)]);
    eventually("a handshake", || async { (counts.trusted() > 0).then_some(()) }).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
