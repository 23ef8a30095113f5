//! Announces over real sockets: the HTTP client and the UDP client against the embedded tracker.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::scope::Scope;
use swarm::engine::time::Time;
use swarm::engine::tracker::server::Config;
use swarm::engine::tracker::udp::{Answer, Client, Error};
use swarm::engine::tracker::{Event, Failure, Family, TrackerUrl};
use swarm::session::http::{Http, HttpConfig, PATIENCE, Problem};
use swarm::session::resolve::Resolver;
use swarm::session::tracker_server::{MAX_CONNECTIONS, MAX_HEAD, TrackerServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use wire::peer::PeerId;
use wire::tracker::{AnnounceRequest, ScrapeCounts};

pub(crate) fn http() -> Http {
    Http::new(&HttpConfig::default(), &Resolver::new()).unwrap()
}

pub(crate) fn request(port: u16, left: u64) -> AnnounceRequest {
    let peer_id = PeerId::new(PeerId::PREFIX, [port as u8; 12]);
    AnnounceRequest { left, event: Event::Started, key: 7, ..AnnounceRequest::new([0xab; 20], peer_id, port) }
}

pub(crate) fn url(text: &str) -> TrackerUrl {
    TrackerUrl::parse(text).unwrap()
}

async fn tracker(address: &str) -> TrackerServer {
    TrackerServer::bind(address.parse().unwrap(), Config::default()).await.unwrap()
}

/// Drives a UDP client over a socket until one request is answered.
pub(crate) async fn udp_ask(to: SocketAddr, ask: impl FnOnce(&mut Client, Time)) -> Result<Answer, Error> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.unwrap();
    let epoch = Instant::now();
    let mut client = Client::new(ChaCha8Rng::seed_from_u64(u64::from(to.port())));
    ask(&mut client, Time::ZERO);
    let mut packet = [0; 2048];
    let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
    loop {
        while let Some((to, packet)) = client.poll_transmit() {
            socket.send_to(&packet, to).await.unwrap();
        }
        if let Some((_, result)) = client.poll_event() {
            return result;
        }
        let received = tokio::time::timeout_at(deadline, socket.recv_from(&mut packet)).await;
        let (len, from) = received.expect("an answer from the tracker").unwrap();
        client.handle_datagram(Time::ZERO + epoch.elapsed(), from, &packet[..len]);
    }
}

#[tokio::test]
async fn peers_meet_over_http_and_udp_in_both_families() {
    for (host, family) in [("127.0.0.1", Family::V4), ("[::1]", Family::V6)] {
        let tracker = tracker(&format!("{host}:0")).await;
        let http = http();
        let http_url = url(&tracker.http_url());
        let (first, scope) = http.announce(&http_url, &request(1000, 5), family, PATIENCE).await.unwrap();
        assert_eq!(scope, Scope::Loopback);
        assert_eq!((first.peers.len(), first.interval), (0, Some(1800)));

        let udp = |port, left| {
            let to = tracker.address();
            udp_ask(to, move |client, now| {
                client.announce(now, to, request(port, left), "/announce").unwrap();
            })
        };
        let Ok(Answer::Announce(second)) = udp(1001, 0).await else { panic!("no announce reply") };
        let at = |port| SocketAddr::new(tracker.address().ip(), port);
        assert_eq!(second.peers, [at(1000)]);

        let (mut third, _) = http.announce(&http_url, &request(1002, 5), family, PATIENCE).await.unwrap();
        third.peers.sort();
        assert_eq!(third.peers, [at(1000), at(1001)]);
        let counts = http.scrape(&http_url, &[[0xab; 20]], family).await.unwrap();
        assert_eq!(counts[&[0xab; 20]], ScrapeCounts { seeders: 1, leechers: 2, downloaded: 0 });
        assert_eq!(tracker.sizes(), (1, 3));
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_trackers_words() {
    let config = Config { allow: Some(std::iter::empty().collect()), ..Config::default() };
    let tracker = TrackerServer::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let url = url(&tracker.http_url());
    let error = http().announce(&url, &request(1, 5), Family::V4, PATIENCE).await.unwrap_err();
    let Failure::Refused(failure) = Failure::from(error) else { panic!("not refused") };
    assert_eq!(failure.reason, "torrent is not served here");
    tracker.allow([0xab; 20]);
    assert!(http().announce(&url, &request(1, 5), Family::V4, PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_family_that_the_tracker_does_not_have_is_no_failure() {
    let tracker = url("http://127.0.0.1:9/announce");
    let error = http().announce(&tracker, &request(1, 5), Family::V6, PATIENCE).await.unwrap_err();
    assert_eq!(error.problem, Problem::NoAddress(Family::V6));
    assert_eq!(Failure::from(error), Failure::NoAddress);
}

#[tokio::test]
async fn a_tracker_stops_when_it_is_dropped() {
    let tracker = tracker("127.0.0.1:0").await;
    let url = url(&tracker.http_url());
    let http = http();
    http.announce(&url, &request(1, 5), Family::V4, PATIENCE).await.unwrap();
    drop(tracker);
    let error = http.announce(&url, &request(1, 5), Family::V4, PATIENCE).await.unwrap_err();
    assert!(matches!(error.problem, Problem::Refused | Problem::Broken(_)), "{error}");
    assert!(!error.to_string().contains("peer_id"), "{error}");
}

/// Sends bytes to a tracker and reads until it closes.
async fn raw(tracker: &TrackerServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(tracker.address()).await.unwrap();
    // It may close before it read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn clients_that_trickle_or_stay_silent_are_closed() {
    let tracker = tracker("127.0.0.1:0").await;
    assert_eq!(raw(&tracker, b"").await, "");
    assert_eq!(raw(&tracker, b"GET /announce HTT").await, "");
}

#[tokio::test]
async fn requests_that_are_too_long_or_nonsense_are_closed() {
    let tracker = tracker("127.0.0.1:0").await;
    assert_eq!(raw(&tracker, &vec![b'a'; 4 * MAX_HEAD]).await, "");
    assert!(raw(&tracker, b"POST / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    assert!(raw(&tracker, b"\x16\x03\x01\x02\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let two = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&tracker, two).await.matches("HTTP/1.1 404 Not Found").count(), 2);
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let tracker = tracker("127.0.0.1:0").await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(tracker.address()).await.unwrap());
    }
    let ask = b"GET /announce HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&tracker, ask).await, "", "the one too many is closed");
    drop(idle);
    while raw(&tracker, ask).await.is_empty() {
        tokio::task::yield_now().await;
    }
}
