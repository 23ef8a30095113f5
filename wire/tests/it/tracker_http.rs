//! Announces and scrapes over HTTP, as a client and as a tracker sees them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use wire::peer::PeerId;
use wire::tracker::http::{
    PeerForm, QueryError, ReplyError, announce_url, encode_announce_reply, encode_failure,
    encode_scrape_reply, parse_announce_query, parse_announce_reply, parse_scrape_query, parse_scrape_reply,
    scrape_request_url, scrape_url,
};
use wire::tracker::{AnnounceReply, AnnounceRequest, Event, Failure, MAX_PEERS, RetryIn, ScrapeCounts};

fn request() -> AnnounceRequest {
    let mut info_hash = *b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a";
    info_hash[19] = b'~';
    AnnounceRequest {
        left: 1000,
        key: 0xbeef,
        ..AnnounceRequest::new(info_hash, PeerId(*b"-UC0100-abcdefghijk_"), 6881)
    }
}

fn query(url: &str) -> &[u8] {
    url.split_once('?').unwrap().1.as_bytes()
}

fn peers(text: &[&str]) -> Vec<SocketAddr> {
    text.iter().map(|peer| peer.parse().unwrap()).collect()
}

fn failure(reason: &str, retry_in: Option<RetryIn>) -> ReplyError {
    ReplyError::Failure(Failure { reason: reason.into(), retry_in })
}

#[test]
fn an_announce_url_is_escaped_byte_by_byte() {
    assert_eq!(
        announce_url("http://t/announce", &request()),
        "http://t/announce?info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx~&peer_id=-UC0100-abcdefghijk_\
         &port=6881&uploaded=0&downloaded=0&left=1000&key=0000BEEF&compact=1&no_peer_id=1"
    );
}

#[test]
fn the_announce_urls_own_query_is_kept() {
    for (announce, start) in [
        ("http://t/announce", "http://t/announce?info_hash="),
        ("http://t/announce?passkey=x%20y", "http://t/announce?passkey=x%20y&info_hash="),
        ("http://t/announce?", "http://t/announce?info_hash="),
        ("http://t/a?k=v&", "http://t/a?k=v&info_hash="),
        ("http://t/a?k=v#fragment", "http://t/a?k=v&info_hash="),
    ] {
        let url = announce_url(announce, &request());
        assert!(url.starts_with(start), "{url}");
    }
}

#[test]
fn a_tracker_reads_what_a_client_asks() {
    for event in [Event::None, Event::Started, Event::Completed, Event::Stopped, Event::Paused] {
        let request = AnnounceRequest {
            event,
            uploaded: u64::MAX,
            downloaded: 7,
            num_want: Some(0),
            compact: false,
            no_peer_id: false,
            ip: Some("::1".parse().unwrap()),
            ipv4: Some("1.2.3.4".parse().unwrap()),
            ipv6: Some("2001:db8::1".parse().unwrap()),
            tracker_id: Some(b"a b&c=\0\xff".to_vec()),
            ..request()
        };
        assert_eq!(parse_announce_query(query(&announce_url("http://t/?k=v", &request))), Ok(request));
    }
}

#[test]
fn queries_that_are_no_announce_are_refused() {
    let url = announce_url("http://t/", &request());
    let good = std::str::from_utf8(query(&url)).unwrap();
    for (from, to, expected) in [
        ("info_hash=", "x=", QueryError::Missing("info_hash")),
        ("info_hash=", "info_hash=x", QueryError::Invalid("info_hash")),
        ("peer_id=-", "peer_id=", QueryError::Invalid("peer_id")),
        ("port=6881", "port=65536", QueryError::Invalid("port")),
        ("&port=6881", "", QueryError::Missing("port")),
        ("left=1000", "left=-1", QueryError::Invalid("left")),
    ] {
        let query = good.replacen(from, to, 1);
        assert_eq!(parse_announce_query(query.as_bytes()), Err(expected), "{query}");
    }
    let long = vec![b'a'; 9000];
    assert_eq!(parse_announce_query(&long), Err(QueryError::TooLong { limit: 8192, found: 9000 }));
}

#[test]
fn compact_peers_of_both_families_are_read() {
    let body =
        b"d8:completei3e11:external ip4:\x05\x06\x07\x0810:incompletei4e8:intervali1800e12:min intervali900e\
        5:peers12:\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x00\x006:peers618:\
        \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe110:tracker id2:id15:warning message5:hm...e";
    let reply = parse_announce_reply(body).unwrap();
    assert_eq!(
        reply,
        AnnounceReply {
            interval: Some(1800),
            min_interval: Some(900),
            seeders: Some(3),
            leechers: Some(4),
            downloaded: None,
            peers: peers(&["1.2.3.4:6881", "[2001:db8::1]:6881"]),
            warning: Some("hm...".into()),
            tracker_id: Some(b"id".to_vec()),
            external_ip: Some("5.6.7.8".parse().unwrap()),
        }
    );
}

