//! What must hold for any input. One function for each fuzz target; `tests/it/fuzz_corpus.rs` calls them too.

use wire::Decoded;
use wire::peer::{
    Decoder, Error, Event, ExtendedHandshake, Extensions, Handshake, HandshakeHead, Limits, Message,
    MetadataMessage, PexMessage,
};
use wire::tracker::MAX_PEERS;
use wire::tracker::http::{
    PeerForm, ReplyError, announce_url, encode_announce_reply, encode_failure, encode_scrape_reply,
    parse_announce_query, parse_announce_reply, parse_scrape_query, parse_scrape_reply, scrape_request_url,
    scrape_url,
};
use wire::tracker::udp::{Family, Reply, Request, url_data};
use wire::{krpc, lsd};

/// Small enough that short inputs reach every limit.
const SMALL: Limits = Limits { bitfield: 4, extended: 5, unknown: 6, piece: 7, hashes: 32 };

/// A message that is read is written back to the same bytes, and no prefix of it is taken for something else.
pub fn message(data: &[u8]) {
    for limits in [Limits::DEFAULT, SMALL] {
        match Message::parse(data, &limits) {
            Ok(Decoded::Complete { value, consumed }) => {
                let mut out = Vec::new();
                value.encode(&mut out);
                assert_eq!(out, data[..consumed]);
                for end in 0..consumed.min(200) {
                    let prefix = Message::parse(&data[..end], &limits);
                    assert!(
                        matches!(prefix, Ok(Decoded::Incomplete { needed }) if needed > end && needed <= consumed)
                    );
                }
            }
            Ok(Decoded::Incomplete { needed }) => {
                assert!(needed > data.len());
                assert!(needed <= 5 + (256 << 10), "bounded by the limits");
            }
            Err(error) => {
                assert!(data.len() >= 4, "errors need a length prefix");
                assert_eq!(
                    Message::parse(&data[..data.len().min(5)], &limits),
                    Err(error),
                    "errors need no body"
                );
            }
        }
    }
}

/// A handshake that is read is written back to the same bytes; its head says the same.
pub fn handshake(data: &[u8]) {
    let head = HandshakeHead::parse(data);
    match Handshake::parse(data) {
        Ok(Decoded::Complete { value, consumed }) => {
            assert_eq!(value.encode(), data[..consumed]);
            assert_eq!(head, Ok(Decoded::Complete { value: value.head(), consumed: HandshakeHead::LEN }));
            if let Some(client) = value.peer_id.client() {
                assert!(!client.to_string().is_empty());
            }
        }
        Ok(Decoded::Incomplete { needed }) => {
            assert_eq!(needed, Handshake::LEN);
            assert_eq!(head.unwrap().complete().is_some(), data.len() >= HandshakeHead::LEN);
        }
        Err(error) => assert_eq!(head, Err(error)),
    }
}

/// A handshake that is read means the same when it is written and read again, and merging stays bounded.
pub fn extended_handshake(data: &[u8]) {
    let Ok(handshake) = ExtendedHandshake::parse(data) else { return };
    let mut out = Vec::new();
    handshake.encode(&mut out);
    assert_eq!(ExtendedHandshake::parse(&out).as_ref(), Ok(&handshake));
    let mut merged = ExtendedHandshake::default();
    merged.merge(&handshake);
    let once = merged.clone();
    merged.merge(&handshake);
    assert_eq!(merged, once);
    assert!(merged.extensions.iter().len() <= Extensions::MAX);
}

/// Replies and queries that are read mean the same when they are written and read again.
pub fn tracker_http(data: &[u8]) {
    let mut out = Vec::new();
    match parse_announce_reply(data) {
        Ok(mut reply) => {
            assert!(reply.peers.len() <= MAX_PEERS && reply.peers.iter().all(|peer| peer.port() != 0));
            encode_announce_reply(&reply, PeerForm::Dictionaries, &mut out);
            assert_eq!(parse_announce_reply(&out).as_ref(), Ok(&reply));
            out.clear();
            encode_announce_reply(&reply, PeerForm::Compact, &mut out);
            reply.peers.sort_by_key(|peer| peer.is_ipv6());
            assert_eq!(parse_announce_reply(&out), Ok(reply));
        }
        Err(ReplyError::Failure(failure)) => {
            encode_failure(&failure, &mut out);
            assert_eq!(parse_announce_reply(&out), Err(ReplyError::Failure(failure)));
        }
        Err(_) => {}
    }
    if let Ok(files) = parse_scrape_reply(data) {
        out.clear();
        encode_scrape_reply(&files, &mut out);
        assert_eq!(parse_scrape_reply(&out), Ok(files));
    }
    if let Ok(request) = parse_announce_query(data) {
        let url = announce_url("http://t/announce", &request);
        assert_eq!(parse_announce_query(query(&url)), Ok(request));
    }
    if let Ok(hashes) = parse_scrape_query(data)
        && hashes.len() < 100
    {
        assert_eq!(parse_scrape_query(query(&scrape_request_url("http://t/scrape", &hashes))), Ok(hashes));
    }
    if let Ok(url) = std::str::from_utf8(data) {
        let _ = scrape_url(url);
        let _ = url_data(url);
    }
}

