use bencode::{Dict, DictEncoder, Options, Value};

use super::{Id, MAX_SALT, MAX_TOKEN, MAX_VALUE, Refusal, code};
use crate::lenient;

/// Bytes of the longest torrent name or method that is kept.
const MAX_NAME: usize = 255;

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The node that asks.
    pub id: Id,
    /// What it asks for.
    pub method: Method<'a>,
}

/// The questions and their arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// `ping`: whether the node is there.
    Ping,
    /// `find_node`: the nodes closest to a point.
    FindNode {
        /// The point.
        target: Id,
        /// Which nodes.
        want: Option<Want>,
    },
    /// `get_peers`: peers of a torrent, and a token to announce with.
    GetPeers {
        /// The torrent.
        info_hash: Id,
        /// Which nodes.
        want: Option<Want>,
        /// Rather peers that are no seeds (BEP 33).
        no_seeds: bool,
        /// Also what counts the seeds and peers (BEP 33).
        scrape: bool,
    },
    /// `announce_peer`: the sender's address is one of a peer of a torrent.
    AnnouncePeer {
        /// The torrent.
        info_hash: Id,
        /// The peer's port: not 0, unless it is implied.
        port: u16,
        /// The peer's port is rather the one that the packet comes from.
        implied_port: bool,
        /// From the reply to a `get_peers`.
        token: &'a [u8],
        /// The torrent's name.
        name: Option<&'a [u8]>,
        /// Whether the peer has the whole torrent (BEP 33).
        seed: bool,
    },
    /// `get`: an item (BEP 44).
    Get {
        /// Where it is stored.
        target: Id,
        /// The item is not wanted unless its sequence number is higher.
        seq: Option<i64>,
        /// Which nodes.
        want: Option<Want>,
    },
    /// `put`: keep an item (BEP 44).
    Put {
        /// From the reply to a `get`.
        token: &'a [u8],
        /// The item as it is bencoded: canonical, at most [`MAX_VALUE`] bytes.
        value: &'a [u8],
        /// What a mutable item has besides.
        mutable: Option<MutableItem<'a>>,
    },
    /// `sample_infohashes`: some torrents that the node knows peers of (BEP 51).
    SampleInfohashes {
        /// The point that nodes are wanted for.
        target: Id,
        /// Which nodes.
        want: Option<Want>,
    },
    /// A question that is not known here.
    Other {
        /// Its name.
        name: &'a [u8],
        /// The point that it is about (`target` or `info_hash`), if any: the closest nodes are a good answer.
        target: Option<Id>,
        /// Which nodes.
        want: Option<Want>,
    },
}

/// What a mutable item has besides its value (BEP 44).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutableItem<'a> {
    /// `k`: the ed25519 key that signs it.
    pub key: &'a [u8; 32],
    /// `salt`: tells items of one key apart; empty if there is none.
    pub salt: &'a [u8],
    /// `seq`: grows with every version.
    pub seq: i64,
    /// `cas`: the sequence number of the item that this one is to replace.
    pub cas: Option<i64>,
    /// `sig`: of the [signed text](super::signed_text).
    pub signature: &'a [u8; 64],
}

/// Which nodes a reply should name (BEP 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// IPv4 nodes.
    pub v4: bool,
    /// IPv6 nodes.
    pub v6: bool,
}

type Read<T> = Result<T, Refusal<'static>>;

impl<'a> Query<'a> {
    pub(super) fn read(name: Option<&'a [u8]>, arguments: Option<Dict<'_, 'a>>) -> Read<Self> {
        let name = name.filter(|name| name.len() <= MAX_NAME).ok_or(protocol("expected a method"))?;
        let a = arguments.ok_or(protocol("expected arguments"))?;
        let id = id(a, "id").ok_or(protocol("expected an id of 20 bytes"))?;
        Ok(Self { id, method: Method::read(name, a)? })
    }

    pub(super) fn write(&self, packet: &mut DictEncoder<'_, '_>) {
        packet.bytes("q", self.method.name());
        packet.dict("a", |a| {
            a.bytes("id", self.id);
            self.method.write(a);
        });
    }
}