#[test]
fn dictionary_peers_are_read_and_useless_ones_dropped() {
    let body = b"d8:intervali60e5:peersl\
        d2:ip7:1.2.3.47:peer id20:xxxxxxxxxxxxxxxxxxxx4:porti6881ee\
        d2:ip5:[::1]4:porti1ee\
        d2:ip3:::14:porti2ee\
        d2:ip7:1.2.3.44:porti0ee\
        d2:ip7:1.2.3.44:porti65536ee\
        d2:ip7:1.2.3.44:porti-1ee\
        d2:ip11:example.com4:porti1ee\
        d4:porti1ee\
        i5e\
        ee";
    assert_eq!(parse_announce_reply(body).unwrap().peers, peers(&["1.2.3.4:6881", "[::1]:1", "[::1]:2"]));
}

#[test]
fn wrong_types_count_as_missing() {
    let body = b"d8:completele10:incomplete8:interval8:intervald1:ai1ee5:peersi1e6:peers6de10:tracker idi5ee";
    assert_eq!(parse_announce_reply(body), Ok(AnnounceReply::default()));
}

#[test]
fn absurd_intervals_become_numbers_that_can_be_clamped() {
    for (written, read) in [
        ("i0e", Some(0)),
        ("i-1e", None),
        ("i4611686018427387904e", Some(u32::MAX)),
        ("4:1800", Some(1800)),
        ("i4294967295e", Some(u32::MAX)),
    ] {
        let body = format!("d8:interval{written}5:peers0:e");
        assert_eq!(parse_announce_reply(body.as_bytes()).unwrap().interval, read, "{written}");
    }
}

#[test]
fn a_failure_is_an_error_with_the_trackers_words() {
    for (body, expected) in [
        (&b"d14:failure reason4:nopee"[..], failure("nope", None)),
        (b"d14:failure reason4:nope8:intervali5e8:retry ini5ee", failure("nope", Some(RetryIn::Minutes(5)))),
        (b"d14:failure reason4:nope8:retry in1:5e", failure("nope", Some(RetryIn::Minutes(5)))),
        (b"d14:failure reason4:nope8:retry in5:nevere", failure("nope", Some(RetryIn::Never))),
        (b"d14:failure reason4:nope8:retry ini-5ee", failure("nope", None)),
        (b"d14:failure reason2:\x1b[e", failure("\u{fffd}[", None)),
        (b"d14:failure reasoni5ee", failure("", None)),
    ] {
        assert_eq!(parse_announce_reply(body), Err(expected.clone()));
        assert_eq!(parse_scrape_reply(body), Err(expected));
    }
    let long = format!("d14:failure reason9999:{}e", "x".repeat(9999));
    assert_eq!(parse_announce_reply(long.as_bytes()), Err(failure(&"x".repeat(512), None)));
}

#[test]
fn failures_go_both_ways() {
    for retry_in in [None, Some(RetryIn::Never), Some(RetryIn::Minutes(3))] {
        let failure = Failure { reason: "not registered".into(), retry_in };
        let mut body = Vec::new();
        encode_failure(&failure, &mut body);
        assert_eq!(parse_announce_reply(&body), Err(ReplyError::Failure(failure)));
    }
}

#[test]
fn what_is_no_reply_is_an_error() {
    assert!(matches!(parse_announce_reply(b"<html>"), Err(ReplyError::Bencode(_))));
    assert!(matches!(parse_announce_reply(b""), Err(ReplyError::Bencode(_))));
    assert_eq!(parse_announce_reply(b"le"), Err(ReplyError::NotADictionary));
    assert_eq!(parse_announce_reply(b"d3:fooi1ee"), Err(ReplyError::NotAnAnswer));
    assert_eq!(parse_announce_reply(b"d5:peers0:e"), Ok(AnnounceReply::default()));
    assert_eq!(parse_scrape_reply(b"d5:peers0:e"), Err(ReplyError::NotAnAnswer));
    assert!(matches!(parse_announce_reply(&b"l".repeat(3 << 20)), Err(ReplyError::Bencode(_))));
    assert!(matches!(parse_announce_reply(&b"l".repeat(1 << 20)), Err(ReplyError::Bencode(_))));
}

#[test]
fn replies_with_keys_out_of_order_or_a_tail_are_forgiven() {
    let reply = parse_announce_reply(b"d5:peers6:\x01\x02\x03\x04\0\x018:intervali9ee\r\n").unwrap();
    assert_eq!((reply.interval, reply.peers), (Some(9), peers(&["1.2.3.4:1"])));
}

