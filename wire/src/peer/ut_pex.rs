use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bencode::{Dict, Encoder, Options};

const OPTIONS: Options =
    Options { max_depth: 10, max_tokens: 200, max_size: PexMessage::MAX_LEN, ..Options::lenient() };

/// What peers tell each other about whom they are connected to: `ut_pex` (BEP 11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PexMessage {
    /// Peers that the sender connected to since its last message.
    pub added: Vec<PexPeer>,
    /// Peers that the sender lost since its last message.
    pub dropped: Vec<SocketAddr>,
}

/// A peer that somebody is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PexPeer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What is said about it.
    pub flags: PexFlags,
}

/// What is said about a peer (BEP 11, `added.f`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// It prefers encrypted connections.
    pub const ENCRYPTION: Self = Self(0x01);
    /// It wants no more pieces.
    pub const SEED: Self = Self(0x02);
    /// It speaks uTP.
    pub const UTP: Self = Self(0x04);
    /// It takes part in holepunching (BEP 55).
    pub const HOLEPUNCH: Self = Self(0x08);
    /// The sender connected to it, so it can be reached.
    pub const REACHABLE: Self = Self(0x10);

    /// Whether all of these are said.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags, and `flags` too where `when`.
    #[must_use]
    pub const fn with(self, flags: Self, when: bool) -> Self {
        if when { Self(self.0 | flags.0) } else { self }
    }
}

/// Why bytes are no message of `ut_pex`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PexError {
    /// They are no bencode, or more of it than is read.
    Bencode(bencode::Error),
    /// They are bencode, but no dictionary.
    NotADictionary,
}

impl PexMessage {
    /// Bytes of the longest message that is read.
    pub const MAX_LEN: usize = 64 << 10;

    /// Peers read of each of the two lists; BEP 11 allows 50 in all messages but the first.
    pub const MAX_PEERS: usize = 200;

    /// Reads the payload of an extension message. Addresses of both families are in one list, IPv4 first; those with
    /// port 0 and more than [`MAX_PEERS`](Self::MAX_PEERS) are left out. A list of a length that cannot be is read as far as it goes.
    ///
    /// # Errors
    /// When it is not a bencoded dictionary, or too long.
    pub fn parse(payload: &[u8]) -> Result<Self, PexError> {
        let document = OPTIONS.decode(payload).map_err(PexError::Bencode)?;
        let dict = document.root().as_dict().ok_or(PexError::NotADictionary)?;
        let mut message = Self::default();
        let added: [(_, _, Read); 2] = [("added", "added.f", read_v4), ("added6", "added6.f", read_v6)];
        for (key, flags, read) in added {
            let flags = dict.bytes(flags).unwrap_or_default();
            let peers = contacts(dict, key, read).enumerate();
            let peers = peers.map(|(at, addr)| PexPeer {
                addr,
                flags: PexFlags(flags.get(at).copied().unwrap_or_default()),
            });
            let room = Self::MAX_PEERS.saturating_sub(message.added.len());
            message.added.extend(peers.filter(|peer| peer.addr.port() != 0).take(room));
        }
        let dropped: [(_, Read); 2] = [("dropped", read_v4), ("dropped6", read_v6)];
        for (key, read) in dropped {
            let room = Self::MAX_PEERS.saturating_sub(message.dropped.len());
            let peers = contacts(dict, key, read).filter(|addr| addr.port() != 0);
            message.dropped.extend(peers.take(room));
        }
        Ok(message)
    }

    /// Appends the payload of an extension message. Lists that are empty are left out, but for `added`: some
    /// clients want one in any case.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (v4, v6): (Vec<PexPeer>, Vec<PexPeer>) = self.added.iter().partition(|peer| peer.addr.is_ipv4());
        let flags = |peers: &[PexPeer]| peers.iter().map(|peer| peer.flags.0).collect::<Vec<_>>();
        let compact = |peers: &mut dyn Iterator<Item = SocketAddr>| {
            let mut bytes = Vec::new();
            peers.for_each(|addr| write(addr, &mut bytes));
            bytes
        };
        let mut encoder = Encoder::new(out);
        encoder.dict(|d| {
            d.bytes("added", compact(&mut v4.iter().map(|peer| peer.addr)));
            d.bytes("added.f", flags(&v4));
            if !v6.is_empty() {
                d.bytes("added6", compact(&mut v6.iter().map(|peer| peer.addr)));
                d.bytes("added6.f", flags(&v6));
            }
            for (key, is_v4) in [("dropped", true), ("dropped6", false)] {
                let dropped =
                    compact(&mut self.dropped.iter().copied().filter(|addr| addr.is_ipv4() == is_v4));
                if !dropped.is_empty() {
                    d.bytes(key, dropped);
                }
            }
        });
        // The keys differ, so there is nothing to fail.
        let _ = encoder.finish();
    }
}

