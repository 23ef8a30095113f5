//! Speed of the wire codecs: peer messages, bitfields of large torrents, tracker replies.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wire::Decoded;
use wire::peer::{Bitfield, Decoder, Event, Limits, Message, PeerId, Request};
use wire::tracker::http::{PeerForm, announce_url, encode_announce_reply, parse_announce_reply};
use wire::tracker::udp::{Family, Reply};
use wire::tracker::{AnnounceReply, AnnounceRequest};

/// About what a busy leech hears besides payload: requests, haves, headers of pieces.
fn mix() -> Vec<Message<'static>> {
    let message = |i: u32| match i % 8 {
        0..=2 => Message::Request(Request { index: i, begin: 16384, len: 16384 }),
        3 | 4 => Message::Have(i),
        5 | 6 => Message::Piece { index: i, begin: 16384, len: 16384 },
        _ => Message::Interested,
    };
    (0..1000).map(message).collect()
}

fn encoded(messages: &[Message<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

fn messages(c: &mut Criterion) {
    let mix = mix();
    let stream = encoded(&mix);
    let limits = Limits::default();
    let mut group = c.benchmark_group("messages");
    group.throughput(Throughput::Elements(mix.len() as u64));
    group.bench_function("encode", |b| {
        let mut out = Vec::with_capacity(stream.len());
        b.iter(|| {
            out.clear();
            black_box(&mix).iter().for_each(|message| message.encode(&mut out));
            black_box(out.len())
        });
    });
    group.bench_function("parse", |b| {
        b.iter(|| {
            let mut input = black_box(&stream[..]);
            let mut count = 0;
            while let Ok(Decoded::Complete { value, consumed }) = Message::parse(input, &limits) {
                black_box(value);
                input = &input[consumed..];
                count += 1;
            }
            assert_eq!(count, mix.len());
        });
    });
    group.finish();
}

/// Blocks of 16 KiB in reads of 64 KiB: payload passes through untouched.
fn decoder(c: &mut Criterion) {
    let mut stream = Vec::new();
    for index in 0..64 {
        Message::Piece { index, begin: 0, len: 16384 }.encode(&mut stream);
        stream.resize(stream.len() + 16384, 7);
    }
    let mut group = c.benchmark_group("decoder");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("pieces", |b| {
        b.iter(|| {
            let mut decoder = Decoder::after_handshake(Limits::default());
            let mut payload = 0;
            for mut read in black_box(&stream[..]).chunks(64 << 10) {
                while let Ok(Some(event)) = decoder.next(&mut read) {
                    if let Event::Payload { data, .. } = event {
                        payload += data.len();
                    }
                }
            }
            assert_eq!(payload, 64 * 16384);
        });
    });
    group.finish();
}

fn bitfield(c: &mut Criterion) {
    const PIECES: u32 = 200_000;
    let full = Bitfield::with_all(PIECES);
    let mut ours = full.clone();
    (0..PIECES).step_by(100).for_each(|piece| {
        ours.clear(piece);
    });
    let mut group = c.benchmark_group("bitfield 200,000");
    group.throughput(Throughput::Elements(PIECES.into()));
    group.bench_function("from_bytes", |b| {
        b.iter(|| Bitfield::from_bytes(black_box(full.as_bytes()), PIECES));
    });
    group.bench_function("has_beyond, equal", |b| {
        b.iter(|| black_box(&ours).has_beyond(black_box(&ours)));
    });
    group.bench_function("iter_and_not, 1 % new", |b| {
        b.iter(|| black_box(&full).iter_and_not(black_box(&ours)).fold(0, u32::wrapping_add));
    });
    group.bench_function("iter_ones, full", |b| {
        b.iter(|| black_box(&full).iter_ones().fold(0, u32::wrapping_add));
    });
    group.bench_function("and_not", |b| {
        b.iter_batched_ref(|| full.clone(), |field| field.and_not(black_box(&ours)), BatchSize::SmallInput);
    });
    group.finish();
}

fn tracker(c: &mut Criterion) {
    let peers =
        |count: u32| (0..count).map(|i| SocketAddr::from(((i + 0x0a00_0000).to_be_bytes(), 6881))).collect();
    let reply = AnnounceReply {
        interval: Some(1800),
        seeders: Some(100),
        leechers: Some(100),
        peers: peers(200),
        ..AnnounceReply::default()
    };
    let body = |form| {
        let mut body = Vec::new();
        encode_announce_reply(&reply, form, &mut body);
        body
    };
    let (compact, dictionaries) = (body(PeerForm::Compact), body(PeerForm::Dictionaries));
    let mut packet = Vec::new();
    Reply::Announce { transaction: 1, reply: reply.clone() }.encode(Family::V4, &mut packet);
    let request = AnnounceRequest::new([0xab; 20], PeerId::new(PeerId::PREFIX, [7; 12]), 6881);

    let mut group = c.benchmark_group("announce");
    group.bench_function("url", |b| {
        b.iter(|| announce_url(black_box("http://t.example/announce?k=v"), &request));
    });
    group.bench_function("compact reply of 200", |b| b.iter(|| parse_announce_reply(black_box(&compact))));
    group.bench_function("dictionary reply of 200", |b| {
        b.iter(|| parse_announce_reply(black_box(&dictionaries)));
    });
    group.bench_function("udp reply of 200", |b| b.iter(|| Reply::parse(black_box(&packet), Family::V4)));
    group.finish();
}

criterion_group!(benches, messages, decoder, bitfield, tracker);
criterion_main!(benches);
