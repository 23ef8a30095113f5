//! Trackers over UDP, as a client and as a tracker sees them.

use std::borrow::Cow;
use std::net::SocketAddr;

use proptest::prelude::*;
use wire::peer::PeerId;
use wire::tracker::udp::{Error, Family, Reply, Request};
use wire::tracker::{AnnounceReply, AnnounceRequest, Event, MAX_PEERS, ScrapeCounts};

fn request_bytes(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

fn reply_bytes(reply: &Reply, family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(family, &mut out);
    out
}

/// What an announce looks like after a way over UDP.
fn announce() -> AnnounceRequest {
    AnnounceRequest {
        uploaded: 3,
        downloaded: 1,
        left: 2,
        event: Event::Started,
        key: 0x01020304,
        ip: Some("9.8.7.6".parse().unwrap()),
        ..AnnounceRequest::new([b'h'; 20], PeerId([b'p'; 20]), 6881)
    }
}

fn announce_packet(announce: AnnounceRequest, url_data: &[u8]) -> Vec<u8> {
    let url_data = Cow::Borrowed(url_data);
    request_bytes(&Request::Announce { connection: 5, transaction: 6, announce, url_data })
}

#[test]
fn a_connect_request_is_16_bytes() {
    let packet = request_bytes(&Request::Connect { transaction: 0xabcd });
    assert_eq!(packet, b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\0\0\xab\xcd");
    assert_eq!(Request::parse(&packet), Ok(Request::Connect { transaction: 0xabcd }));
}

#[test]
fn an_announce_request_has_the_layout_of_bep_15() {
    let packet = announce_packet(announce(), b"/a?k=v");
    let mut expected = b"\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0\x06".to_vec();
    expected.extend(b"hhhhhhhhhhhhhhhhhhhhpppppppppppppppppppp");
    expected.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03");
    expected.extend(b"\0\0\0\x02\x09\x08\x07\x06\x01\x02\x03\x04\xff\xff\xff\xff\x1a\xe1");
    assert_eq!(expected.len(), 98);
    expected.extend(b"\x02\x06/a?k=v");
    assert_eq!(packet, expected);
    let read = Request::Announce {
        connection: 5,
        transaction: 6,
        announce: announce(),
        url_data: Cow::Borrowed(b"/a?k=v"),
    };
    assert_eq!(Request::parse(&packet), Ok(read));
}

#[test]
fn events_and_counts_go_both_ways() {
    for event in [Event::None, Event::Started, Event::Completed, Event::Stopped] {
        for num_want in [None, Some(0), Some(50), Some(i32::MAX as u32)] {
            let announce = AnnounceRequest { event, num_want, ip: None, ..announce() };
            let packet = announce_packet(announce.clone(), b"");
            match Request::parse(&packet) {
                Ok(Request::Announce { announce: read, .. }) => assert_eq!(read, announce),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_udp_cannot_say_is_left_out() {
    let announce = AnnounceRequest {
        event: Event::Paused,
        num_want: Some(u32::MAX),
        ip: Some("::1".parse().unwrap()),
        tracker_id: Some(vec![1]),
        ..announce()
    };
    match Request::parse(&announce_packet(announce, b"")) {
        Ok(Request::Announce { announce: read, .. }) => {
            assert_eq!((read.event, read.ip, read.tracker_id), (Event::None, None, None));
            assert_eq!(read.num_want, Some(i32::MAX as u32));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_scrape_request_lists_hashes() {
    let hashes = Cow::Borrowed(&[[1; 20], [2; 20]][..]);
    let request = Request::Scrape { connection: 1, transaction: 2, hashes };
    let packet = request_bytes(&request);
    assert_eq!(packet.len(), 16 + 40);
    assert_eq!(Request::parse(&packet), Ok(request));
}

#[test]
fn peers_are_packed_as_the_family_of_the_socket_says() {
    let peers: Vec<SocketAddr> = vec!["1.2.3.4:5".parse().unwrap(), "[2001:db8::1]:6".parse().unwrap()];
    let answer = AnnounceReply {
        interval: Some(1800),
        leechers: Some(2),
        seeders: Some(3),
        peers,
        ..Default::default()
    };
    for (family, len, kept) in [(Family::V4, 26, 0), (Family::V6, 38, 1)] {
        let packet = reply_bytes(&Reply::Announce { transaction: 9, reply: answer.clone() }, family);
        assert_eq!(packet.len(), len);
        assert_eq!(packet[..20], *b"\0\0\0\x01\0\0\0\x09\0\0\x07\x08\0\0\0\x02\0\0\0\x03");
        let reply = AnnounceReply { peers: vec![answer.peers[kept]], ..answer.clone() };
        assert_eq!(Reply::parse(&packet, family), Ok(Reply::Announce { transaction: 9, reply }));
    }
}

#[test]
fn the_other_replies_go_both_ways() {
    let counts = |n| ScrapeCounts { seeders: n, downloaded: n + 1, leechers: n + 2 };
    for reply in [
        Reply::Connect { transaction: 1, connection: u64::MAX },
        Reply::Scrape { transaction: 2, counts: vec![counts(1), counts(7)] },
        Reply::Scrape { transaction: 2, counts: vec![] },
        Reply::Error { transaction: 3, message: "no such torrent".into() },
        Reply::Error { transaction: 3, message: String::new() },
    ] {
        assert_eq!(Reply::parse(&reply_bytes(&reply, Family::V4), Family::V4), Ok(reply.clone()));
        assert_eq!(
            Reply::parse(&reply_bytes(&reply, Family::V4), Family::V4).unwrap().transaction(),
            reply.transaction()
        );
    }
}

#[test]
fn short_packets_say_how_long_they_should_be() {
    for (start, least) in
        [(&b"\0\0\0\0\0\0\0\x01"[..], 16), (b"\0\0\0\x01\0\0\0\x01", 20), (b"\0\0\0\x03", 8), (b"", 8)]
    {
        for len in start.len()..least {
            let mut packet = start.to_vec();
            packet.resize(len, 0);
            let short = Error::TooShort { expected: if len < 8 { 8 } else { least }, found: len };
            assert_eq!(Reply::parse(&packet, Family::V4), Err(short));
        }
    }
    let whole = announce_packet(announce(), b"");
    for len in 0..98 {
        let short = Error::TooShort { expected: if len < 16 { 16 } else { 98 }, found: len };
        assert_eq!(Request::parse(&whole[..len]), Err(short));
    }
}

#[test]
fn what_is_no_tracker_packet_is_refused() {
    assert_eq!(Reply::parse(&[0xff; 8], Family::V4), Err(Error::Action(u32::MAX)));
    assert_eq!(Request::parse(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Error::Magic(0)));
    assert_eq!(Request::parse(b"\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0"), Err(Error::Action(3)));
}

#[test]
fn longer_packets_are_read_as_far_as_they_are_known() {
    let mut connect = reply_bytes(&Reply::Connect { transaction: 1, connection: 2 }, Family::V4);
    connect.extend([7; 30]);
    assert_eq!(Reply::parse(&connect, Family::V4), Ok(Reply::Connect { transaction: 1, connection: 2 }));
    let mut scrape = reply_bytes(&Reply::Scrape { transaction: 1, counts: vec![] }, Family::V4);
    scrape.extend([0; 11]);
    assert_eq!(Reply::parse(&scrape, Family::V4), Ok(Reply::Scrape { transaction: 1, counts: vec![] }));
}

#[test]
fn useless_and_surplus_peers_are_dropped_and_a_negative_interval_says_nothing() {
    let mut packet = b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0".to_vec();
    packet.extend([1, 2, 3, 4, 0, 0, 1, 2, 3]);
    match Reply::parse(&packet, Family::V4) {
        Ok(Reply::Announce { reply, .. }) => assert_eq!((reply.interval, reply.peers), (None, vec![])),
        other => panic!("{other:?}"),
    }
    packet.resize(65_507, 1);
    match Reply::parse(&packet, Family::V4) {
        Ok(Reply::Announce { reply, .. }) => assert_eq!(reply.peers.len(), MAX_PEERS),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_url_data_goes_both_ways(data in proptest::collection::vec(any::<u8>(), 0..1000)) {
        match Request::parse(&announce_packet(announce(), &data)) {
            Ok(Request::Announce { url_data, .. }) => prop_assert_eq!(&*url_data, &data[..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_packet_is_survived(packet in proptest::collection::vec(any::<u8>(), 0..200), action in 0u8..5) {
        let mut packet = packet;
        if let [a, b, c, d, ..] = &mut packet[..] {
            [*a, *b, *c, *d] = [0, 0, 0, action];
        }
        for family in [Family::V4, Family::V6] {
            let _ = Reply::parse(&packet, family);
        }
        let _ = Request::parse(&packet);
    }
}