fn query(url: &str) -> &[u8] {
    url.split_once('?').unwrap().1.as_bytes()
}

/// Packets that are read mean the same when they are written and read again.
pub fn tracker_udp(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(Request::parse(&out).as_ref(), Ok(&request));
    }
    for family in [Family::V4, Family::V6] {
        let Ok(mut reply) = Reply::parse(data, family) else { continue };
        if let Reply::Announce { reply, .. } = &mut reply {
            assert!(reply.peers.len() <= MAX_PEERS && reply.peers.iter().all(|peer| peer.port() != 0));
            // A packet cannot leave the interval out.
            reply.interval.get_or_insert(0);
        }
        let mut out = Vec::new();
        reply.encode(family, &mut out);
        assert_eq!(Reply::parse(&out, family), Ok(reply));
    }
}

/// A stream gives the same events however it is cut. The first 8 bytes say where.
pub fn split_decoder(data: &[u8]) {
    let Some((cuts, stream)) = data.split_at_checked(8) else { return };
    for decoder in
        [Decoder::new(SMALL), Decoder::after_handshake(SMALL), Decoder::after_handshake(Limits::DEFAULT)]
    {
        let whole = events(decoder.clone(), [stream].into_iter());
        assert_eq!(events(decoder.clone(), stream.chunks(1)), whole);
        let mut rest = stream;
        let mut parts: Vec<&[u8]> = Vec::new();
        for cut in cuts {
            let (part, after) = rest.split_at(usize::from(*cut).min(rest.len()));
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        assert_eq!(events(decoder, parts.into_iter()), whole);
    }
}

/// What a decoder says to a stream that comes in parts: messages as text, payload joined, the error.
fn events<'a>(
    mut decoder: Decoder,
    parts: impl Iterator<Item = &'a [u8]>,
) -> (Vec<String>, Vec<u8>, Option<Error>) {
    let (mut said, mut payload) = (Vec::new(), Vec::new());
    for mut part in parts {
        loop {
            match decoder.next(&mut part) {
                Ok(Some(Event::Payload { data, left })) => {
                    payload.extend_from_slice(data);
                    if left == 0 {
                        said.push(format!("payload to {}", payload.len()));
                    }
                }
                Ok(Some(event)) => said.push(format!("{event:?}")),
                Ok(None) => break,
                Err(error) => return (said, payload, Some(error)),
            }
        }
        assert!(part.is_empty(), "all input is taken");
    }
    (said, payload, None)
}

/// A packet that is read means the same when it is written and read again; a query that is not read has an answer at most.
pub fn krpc_packet(data: &[u8]) {
    let mut out = Vec::new();
    match krpc::Packet::parse(data) {
        Ok(packet) => {
            packet.encode(&mut out);
            match krpc::Packet::parse(&out) {
                Ok(again) => assert_eq!(again, packet),
                // What was left out of the input counts as 0 and is written as such.
                Err(krpc::Error::Bencode(
                    bencode::Error::TooLarge { .. } | bencode::Error::TooManyTokens { .. },
                )) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        Err(error) => {
            if let Some(answer) = error.answer() {
                answer.encode(&mut out);
                assert!(out.len() <= 150, "an answer to what is wrong is short");
                assert_eq!(krpc::Packet::parse(&out), Ok(answer));
            }
        }
    }
}

/// An announce that is read means the same when it is written and read again.
pub fn lsd_announce(data: &[u8]) {
    let Ok(announce) = lsd::Announce::parse(data) else { return };
    assert!(announce.port != 0 && (1..=lsd::MAX_HASHES).contains(&announce.hashes.len()));
    let mut out = Vec::new();
    announce.encode(lsd::GROUP_V6, &mut out);
    assert!(out.len() <= lsd::MAX_PACKET);
    let again = lsd::Announce::parse(&out).unwrap();
    assert_eq!((again.port, &again.hashes), (announce.port, &announce.hashes));
    assert!(again.cookie.is_none() || again.cookie == announce.cookie);
}

/// A metadata message that is read means the same when it is written and read again.
pub fn ut_metadata(data: &[u8]) {
    let Ok(Some(message)) = MetadataMessage::parse(data) else { return };
    if let MetadataMessage::Data { data: piece, .. } = message {
        assert!(data.ends_with(piece), "the payload is what follows the dictionary");
    }
    let mut out = Vec::new();
    message.encode(&mut out);
    match MetadataMessage::parse(&out) {
        Ok(again) => assert_eq!(again, Some(message)),
        // The dictionary is written with all its keys, so a payload at the limit may not fit behind it.
        Err(_) => assert!(out.len() > MetadataMessage::MAX_LEN),
    }
}

/// Messages about other peers that are read mean the same when they are written and read again.
pub fn ut_pex(data: &[u8]) {
    let Ok(message) = PexMessage::parse(data) else { return };
    assert!(message.added.len() <= PexMessage::MAX_PEERS && message.dropped.len() <= PexMessage::MAX_PEERS);
    assert!(message.added.iter().all(|peer| peer.addr.port() != 0));
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(PexMessage::parse(&out), Ok(message));
}
