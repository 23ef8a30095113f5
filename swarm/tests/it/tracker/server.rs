//! The tracker machine, asked by values and by HTTP targets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::time::Time;
use swarm::engine::tracker::Event;
use swarm::engine::tracker::server::{Config, Server};
use wire::peer::PeerId;
use wire::tracker::http::{announce_url, parse_announce_reply, parse_scrape_reply, scrape_request_url};
use wire::tracker::{AnnounceRequest, RetryIn, ScrapeCounts};

fn server(config: Config) -> Server {
    Server::new(config, ChaCha8Rng::seed_from_u64(1))
}

fn request(hash: u8, port: u16, left: u64) -> AnnounceRequest {
    AnnounceRequest { left, ..AnnounceRequest::new([hash; 20], PeerId([9; 20]), port) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peers(server: &mut Server, now: u64, from: &str, request: &AnnounceRequest) -> BTreeSet<SocketAddr> {
    server.announce(Time::from_secs(now), ip(from), request).unwrap().peers.into_iter().collect()
}

fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
    addresses.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn peers_are_told_of_others_until_they_stop_or_fall_silent() {
    let mut server = server(Config { interval: 60, ..Config::default() });
    assert_eq!(peers(&mut server, 0, "1.0.0.1", &request(1, 1000, 5)), set(&[]));
    assert_eq!(peers(&mut server, 0, "1.0.0.2", &request(1, 1000, 5)), set(&["1.0.0.1:1000"]));
    assert_eq!(
        peers(&mut server, 0, "2001:db8::1", &request(1, 1000, 5)).len(),
        2,
        "both families over HTTP"
    );
    assert_eq!(peers(&mut server, 0, "1.0.0.3", &request(2, 1000, 5)), set(&[]), "another torrent");
    let stop = AnnounceRequest { event: Event::Stopped, ..request(1, 1000, 5) };
    assert_eq!(peers(&mut server, 100, "1.0.0.2", &stop), set(&[]));
    let left = set(&["1.0.0.1:1000", "[2001:db8::1]:1000"]);
    assert_eq!(peers(&mut server, 100, "1.0.0.4", &request(1, 1000, 5)), left);
    assert_eq!(peers(&mut server, 250, "1.0.0.5", &request(1, 1000, 5)), set(&["1.0.0.4:1000"]));
    server.scrape(Time::from_secs(1000), &[]);
    assert_eq!(server.sizes(), (0, 0));
}

#[test]
fn peers_of_this_machine_are_named_to_this_machine_only() {
    let mut server = server(Config::default());
    peers(&mut server, 0, "127.0.0.1", &request(1, 1000, 5));
    assert_eq!(peers(&mut server, 0, "10.0.0.1", &request(1, 1000, 5)), set(&[]));
    assert_eq!(peers(&mut server, 0, "127.0.0.1", &request(1, 2000, 5)).len(), 2);
    assert_eq!(peers(&mut server, 0, "::ffff:127.0.0.1", &request(1, 1000, 5)).len(), 2);
}

#[test]
fn a_seed_is_not_told_of_seeds() {
    let mut server = server(Config::default());
    peers(&mut server, 0, "1.0.0.1", &request(1, 1000, 0));
    peers(&mut server, 0, "1.0.0.2", &request(1, 1000, 5));
    assert_eq!(peers(&mut server, 0, "1.0.0.3", &request(1, 1000, 0)), set(&["1.0.0.2:1000"]));
    assert_eq!(peers(&mut server, 0, "1.0.0.4", &request(1, 1000, 5)).len(), 3);
}

#[test]
fn an_answer_names_two_hundred_peers_at_most() {
    let mut server = server(Config::default());
    for i in 0..500u16 {
        peers(&mut server, 0, "1.0.0.1", &request(1, 1000 + i, 5));
    }
    for (num_want, expected) in [(None, 50), (Some(0), 0), (Some(10), 10), (Some(u32::MAX), 200)] {
        let found = peers(&mut server, 0, "1.0.0.2", &AnnounceRequest { num_want, ..request(1, 9, 5) });
        assert!(found.len() <= expected && found.len() + 1 >= expected, "{num_want:?}: {}", found.len());
    }
}

#[test]
fn the_store_is_bounded() {
    let mut server =
        server(Config { max_torrents: 3, max_peers: 4, max_peers_total: 10, ..Config::default() });
    for hash in 0..10 {
        for port in 1..20 {
            let reply = server.announce(Time::ZERO, ip("1.0.0.1"), &request(hash, port, 5));
            assert_eq!(reply.is_ok(), hash < 3, "torrent {hash}");
        }
    }
    assert_eq!(server.sizes(), (3, 10));
    let refused = server.announce(Time::ZERO, ip("1.0.0.1"), &request(9, 1, 5)).unwrap_err();
    assert_eq!(
        (refused.reason.as_str(), refused.retry_in),
        ("too many torrents", Some(RetryIn::Minutes(30)))
    );
    server.announce(Time::from_secs(100_000), ip("1.0.0.1"), &request(9, 1, 5)).unwrap();
    assert_eq!(server.sizes(), (1, 1));
}

#[test]
fn only_allowed_torrents_are_served() {
    let mut server = server(Config { allow: Some(BTreeSet::new()), ..Config::default() });
    let refused = server.announce(Time::ZERO, ip("1.0.0.1"), &request(1, 1, 5)).unwrap_err();
    assert_eq!(refused.retry_in, Some(RetryIn::Never));
    server.allow([1; 20]);
    assert!(server.announce(Time::ZERO, ip("1.0.0.1"), &request(1, 1, 5)).is_ok());
    assert_eq!(server.announce(Time::ZERO, ip("1.0.0.1"), &request(1, 0, 5)).unwrap_err().reason, "port 0");
}

#[test]
fn http_targets_are_answered_in_compact_and_dictionary_form() {
    let mut server = server(Config::default());
    let mut get = |from: &str, target: &str| server.http(Time::ZERO, ip(from), target);
    for from in ["10.0.0.1", "2001:db8::1"] {
        get(from, &announce_url("/announce", &request(0xff, 1000, 0)));
    }
    for compact in [true, false] {
        let asked = AnnounceRequest { compact, ..request(0xff, 2000, 1) };
        let answer = get("10.0.0.2", &announce_url("/announce", &asked));
        let reply = parse_announce_reply(&answer.body).unwrap();
        assert_eq!(
            reply.peers.into_iter().collect::<BTreeSet<_>>(),
            set(&["10.0.0.1:1000", "[2001:db8::1]:1000"])
        );
        assert_eq!((answer.status, reply.interval, reply.seeders), (200, Some(1800), Some(2)));
        assert_eq!(reply.external_ip, Some(ip("10.0.0.2")));
    }
    let scraped = get("10.0.0.1", &scrape_request_url("/scrape", &[[0xff; 20], [1; 20]]));
    let counts = ScrapeCounts { seeders: 2, leechers: 1, downloaded: 0 };
    assert_eq!(
        parse_scrape_reply(&scraped.body).unwrap().into_iter().collect::<Vec<_>>(),
        [([0xff; 20], counts)]
    );
    assert_eq!(get("10.0.0.1", "/admin").status, 404);
    let nonsense = get("10.0.0.1", "/announce?port=1&info_hash=short");
    assert!(parse_announce_reply(&nonsense.body).unwrap_err().to_string().contains("info_hash"));
}
