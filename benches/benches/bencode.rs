//! Decoding, beside the other bencode crates, on the same inputs.
//!
//! `parse` makes each crate's generic value. `read` also visits every value and key of it, and looks two keys up. Bendy stands twice: as its generic
//! value, and as its pull decoder driven over the whole input, which builds nothing that could be looked at again.
//!
//! ```text
//! cargo bench -p unchoke-benches --bench bencode -- --warm-up-time 0.5 --measurement-time 1
//! ```

use std::hint::black_box;

use bendy::decoding::{Decoder, FromBencode, Object};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

criterion_group!(benches, parse, read, encode);
criterion_main!(benches);

/// Sums up everything it visits, so that no visit can be left out.
type Sum = u64;

/// Parses and visits.
type Walk = fn(&[u8]) -> Sum;

fn parse(c: &mut Criterion) {
    for (name, inputs) in inputs() {
        let mut group = c.benchmark_group(format!("parse/{name}"));
        run(&mut group, "unchoke", &inputs, |input| bencode::decode(input).unwrap());
        run(&mut group, "unchoke_lenient", &inputs, |input| {
            bencode::Options::lenient().decode(input).unwrap()
        });
        run(&mut group, "bendy", &inputs, bendy_value);
        run(&mut group, "bt_bencode", &inputs, bt_value);
        run(&mut group, "serde_bencode", &inputs, serde_value);
        run(&mut group, "lava_torrent", &inputs, lava_value);
        group.finish();
    }
}

fn read(c: &mut Criterion) {
    for (name, inputs) in inputs() {
        let mut group = c.benchmark_group(format!("read/{name}"));
        let expected =
            inputs.iter().map(|input| walk_unchoke(bencode::decode(input).unwrap().root())).sum::<Sum>();
        let walks: [(&str, Walk); 6] = [
            ("unchoke", |input| {
                let document = bencode::decode(input).unwrap();
                let root = document.root().as_dict().unwrap();
                black_box((root.bytes("announce"), root.dict("info").and_then(|info| info.bytes("name"))));
                walk_unchoke(document.root())
            }),
            ("bendy", |input| {
                let value = bendy_value(input);
                if let bendy::value::Value::Dict(root) = &value {
                    black_box((root.get(&b"announce"[..]), root.get(&b"info"[..])));
                }
                walk_bendy(&value)
            }),
            ("bendy_pull", |input| walk_pull(Decoder::new(input).next_object().unwrap().unwrap())),
            ("bt_bencode", |input| {
                let value = bt_value(input);
                black_box((value.get("announce"), value.get("info").and_then(|info| info.get("name"))));
                walk_bt(&value)
            }),
            ("serde_bencode", |input| {
                let value = serde_value(input);
                if let serde_bencode::value::Value::Dict(root) = &value {
                    black_box((root.get(&b"announce"[..]), root.get(&b"info"[..])));
                }
                walk_serde(&value)
            }),
            ("lava_torrent", |input| {
                let value = lava_value(input);
                if let lava_torrent::bencode::BencodeElem::Dictionary(root) = &value {
                    black_box((root.get("announce"), root.get("info")));
                }
                walk_lava(&value)
            }),
        ];
        for (crate_name, walk) in walks {
            assert_eq!(
                inputs.iter().map(|input| walk(input)).sum::<Sum>(),
                expected,
                "{crate_name} on {name}"
            );
            run(&mut group, crate_name, &inputs, walk);
        }
        group.finish();
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode/20000_files");
    group.throughput(Throughput::Bytes(many_files(20_000).len() as u64));
    group.bench_function("unchoke", |b| b.iter(|| many_files(20_000)));
    group.finish();
}

fn run<'i, T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    inputs: &'i [Vec<u8>],
    task: impl Fn(&'i [u8]) -> T,
) {
    group.throughput(Throughput::Bytes(inputs.iter().map(|input| input.len() as u64).sum()));
    group.bench_function(name, |b| {
        b.iter(|| {
            for input in inputs {
                black_box(task(black_box(input)));
            }
        });
    });
}

fn bendy_value(input: &[u8]) -> bendy::value::Value<'static> {
    FromBencode::decode_bencode_object(Decoder::new(input).next_object().unwrap().unwrap()).unwrap()
}