#[test]
fn more_peers_than_the_bound_are_dropped() {
    let mut body = b"d5:peers60000:".to_vec();
    body.extend((0..10_000u16).flat_map(|i| [1, 2, (i >> 8) as u8, i as u8, 1, 1]));
    body.extend(b"6:peers618:");
    body.extend([1; 18]);
    body.extend(b"e");
    let reply = parse_announce_reply(&body).unwrap();
    assert_eq!(reply.peers.len(), MAX_PEERS);
    assert!(reply.peers.iter().all(SocketAddr::is_ipv4));
}

#[test]
fn half_a_compact_peer_is_dropped() {
    let reply =
        parse_announce_reply(b"d5:peers8:\x01\x02\x03\x04\0\x01\x01\x026:peers617:xxxxxxxxxxxxxxxxxe")
            .unwrap();
    assert_eq!(reply.peers, peers(&["1.2.3.4:1"]));
}

#[test]
fn the_last_path_part_decides_where_to_scrape() {
    for (announce, scrape) in [
        ("http://example.com/announce", Some("http://example.com/scrape")),
        ("http://example.com/x/announce", Some("http://example.com/x/scrape")),
        ("http://example.com/announce.php", Some("http://example.com/scrape.php")),
        ("http://example.com/announce?x2%0644", Some("http://example.com/scrape?x2%0644")),
        ("http://example.com/announce?x=2/4", Some("http://example.com/scrape?x=2/4")),
        ("https://t/passkey/announce", Some("https://t/passkey/scrape")),
        ("http://example.com/a", None),
        ("http://example.com/x%064announce", None),
        ("http://example.com/announce/x", None),
        ("http://announce", None),
        ("http://announce/", None),
        ("http://announce?x=/announce", None),
        ("announce", None),
    ] {
        assert_eq!(scrape_url(announce).as_deref(), scrape, "{announce}");
    }
}

#[test]
fn scrapes_go_both_ways() {
    let hashes = [[b'a'; 20], [0xff; 20]];
    let url = scrape_request_url("http://t/scrape?k=v", &hashes);
    assert!(url.starts_with("http://t/scrape?k=v&info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%FF%FF"), "{url}");
    assert_eq!(parse_scrape_query(query(&url)), Ok(hashes.to_vec()));
    assert_eq!(parse_scrape_query(b"info_hash=short"), Err(QueryError::Invalid("info_hash")));

    let counts = |n| ScrapeCounts { seeders: n, downloaded: n + 1, leechers: n + 2 };
    let files = BTreeMap::from([(hashes[0], counts(1)), (hashes[1], counts(u32::MAX - 2))]);
    let mut body = Vec::new();
    encode_scrape_reply(&files, &mut body);
    assert_eq!(parse_scrape_reply(&body), Ok(files));
}

#[test]
fn the_example_of_bep_48_is_read() {
    let body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei19ee\
        20:yyyyyyyyyyyyyyyyyyyyd8:completei21e10:downloadedi206e10:incompletei20ee3:badi1eee";
    let files = parse_scrape_reply(body).unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(files[b"xxxxxxxxxxxxxxxxxxxx"], ScrapeCounts { seeders: 11, downloaded: 13772, leechers: 19 });
}

fn any_peer() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), 1..=u16::MAX).prop_map(SocketAddr::from)
}

prop_compose! {
    fn any_reply()(
        numbers in any::<[Option<u32>; 5]>(),
        mut peers in proptest::collection::vec(any_peer(), 0..50),
        texts in (proptest::option::of("[a-z ]{0,40}"), proptest::option::of(any::<[u8; 9]>())),
        external_ip in any::<Option<std::net::IpAddr>>(),
    ) -> AnnounceReply {
        // The compact form puts IPv4 first.
        peers.sort_by_key(SocketAddr::is_ipv6);
        let [interval, min_interval, seeders, leechers, downloaded] = numbers;
        let (warning, tracker_id) = (texts.0, texts.1.map(|id| id.to_vec()));
        AnnounceReply { interval, min_interval, seeders, leechers, downloaded, peers, warning, tracker_id, external_ip }
    }
}

proptest! {
    #[test]
    fn any_reply_goes_both_ways(reply in any_reply()) {
        for form in [PeerForm::Compact, PeerForm::Dictionaries] {
            let mut body = Vec::new();
            encode_announce_reply(&reply, form, &mut body);
            prop_assert_eq!(parse_announce_reply(&body), Ok(reply.clone()));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_announce_reply(&bytes);
        let _ = parse_announce_query(&bytes);
        let _ = parse_scrape_reply(&bytes);
        let _ = parse_scrape_query(&bytes);
    }
}
