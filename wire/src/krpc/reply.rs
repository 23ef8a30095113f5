use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bencode::{Dict, DictEncoder};

use super::{BloomFilter, Id, MAX_TOKEN, MAX_VALUE, Nodes, address};
use crate::lenient;

/// What a node answers. Which fields there are depends on the question; only the id always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The node that answers.
    pub id: Id,
    /// `nodes`: IPv4 nodes close to the point in question.
    pub nodes: Option<Nodes<'a>>,
    /// `nodes6`: IPv6 nodes close to the point in question (BEP 32).
    pub nodes6: Option<Nodes<'a>>,
    /// `values`: peers of the torrent, of either family. Empty if there are none.
    pub values: Vec<SocketAddr>,
    /// `token`: lets the asker announce or put.
    pub token: Option<&'a [u8]>,
    /// `v`: a stored item as it is bencoded, at most [`MAX_VALUE`] bytes (BEP 44).
    pub value: Option<&'a [u8]>,
    /// `k`: the key of a mutable item.
    pub key: Option<&'a [u8; 32]>,
    /// `sig`: the signature of a mutable item.
    pub signature: Option<&'a [u8; 64]>,
    /// `seq`: the sequence number of a mutable item.
    pub seq: Option<i64>,
    /// `BFsd`: the addresses of seeds (BEP 33).
    pub seeds: Option<&'a [u8; BloomFilter::LEN]>,
    /// `BFpe`: the addresses of other peers (BEP 33).
    pub peers: Option<&'a [u8; BloomFilter::LEN]>,
    /// `samples`, `num` and `interval` (BEP 51).
    pub samples: Option<Samples<'a>>,
}

/// Some of the torrents that a node knows peers of (BEP 51).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples<'a> {
    /// Seconds until another question can bring others: at most 21600.
    pub interval: u32,
    /// How many torrents there are.
    pub num: u32,
    /// Info-hashes.
    pub hashes: Cow<'a, [Id]>,
}

impl<'a> Reply<'a> {
    /// A reply that says no more than whose it is.
    pub const fn new(id: Id) -> Self {
        Self {
            id,
            nodes: None,
            nodes6: None,
            values: Vec::new(),
            token: None,
            value: None,
            key: None,
            signature: None,
            seq: None,
            seeds: None,
            peers: None,
            samples: None,
        }
    }

    pub(super) fn read(r: Dict<'_, 'a>) -> Option<Self> {
        let values = r.list("values");
        let values = values.into_iter().flatten().filter_map(|peer| address::read(peer.as_bytes()?));
        Some(Self {
            id: *array(r, "id")?,
            nodes: r.bytes("nodes").map(Nodes::read_v4),
            nodes6: r.bytes("nodes6").map(Nodes::read_v6),
            values: values.collect(),
            token: r.bytes("token").filter(|token| token.len() <= MAX_TOKEN),
            value: r.get("v").map(|value| value.raw()).filter(|raw| raw.len() <= MAX_VALUE),
            key: array(r, "k"),
            signature: array(r, "sig"),
            seq: r.int("seq"),
            seeds: array(r, "BFsd"),
            peers: array(r, "BFpe"),
            samples: Samples::read(r),
        })
    }

    pub(super) fn write(&self, r: &mut DictEncoder<'_, '_>) {
        r.bytes("id", self.id);
        if let Some(nodes) = &self.nodes {
            r.bytes("nodes", nodes.bytes());
        }
        if let Some(nodes) = &self.nodes6 {
            r.bytes("nodes6", nodes.bytes());
        }
        if !self.values.is_empty() {
            r.list("values", |list| self.values.iter().for_each(|peer| list.bytes(address::compact(peer))));
        }
        if let Some(value) = self.value {
            r.raw("v", value);
        }
        if let Some(seq) = self.seq {
            r.int("seq", seq);
        }
        let strings = [
            ("token", self.token),
            ("k", self.key.map(<[u8; 32]>::as_slice)),
            ("sig", self.signature.map(<[u8; 64]>::as_slice)),
            ("BFsd", self.seeds.map(<[u8; BloomFilter::LEN]>::as_slice)),
            ("BFpe", self.peers.map(<[u8; BloomFilter::LEN]>::as_slice)),
        ];
        for (key, bytes) in strings {
            if let Some(bytes) = bytes {
                r.bytes(key, bytes);
            }
        }
        if let Some(samples) = &self.samples {
            samples.write(r);
        }
    }
}

impl<'a> Samples<'a> {
    const MAX_INTERVAL: u32 = 21_600;

    fn read(r: Dict<'_, 'a>) -> Option<Self> {
        let hashes = r.bytes("samples")?.as_chunks().0;
        let count = |key| r.get(key).and_then(lenient::count).unwrap_or(0);
        Some(Self {
            interval: count("interval").min(Self::MAX_INTERVAL),
            num: count("num"),
            hashes: Cow::Borrowed(hashes),
        })
    }

    fn write(&self, r: &mut DictEncoder<'_, '_>) {
        r.int("interval", self.interval.min(Self::MAX_INTERVAL));
        r.int("num", self.num);
        r.bytes("samples", self.hashes.as_flattened());
    }
}

fn array<'a, const N: usize>(r: Dict<'_, 'a>, key: &str) -> Option<&'a [u8; N]> {
    r.bytes(key)?.try_into().ok()
}