fn bt_value(input: &[u8]) -> bt_bencode::Value {
    bt_bencode::from_slice(input).unwrap()
}

fn serde_value(input: &[u8]) -> serde_bencode::value::Value {
    serde_bencode::from_bytes(input).unwrap()
}

fn lava_value(input: &[u8]) -> lava_torrent::bencode::BencodeElem {
    lava_torrent::bencode::BencodeElem::from_bytes(input).unwrap().remove(0)
}

fn int(n: i64) -> Sum {
    n.cast_unsigned()
}

fn text(bytes: &[u8]) -> Sum {
    bytes.len() as Sum + Sum::from(bytes.first().copied().unwrap_or(0))
}

fn walk_unchoke(value: bencode::Value<'_, '_>) -> Sum {
    match value.kind() {
        bencode::Kind::Int => int(value.as_int().unwrap()),
        bencode::Kind::Bytes => text(value.as_bytes().unwrap()),
        bencode::Kind::List => value.as_list().unwrap().iter().map(walk_unchoke).sum(),
        bencode::Kind::Dict => {
            value.as_dict().unwrap().iter().map(|(key, value)| text(key) + walk_unchoke(value)).sum()
        }
    }
}

fn walk_bendy(value: &bendy::value::Value<'_>) -> Sum {
    use bendy::value::Value;
    match value {
        Value::Integer(n) => int(*n),
        Value::Bytes(bytes) => text(bytes),
        Value::List(list) => list.iter().map(walk_bendy).sum(),
        Value::Dict(dict) => dict.iter().map(|(key, value)| text(key) + walk_bendy(value)).sum(),
    }
}

fn walk_pull(object: Object<'_, '_>) -> Sum {
    match object {
        Object::Integer(digits) => int(digits.parse().unwrap()),
        Object::Bytes(bytes) => text(bytes),
        Object::List(mut list) => {
            let mut sum = 0;
            while let Some(item) = list.next_object().unwrap() {
                sum += walk_pull(item);
            }
            sum
        }
        Object::Dict(mut dict) => {
            let mut sum = 0;
            while let Some((key, value)) = dict.next_pair().unwrap() {
                sum += text(key) + walk_pull(value);
            }
            sum
        }
    }
}

fn walk_bt(value: &bt_bencode::Value) -> Sum {
    use bt_bencode::Value;
    match value {
        Value::Int(n) => bt_int(n),
        Value::ByteStr(bytes) => text(bytes.as_slice()),
        Value::List(list) => list.iter().map(walk_bt).sum(),
        Value::Dict(dict) => dict.iter().map(|(key, value)| text(key.as_slice()) + walk_bt(value)).sum(),
    }
}

fn bt_int(n: &bt_bencode::value::Number) -> Sum {
    match n {
        bt_bencode::value::Number::Signed(n) => int(*n),
        bt_bencode::value::Number::Unsigned(n) => *n,
    }
}

fn walk_serde(value: &serde_bencode::value::Value) -> Sum {
    use serde_bencode::value::Value;
    match value {
        Value::Int(n) => int(*n),
        Value::Bytes(bytes) => text(bytes),
        Value::List(list) => list.iter().map(walk_serde).sum(),
        Value::Dict(dict) => dict.iter().map(|(key, value)| text(key) + walk_serde(value)).sum(),
    }
}

