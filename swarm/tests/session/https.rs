//! Trackers behind TLS: whom a session trusts, and whom not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use swarm::session::{AddOptions, Event, Session, SessionConfig};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::world::{Content, add, end, event, soon, tracker};

/// An authority of one's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server that speaks TLS and hands everything to `behind`. The URL of the tracker there.
    async fn front(&self, behind: SocketAddr, certificate: CertificateParams) -> String {
        let (acceptor, listener) = (self.acceptor(&certificate, &[]), bind().await);
        let url = format!("https://{}/announce", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever does not trust us hangs up.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(behind).await.unwrap();
                    // It ends when either end does.
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        url
    }

    /// A tracker that speaks HTTP/2. Its URL, and how many connections it has taken.
    async fn multiplexing(&self, certificate: CertificateParams) -> (String, Arc<AtomicUsize>) {
        let (acceptor, listener) = (self.acceptor(&certificate, &[b"h2"]), bind().await);
        let url = format!("https://{}/announce", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        let answer = Bytes::from_static(b"d8:intervali1800e5:peers0:e");
                        body.send_data(answer, true).unwrap();
                    }
                });
            }
        });
        (url, connections)
    }

    fn acceptor(&self, certificate: &CertificateParams, protocols: &[&[u8]]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let chain = vec![certificate.signed_by(&key, &self.0).unwrap().der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn session(roots: Vec<Vec<u8>>) -> Session {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    Session::start(SessionConfig { listen, roots, ..SessionConfig::default() }).await.unwrap()
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

#[tokio::test]
async fn sessions_meet_by_a_tracker_behind_tls() {
    let (tracker, authority) = (tracker().await, Authority::new("known"));
    let url = authority.front(tracker.address(), named("127.0.0.1")).await;
    let content = Content::folder(70, &[100_000], |builder| builder.tracker(url.clone()));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let seed = session(vec![authority.root()]).await;
    let mut events = seed.events();
    add(&seed, AddOptions::seed(content.meta.clone(), from.path())).await;
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { tracker, .. } if *tracker == url))
        .await;
    let leech = session(vec![authority.root()]).await;
    let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, seed]).await;
    assert_eq!(tracker.sizes().1, 0, "both said that they stopped");
}

#[tokio::test]
async fn announces_of_many_torrents_go_by_one_connection_over_http_2() {
    let authority = Authority::new("known");
    let (url, connections) = authority.multiplexing(named("127.0.0.1")).await;
    let session = session(vec![authority.root()]).await;
    let mut events = session.events();
    let mut dirs = Vec::new();
    for number in 0..40 {
        let content = Content::folder(80 + number, &[2000], |builder| builder.tracker(url.clone()));
        let dir = content.placed();
        add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
        dirs.push(dir);
    }
    let mut answers = 0;
    event(&mut events, |event| {
        assert!(!matches!(event, Event::TrackerFailed { .. }), "{event:?}");
        answers += usize::from(matches!(event, Event::TrackerAnswered { .. }));
        answers == dirs.len()
    })
    .await;
    // Two announces that come before the first connection is there may open one each.
    assert!(connections.load(Ordering::SeqCst) <= 2, "{connections:?}");
    drop(session);
}

#[tokio::test]
async fn a_tracker_with_a_bad_certificate_is_not_spoken_to() {
    let (tracker, authority, stranger) =
        (tracker().await, Authority::new("known"), Authority::new("stranger"));
    let mut expired = named("127.0.0.1");
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let cases = [
        (&authority, expired, "xpired"),
        (&authority, named("elsewhere.example"), "not valid for name"),
        (&stranger, named("127.0.0.1"), "UnknownIssuer"),
    ];
    for (number, (issuer, certificate, why)) in (71..).zip(cases) {
        let url = issuer.front(tracker.address(), certificate).await;
        let content = Content::folder(number, &[10_000], |builder| builder.tracker(url));
        let dir = content.placed();
        let session = session(vec![authority.root()]).await;
        let mut events = session.events();
        let torrent = add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
        event(&mut events, |event| matches!(event, Event::TrackerFailed { .. })).await;
        let shown = torrent.trackers().await.unwrap();
        let error = format!("{:?}", shown[0].error);
        assert!(error.contains("TLS") && error.contains(why), "{error}");
        end([session]).await;
    }
    assert_eq!(tracker.sizes(), (0, 0), "nobody came through");
}