/// Reads the next contact off the front.
type Read = for<'a> fn(&'a [u8]) -> Option<(SocketAddr, &'a [u8])>;

fn contacts(dict: Dict<'_, '_>, key: &str, read: Read) -> impl Iterator<Item = SocketAddr> {
    let mut rest = dict.bytes(key).unwrap_or_default();
    core::iter::from_fn(move || {
        let (addr, after) = read(rest)?;
        rest = after;
        Some(addr)
    })
}

fn read_v4(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (ip, rest) = bytes.split_first_chunk::<4>()?;
    let (port, rest) = rest.split_first_chunk()?;
    Some(((Ipv4Addr::from(*ip), u16::from_be_bytes(*port)).into(), rest))
}

fn read_v6(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (ip, rest) = bytes.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk()?;
    Some(((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)).into(), rest))
}

fn write(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr {
        SocketAddr::V4(addr) => out.extend_from_slice(&addr.ip().octets()),
        SocketAddr::V6(addr) => out.extend_from_slice(&addr.ip().octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

impl fmt::Display for PexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bencode(error) => write!(f, "expected a bencoded peer exchange message: {error}"),
            Self::NotADictionary => {
                f.write_str("expected a dictionary as peer exchange message, got another value")
            }
        }
    }
}

impl core::error::Error for PexError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bencode(error) => Some(error),
            Self::NotADictionary => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_families_and_their_flags_are_read() {
        let payload = b"d5:added12:\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x1a\xe27:added.f1:\x12\
            6:added618:\x20\x01aaaaaaaaaaaaaa\x1a\xe38:added6.f1:\x017:dropped6:\x09\x09\x09\x09\x1a\xe4e";
        let message = PexMessage::parse(payload).unwrap();
        let seed = PexFlags::SEED.with(PexFlags::REACHABLE, true);
        let [first, second, third] = message.added[..] else { panic!("{message:?}") };
        assert_eq!(first, PexPeer { addr: addr("1.2.3.4:6881"), flags: seed });
        assert_eq!(second, PexPeer { addr: addr("5.6.7.8:6882"), flags: PexFlags::default() });
        assert!(third.addr.is_ipv6() && third.flags == PexFlags::ENCRYPTION);
        assert_eq!(message.dropped, [addr("9.9.9.9:6884")]);
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(PexMessage::parse(&out), Ok(message));
    }

    #[test]
    fn flags_stay_with_their_peers_when_one_is_left_out() {
        let payload = b"d5:added12:\x01\x02\x03\x04\x00\x00\x05\x06\x07\x08\x1a\xe27:added.f2:\x01\x02e";
        let message = PexMessage::parse(payload).unwrap();
        assert_eq!(message.added, [PexPeer { addr: addr("5.6.7.8:6882"), flags: PexFlags::SEED }]);
    }

    #[test]
    fn lists_are_bounded_and_careless_ones_are_read_as_far_as_they_go() {
        let mut payload = b"d5:added60007:".to_vec();
        payload.extend(core::iter::repeat_n(7, 60_007));
        payload.push(b'e');
        assert_eq!(PexMessage::parse(&payload).unwrap().added.len(), PexMessage::MAX_PEERS);
        let short = PexMessage::parse(b"d5:added5:abcde6:added6i1e7:droppedlee").unwrap();
        assert_eq!(short, PexMessage::default());
        let long = alloc::vec![b'l'; PexMessage::MAX_LEN + 1];
        for bytes in [&b""[..], b"d", &long, &alloc::vec![b'l'; 100]] {
            assert!(matches!(PexMessage::parse(bytes), Err(PexError::Bencode(_))));
        }
        assert_eq!(PexMessage::parse(b"le"), Err(PexError::NotADictionary));
    }

    prop_compose! {
        fn any_peers()(
            peers in proptest::collection::vec(
                (any::<core::net::IpAddr>(), 1..=u16::MAX, any::<u8>()), 0..=PexMessage::MAX_PEERS
            )
        ) -> Vec<PexPeer> {
            let peer = |(ip, port, flags)| PexPeer { addr: (ip, port).into(), flags: PexFlags(flags) };
            let mut peers: Vec<_> = peers.into_iter().map(peer).collect();
            peers.sort_by_key(|peer: &PexPeer| peer.addr.is_ipv6());
            peers
        }
    }

    proptest! {
        #[test]
        fn any_message_goes_both_ways(added in any_peers(), dropped in any_peers()) {
            let message = PexMessage { added, dropped: dropped.iter().map(|peer| peer.addr).collect() };
            let mut out = Vec::new();
            message.encode(&mut out);
            prop_assert_eq!(PexMessage::parse(&out), Ok(message));
        }
    }
}