impl<'a> Method<'a> {
    /// What it is called.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put { .. } => b"put",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::Other { name, .. } => name,
        }
    }

    fn read(name: &'a [u8], a: Dict<'_, 'a>) -> Read<Self> {
        let target = || id(a, "target").ok_or(protocol("expected a target of 20 bytes"));
        let info_hash = || id(a, "info_hash").ok_or(protocol("expected an info_hash of 20 bytes"));
        let want = Want::read(a);
        Ok(match name {
            b"ping" => Self::Ping,
            b"find_node" => Self::FindNode { target: target()?, want },
            b"get_peers" => Self::GetPeers {
                info_hash: info_hash()?,
                want,
                no_seeds: flag(a, "noseed"),
                scrape: flag(a, "scrape"),
            },
            b"announce_peer" => Self::AnnouncePeer {
                info_hash: info_hash()?,
                port: port(a)?,
                implied_port: implied_port(a),
                token: token(a)?,
                name: a.bytes("name").filter(|name| name.len() <= MAX_NAME),
                seed: flag(a, "seed"),
            },
            b"get" => Self::Get { target: target()?, seq: a.int("seq"), want },
            b"put" => Self::Put { token: token(a)?, value: value(a)?, mutable: MutableItem::read(a)? },
            b"sample_infohashes" => Self::SampleInfohashes { target: target()?, want },
            name => Self::Other { name, target: id(a, "target").or_else(|| id(a, "info_hash")), want },
        })
    }

    fn write(&self, a: &mut DictEncoder<'_, '_>) {
        match self {
            Self::Ping => {}
            Self::FindNode { target, want } | Self::SampleInfohashes { target, want } => {
                a.bytes("target", target);
                Want::write(*want, a);
            }
            Self::GetPeers { info_hash, want, no_seeds, scrape } => {
                a.bytes("info_hash", info_hash);
                Want::write(*want, a);
                set(a, "noseed", *no_seeds);
                set(a, "scrape", *scrape);
            }
            Self::AnnouncePeer { info_hash, port, implied_port, token, name, seed } => {
                a.bytes("info_hash", info_hash);
                set(a, "implied_port", *implied_port);
                a.int("port", *port);
                a.bytes("token", token);
                if let Some(name) = name {
                    a.bytes("name", name);
                }
                set(a, "seed", *seed);
            }
            Self::Get { target, seq, want } => {
                a.bytes("target", target);
                if let Some(seq) = seq {
                    a.int("seq", *seq);
                }
                Want::write(*want, a);
            }
            Self::Put { token, value, mutable } => {
                a.bytes("token", token);
                a.raw("v", value);
                if let Some(item) = mutable {
                    item.write(a);
                }
            }
            Self::Other { target, want, .. } => {
                if let Some(target) = target {
                    a.bytes("target", target);
                }
                Want::write(*want, a);
            }
        }
    }
}

impl<'a> MutableItem<'a> {
    /// An item with any of the keys of a mutable one must have them all.
    fn read(a: Dict<'_, 'a>) -> Read<Option<Self>> {
        if ["k", "sig", "seq"].iter().all(|key| a.get(key).is_none()) {
            return Ok(None);
        }
        let salt = a.bytes("salt").unwrap_or_default();
        if salt.len() > MAX_SALT {
            return Err(Refusal::new(code::SALT_TOO_BIG, "expected a salt of at most 64 bytes"));
        }
        Ok(Some(Self {
            key: array(a, "k").ok_or(protocol("expected a key of 32 bytes"))?,
            salt,
            seq: a.int("seq").filter(|seq| *seq >= 0).ok_or(protocol("expected a seq of at least 0"))?,
            cas: a.int("cas"),
            signature: array(a, "sig").ok_or(protocol("expected a signature of 64 bytes"))?,
        }))
    }

    fn write(&self, a: &mut DictEncoder<'_, '_>) {
        a.bytes("k", self.key);
        if !self.salt.is_empty() {
            a.bytes("salt", self.salt);
        }
        a.int("seq", self.seq);
        if let Some(cas) = self.cas {
            a.int("cas", cas);
        }
        a.bytes("sig", self.signature);
    }
}

impl Want {
    /// What it does not know is ignored; a list of nothing else is as good as none.
    fn read(a: Dict<'_, '_>) -> Option<Self> {
        let list = a.list("want")?;
        let has = |name: &[u8]| list.iter().any(|value| value.as_bytes() == Some(name));
        let want = Self { v4: has(b"n4"), v6: has(b"n6") };
        (want.v4 || want.v6).then_some(want)
    }

    fn write(want: Option<Self>, a: &mut DictEncoder<'_, '_>) {
        let Some(want) = want.filter(|want| want.v4 || want.v6) else { return };
        a.list("want", |list| {
            if want.v4 {
                list.bytes("n4");
            }
            if want.v6 {
                list.bytes("n6");
            }
        });
    }
}

fn id(a: Dict<'_, '_>, key: &str) -> Option<Id> {
    array(a, key).copied()
}

fn array<'a, const N: usize>(a: Dict<'_, 'a>, key: &str) -> Option<&'a [u8; N]> {
    a.bytes(key)?.try_into().ok()
}

fn flag(a: Dict<'_, '_>, key: &str) -> bool {
    a.int(key) == Some(1)
}

fn set(a: &mut DictEncoder<'_, '_>, key: &str, on: bool) {
    if on {
        a.int(key, 1);
    }
}

fn implied_port(a: Dict<'_, '_>) -> bool {
    a.int("implied_port").is_some_and(|implied| implied != 0)
}

fn port(a: Dict<'_, '_>) -> Read<u16> {
    match a.get("port").and_then(lenient::port) {
        Some(port) => Ok(port),
        None if implied_port(a) => Ok(0),
        None => Err(protocol("expected a port of 1 to 65535")),
    }
}

fn token<'a>(a: Dict<'_, 'a>) -> Read<&'a [u8]> {
    a.bytes("token").filter(|token| token.len() <= MAX_TOKEN).ok_or(protocol("expected a token"))
}

/// The item to keep. What it hashes to must not depend on who reads it, so it has to be canonical.
fn value<'a>(a: Dict<'_, 'a>) -> Read<&'a [u8]> {
    let value: Value<'_, 'a> = a.get("v").ok_or(protocol("expected a value"))?;
    let raw = value.raw();
    if raw.len() > MAX_VALUE {
        return Err(Refusal::new(code::VALUE_TOO_BIG, "expected a value of at most 1000 bytes"));
    }
    match Options::strict().decode(raw) {
        Ok(_) => Ok(raw),
        Err(_) => Err(protocol("expected a value in canonical bencode")),
    }
}

const fn protocol(message: &'static str) -> Refusal<'static> {
    Refusal::new(code::PROTOCOL, message)
}
