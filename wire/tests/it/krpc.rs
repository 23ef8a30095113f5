//! Packets of the distributed hash table: the examples of the BEPs, what is forgiven, what is refused, and both ways.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use wire::krpc::{
    BloomFilter, Body, Error, Id, MAX_PACKET, Method, MutableItem, NodeInfo, Nodes, Packet, Query, Refusal,
    Reply, Samples, Want, code,
};

const ASKER: Id = *b"abcdefghij0123456789";
const TARGET: Id = *b"mnopqrstuvwxyz123456";

fn query(method: Method<'_>) -> Packet<'_> {
    Packet::new(b"aa", Body::Query(Query { id: ASKER, method }))
}

fn reply(reply: Reply<'_>) -> Packet<'_> {
    Packet::new(b"aa", Body::Reply(reply))
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

#[test]
fn the_examples_of_bep_5_go_both_ways() {
    let token = b"aoeusnth";
    let values = vec![
        SocketAddr::from((*b"axje", u16::from_be_bytes(*b".u"))),
        (*b"idht", u16::from_be_bytes(*b"nm")).into(),
    ];
    let announce = Method::AnnouncePeer {
        info_hash: TARGET,
        port: 6881,
        implied_port: true,
        token,
        name: None,
        seed: false,
    };
    let peers = Method::GetPeers { info_hash: TARGET, want: None, no_seeds: false, scrape: false };
    let examples: [(&str, Packet<'_>); 7] = [
        ("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", query(Method::Ping)),
        ("d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", reply(Reply::new(TARGET))),
        (
            "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            query(Method::FindNode { target: TARGET, want: None }),
        ),
        (
            "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
            query(peers),
        ),
        (
            "d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
            reply(Reply { token: Some(token), values, ..Reply::new(ASKER) }),
        ),
        (
            "d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e\
             5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
            query(announce),
        ),
        (
            "d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
            Packet::new(b"aa", Body::Error(Refusal::new(code::GENERIC, "A Generic Error Ocurred"))),
        ),
    ];
    for (text, packet) in examples {
        assert_eq!(Packet::parse(text.as_bytes()), Ok(packet.clone()), "{text}");
        assert_eq!(encode(&packet), text.as_bytes(), "{text}");
    }
}

#[test]
fn what_a_query_must_have_is_asked_for_with_203() {
    let id = "2:id20:abcdefghij0123456789";
    let hash = "9:info_hash20:mnopqrstuvwxyz123456";
    for (method, arguments) in [
        ("ping", String::new()),
        ("ping", "2:id19:abcdefghij012345678".into()),
        ("ping", "2:idi5e".into()),
        ("find_node", id.into()),
        ("find_node", format!("{id}6:target3:abc")),
        ("get_peers", id.into()),
        ("announce_peer", format!("{id}{hash}4:porti80e")),
        ("announce_peer", format!("{id}{hash}5:token1:x")),
        ("announce_peer", format!("{id}{hash}4:porti0e5:token1:x")),
        ("announce_peer", format!("{id}{hash}4:porti65536e5:token1:x")),
        ("announce_peer", format!("{id}{hash}4:porti80e5:token129:{}", "x".repeat(129))),
        ("get", id.into()),
        ("put", format!("{id}1:v1:x")),
        ("put", format!("{id}5:token1:x")),
        ("put", format!("{id}5:token1:x1:vd1:b0:1:a0:e")),
        ("put", format!("{id}5:token1:x1:vi05e")),
        ("put", format!("{id}3:seqi1e5:token1:x1:v1:x")),
        ("put", format!("{id}1:k31:{}3:seqi1e5:token1:x1:v1:x", "k".repeat(31))),
        ("sample_infohashes", id.into()),
    ] {
        let packet = format!("d1:ad{arguments}e1:q{}:{method}1:t2:aa1:y1:qe", method.len());
        let error = Packet::parse(packet.as_bytes()).unwrap_err();
        let Some(Packet { transaction: b"aa", body: Body::Error(refusal), .. }) = error.answer() else {
            panic!("{packet}: {error:?}");
        };
        assert_eq!(refusal.code, code::PROTOCOL, "{packet}: {error}");
    }
    for packet in ["d1:q4:ping1:t2:aa1:y1:qe", "d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe"] {
        assert!(Packet::parse(packet.as_bytes()).unwrap_err().answer().is_some(), "{packet}");
    }
}

#[test]
fn items_that_are_too_big_have_their_own_errors() {
    let put = |value: &[u8], salt: &[u8]| {
        let item = MutableItem { key: &[1; 32], salt, seq: 1, cas: None, signature: &[2; 64] };
        let method = Method::Put { token: b"x", value, mutable: Some(item) };
        let bytes = encode(&query(method));
        let error = Packet::parse(&bytes).err()?;
        let Body::Error(refusal) = error.answer()?.body else { panic!("{error:?}") };
        Some(refusal.code)
    };
    let value = |len: usize| [format!("{len}:").as_bytes(), &vec![b'x'; len]].concat();
    assert_eq!(put(&value(996), &[3; 64]), None);
    assert_eq!(put(&value(997), &[3; 64]), Some(code::VALUE_TOO_BIG));
    assert_eq!(put(&value(996), &[3; 65]), Some(code::SALT_TOO_BIG));
}

#[test]
fn what_cannot_be_answered_is_refused_without_an_answer() {
    let deep = format!("d1:t2:aa1:x{}{}1:y1:re", "l".repeat(200), "e".repeat(200));
    let long = format!("d1:t33:{}1:y1:qe", "t".repeat(33));
    let huge = format!("d1:t2:aa1:x{MAX_PACKET}:{}1:y1:qe", "x".repeat(MAX_PACKET));
    let wide = format!("d1:t2:aa1:xl{}e1:y1:qe", "0:".repeat(700));
    for packet in [
        "",
        "d",
        "i5e",
        "le",
        "de",
        "d1:y1:qe",
        "d1:ti5e1:y1:qe",
        "d1:t2:aae",
        "d1:t2:aa1:y1:xe",
        "d1:t2:aa1:yi1ee",
        "d1:t2:aa1:y1:re",
        "d1:rde1:t2:aa1:y1:re",
        &deep,
        &long,
        &huge,
        &wide,
    ] {
        let error = Packet::parse(packet.as_bytes()).unwrap_err();
        assert_eq!(error.answer(), None, "{packet}");
    }
    assert_eq!(Packet::parse(b"le"), Err(Error::NotADictionary));
}

#[test]
fn optional_keys_of_wrong_types_count_as_missing() {
    for extra in [
        "5:nodesi1e",
        "6:nodes6le",
        "6:values1:x",
        "6:valuesli1e3:abcle6:\0\0\0\0\0\0e",
        "5:tokeni1e",
        "1:ki1e",
        "1:k3:abc",
        "3:sig3:abc",
        "3:seq1:x",
        "4:BFsd3:abc",
        "4:BFpei1e",
        "7:samplesi1e",
        "7:unknownd1:xlee",
    ] {
        let packet =
            format!("d1:rd2:id20:{}{extra}e1:t2:aa1:v100:{}1:y1:re", "i".repeat(20), "v".repeat(100));
        assert_eq!(Packet::parse(packet.as_bytes()), Ok(reply(Reply::new([b'i'; 20]))), "{extra}");
    }
    for extra in ["4:wanti1e", "4:wantle", "4:wantl2:n7e", "6:noseedi0e", "6:scrape1:1"] {
        let packet = format!(
            "d1:ad{extra}2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe"
        );
        let plain = Method::GetPeers { info_hash: TARGET, want: None, no_seeds: false, scrape: false };
        assert_eq!(Packet::parse(packet.as_bytes()), Ok(query(plain)), "{extra}");
    }
}

#[test]
fn careless_bencode_and_errors_of_odd_shape_are_forgiven() {
    let unsorted = b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789eetrailing";
    assert_eq!(Packet::parse(unsorted), Ok(query(Method::Ping)));
    for (text, code, message) in [
        ("d1:el3:abci5ee1:t2:aa1:y1:ee", 201, ""),
        ("d1:ei204e1:t2:aa1:y1:ee", 201, ""),
        ("d1:t2:aa1:y1:ee", 201, ""),
        ("d1:eli-5e1:xe1:t2:aa1:y1:ee", 201, "x"),
        ("d1:eli302e3:\x1b[me1:t2:aa1:y1:ee", 302, "\u{fffd}[m"),
    ] {
        let expected = Packet::new(b"aa", Body::Error(Refusal::new(code, message)));
        assert_eq!(Packet::parse(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn an_unknown_method_keeps_its_target() {
    let packet = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe";
    let other = Method::Other { name: b"vote", target: Some(TARGET), want: None };
    assert_eq!(Packet::parse(packet), Ok(query(other)));
}

#[test]
fn a_value_keeps_the_bytes_that_were_signed() {
    let sloppy = b"d1:rd2:id20:abcdefghij01234567891:vd1:bi01e1:a0:ee1:t2:aa1:y1:re";
    let Body::Reply(reply) = Packet::parse(sloppy).unwrap().body else { panic!("no reply") };
    assert_eq!(reply.value, Some(&b"d1:bi01e1:a0:e"[..]));
}

#[test]
fn nodes_at_port_0_and_rests_are_left_out() {
    let packet = [
        &b"d1:rd2:id20:abcdefghij01234567895:nodes60:"[..],
        &[b'n'; 20],
        &[10, 0, 0, 1, 0, 0],
        &[b'm'; 20],
        &[10, 0, 0, 2, 0, 9],
        &[b'r'; 8],
        b"e1:t2:aa1:y1:re",
    ]
    .concat();
    let Body::Reply(reply) = Packet::parse(&packet).unwrap().body else { panic!("no reply") };
    let nodes: Vec<_> = reply.nodes.unwrap().iter().collect();
    assert_eq!(nodes, [NodeInfo { id: [b'm'; 20], addr: ([10, 0, 0, 2], 9).into() }]);
}

/// What a packet borrows from.
#[derive(Debug)]
struct Material {
    transaction: Vec<u8>,
    strings: [Vec<u8>; 3],
    ids: [Id; 3],
    numbers: (i64, Option<i64>, u16, u32),
    flags: [bool; 4],
    v4: Vec<(Id, Ipv4Addr, u16)>,
    v6: Vec<(Id, Ipv6Addr, u16)>,
}

prop_compose! {
    fn material()(
        transaction in proptest::collection::vec(any::<u8>(), 0..=32),
        strings in proptest::array::uniform3(proptest::collection::vec(any::<u8>(), 0..=16)),
        ids in any::<[Id; 3]>(),
        numbers in (0..=i64::MAX, any::<Option<i64>>(), 1..=u16::MAX, 0..=21_600u32),
        flags in any::<[bool; 4]>(),
        v4 in proptest::collection::vec((any::<Id>(), any::<Ipv4Addr>(), 1..=u16::MAX), 0..=8),
        v6 in proptest::collection::vec((any::<Id>(), any::<Ipv6Addr>(), 1..=u16::MAX), 0..=8),
    ) -> Material {
        Material { transaction, strings, ids, numbers, flags, v4, v6 }
    }
}

impl Material {
    fn methods<'a>(&'a self, value: &'a [u8], key: &'a [u8; 32], signature: &'a [u8; 64]) -> Vec<Method<'a>> {
        let [_, target, _] = self.ids;
        let [token, salt, name] = &self.strings;
        let (seq, cas, port, _) = self.numbers;
        let [implied_port, seed, v4, v6] = self.flags;
        let want = (v4 || v6).then_some(Want { v4, v6 });
        let item = MutableItem { key, salt, seq, cas, signature };
        let name = seed.then_some(&name[..]);
        vec![
            Method::Ping,
            Method::FindNode { target, want },
            Method::GetPeers { info_hash: target, want, no_seeds: implied_port, scrape: seed },
            Method::AnnouncePeer { info_hash: target, port, implied_port, token, name, seed },
            Method::Get { target, seq: cas, want },
            Method::Put { token, value, mutable: None },
            Method::Put { token, value, mutable: Some(item) },
            Method::SampleInfohashes { target, want },
            Method::Other { name: b"vote", target: seed.then_some(target), want },
        ]
    }

    fn replies<'a>(&'a self, value: &'a [u8], key: &'a [u8; 32], signature: &'a [u8; 64]) -> Vec<Reply<'a>> {
        let [id, ..] = self.ids;
        let v4 = || self.v4.iter().map(|(id, ip, port)| NodeInfo { id: *id, addr: (*ip, *port).into() });
        let v6 = || self.v6.iter().map(|(id, ip, port)| NodeInfo { id: *id, addr: (*ip, *port).into() });
        let token = Some(&self.strings[0][..]);
        let (seq, .., interval) = self.numbers;
        let base =
            Reply { nodes: Some(Nodes::v4(v4())), nodes6: Some(Nodes::v6(v6())), token, ..Reply::new(id) };
        let item = Reply {
            value: Some(value),
            key: Some(key),
            signature: Some(signature),
            seq: Some(seq),
            ..base.clone()
        };
        let samples = Samples { interval, num: interval, hashes: self.ids.to_vec().into() };
        vec![
            Reply::new(id),
            Reply { values: v4().chain(v6()).map(|node| node.addr).collect(), ..base.clone() },
            item,
            Reply {
                seeds: Some(&[7; BloomFilter::LEN]),
                peers: Some(&[9; BloomFilter::LEN]),
                ..base.clone()
            },
            Reply { samples: Some(samples), ..base },
        ]
    }
}

proptest! {
    #[test]
    fn any_packet_goes_both_ways(material in material(), key: [u8; 32], signature in any::<[[u8; 32]; 2]>()) {
        let [id, ..] = material.ids;
        let value = [format!("{}:", material.strings[0].len()).as_bytes(), &material.strings[0]].concat();
        let signature: &[u8; 64] = signature.as_flattened().try_into().unwrap();
        let queries = material.methods(&value, &key, signature).into_iter().map(|method| Body::Query(Query { id, method }));
        let replies = material.replies(&value, &key, signature).into_iter().map(Body::Reply);
        let refusal = Body::Error(Refusal::new(code::BAD_SIGNATURE, "no"));
        for body in queries.chain(replies).chain([refusal]) {
            let packet = Packet {
                transaction: &material.transaction,
                read_only: material.flags[0] && matches!(body, Body::Query(_)),
                body,
                version: Some(&material.strings[1]),
                ip: material.v6.first().map(|(_, ip, port)| (*ip, *port).into()),
            };
            let bytes = encode(&packet);
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Packet::parse(&bytes);
    }
}