fn walk_lava(value: &lava_torrent::bencode::BencodeElem) -> Sum {
    use lava_torrent::bencode::BencodeElem;
    match value {
        BencodeElem::Integer(n) => int(*n),
        BencodeElem::Bytes(bytes) => text(bytes),
        BencodeElem::String(string) => text(string.as_bytes()),
        BencodeElem::List(list) => list.iter().map(walk_lava).sum(),
        BencodeElem::Dictionary(dict) => {
            dict.iter().map(|(key, value)| text(key.as_bytes()) + walk_lava(value)).sum()
        }
        BencodeElem::RawDictionary(dict) => {
            dict.iter().map(|(key, value)| text(key) + walk_lava(value)).sum()
        }
    }
}

fn inputs() -> [(&'static str, Vec<Vec<u8>>); 4] {
    [
        ("small_torrent", vec![one_file(30)]),
        ("1MB_pieces", vec![one_file(50_000)]),
        ("20000_files", vec![many_files(20_000)]),
        ("krpc", krpc()),
    ]
}

fn one_file(pieces: usize) -> Vec<u8> {
    torrent(pieces, |info| info.int("length", (pieces as u64) << 18))
}

fn many_files(count: u64) -> Vec<u8> {
    torrent(1_000, |info| {
        info.list("files", |files| {
            for n in 0..count {
                files.dict(|file| {
                    file.int("length", 1_000 + n * 7_919 % 1_000_000);
                    file.list("path", |path| {
                        path.bytes(format!("folder {:03}", n / 100));
                        path.bytes(format!("track {:02} of the collection.flac", n % 100));
                    });
                });
            }
        });
    })
}

fn torrent(pieces: usize, rest: impl FnOnce(&mut bencode::DictEncoder<'_, '_>)) -> Vec<u8> {
    bencode::encode(|e| {
        e.dict(|root| {
            root.bytes("announce", "http://tracker.example.org:6969/announce");
            root.list("announce-list", |tiers| {
                for host in ["tracker.example.org", "open.example.net", "backup.example.com"] {
                    tiers.list(|tier| tier.bytes(format!("udp://{host}:1337/announce")));
                }
            });
            root.bytes("comment", "A comment of the usual length");
            root.bytes("created by", "mktorrent 1.1");
            root.int("creation date", 1_700_000_000);
            root.dict("info", |info| {
                rest(info);
                info.bytes("name", "a collection of things");
                info.int("piece length", 1 << 18);
                info.bytes("pieces", noise(pieces * 20));
            });
        });
    })
    .unwrap()
}

/// A query, two replies and an announce, as a DHT node sees them.
fn krpc() -> Vec<Vec<u8>> {
    let id = noise(20);
    let query = |name: &str, more: &dyn Fn(&mut bencode::DictEncoder<'_, '_>)| {
        bencode::encode(|e| {
            e.dict(|d| {
                d.dict("a", |a| {
                    a.bytes("id", &id);
                    more(a);
                });
                d.bytes("q", name);
                d.bytes("t", b"aa");
                d.bytes("v", b"LT\x01\x02");
                d.bytes("y", b"q");
            });
        })
        .unwrap()
    };
    let reply = |more: &dyn Fn(&mut bencode::DictEncoder<'_, '_>)| {
        bencode::encode(|e| {
            e.dict(|d| {
                d.bytes("ip", noise(6));
                d.dict("r", |r| {
                    r.bytes("id", &id);
                    more(r);
                });
                d.bytes("t", b"aa");
                d.bytes("v", b"LT\x01\x02");
                d.bytes("y", b"r");
            });
        })
        .unwrap()
    };
    vec![
        query("get_peers", &|a| a.bytes("info_hash", noise(20))),
        reply(&|r| r.bytes("nodes", noise(26 * 8))),
        reply(&|r| {
            r.bytes("nodes", noise(26 * 8));
            r.bytes("token", noise(8));
            r.list("values", |values| (0..20).for_each(|_| values.bytes(noise(6))));
        }),
        query("announce_peer", &|a| {
            a.int("implied_port", 1);
            a.bytes("info_hash", noise(20));
            a.int("port", 6881);
            a.bytes("token", noise(8));
        }),
    ]
}

/// Bytes that are not UTF-8, the same ones each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 0x80
    };
    (0..len).map(next).collect()
}
