//! What names a torrent: its info-hashes (BEP 3 and BEP 52).

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// SHA-1 of the raw bytes of `info` (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHashV1(pub [u8; 20]);

/// SHA-256 of the raw bytes of `info` (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHashV2(pub [u8; 32]);

/// The 20 bytes that name a torrent in handshakes, trackers and the DHT: the v1 info-hash, or the v2 one cut
/// to 20 bytes (BEP 52). Two torrents may share a cut v2 hash by attack: compare [`InfoHashes`] where it matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TorrentId(pub [u8; 20]);

/// Both names of one torrent; at least one is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InfoHashes {
    v1: Option<InfoHashV1>,
    v2: Option<InfoHashV2>,
}

impl InfoHashes {
    /// A torrent known by its v1 hash only.
    pub const fn v1_only(v1: InfoHashV1) -> Self {
        Self { v1: Some(v1), v2: None }
    }

    /// A torrent known by its v2 hash only.
    pub const fn v2_only(v2: InfoHashV2) -> Self {
        Self { v1: None, v2: Some(v2) }
    }

    /// A hybrid torrent, known by both.
    pub const fn hybrid(v1: InfoHashV1, v2: InfoHashV2) -> Self {
        Self { v1: Some(v1), v2: Some(v2) }
    }

    /// From optional parts; `None` when both are missing.
    pub const fn from_parts(v1: Option<InfoHashV1>, v2: Option<InfoHashV2>) -> Option<Self> {
        match (v1, v2) {
            (None, None) => None,
            (v1, v2) => Some(Self { v1, v2 }),
        }
    }

    /// The v1 hash.
    pub const fn v1(&self) -> Option<InfoHashV1> {
        self.v1
    }

    /// The v2 hash.
    pub const fn v2(&self) -> Option<InfoHashV2> {
        self.v2
    }

    /// The name used first: v1 if there is one, else the cut v2 hash.
    pub fn id(&self) -> TorrentId {
        match (self.v1, self.v2) {
            (Some(v1), _) => TorrentId(v1.0),
            (None, Some(v2)) => v2.truncated(),
            (None, None) => unreachable!("one hash is always there"),
        }
    }
}

impl InfoHashV2 {
    /// The first 20 bytes, as handshakes and trackers carry it (BEP 52).
    pub fn truncated(&self) -> TorrentId {
        let mut id = [0; 20];
        id.copy_from_slice(&self.0[..20]);
        TorrentId(id)
    }
}

/// Text that is no hash: what was expected, and how long the text was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseHashError {
    /// Hex digits expected.
    pub expected: usize,
    /// Characters found; equal to `expected` when a character is no hex digit.
    pub found: usize,
}

impl fmt::Display for ParseHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hex digits, got {} characters", self.expected, self.found)
    }
}

impl core::error::Error for ParseHashError {}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHashError> {
    let wrong = ParseHashError { expected: 2 * N, found: text.chars().count() };
    if text.len() != 2 * N {
        return Err(wrong);
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = core::str::from_utf8(pair).map_err(|_| wrong.clone())?;
        if !pair.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong.clone())?;
    }
    Ok(out)
}

macro_rules! hash_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }

        impl $name {
            /// Lower-case hex.
            pub fn to_hex(&self) -> String {
                alloc::format!("{self}")
            }
        }
    };
}

hash_text!(InfoHashV1);
hash_text!(InfoHashV2);
hash_text!(TorrentId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        let hash = InfoHashV1(core::array::from_fn(|i| i as u8 * 12));
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        assert_eq!("+f".repeat(20).parse::<InfoHashV1>(), Err(ParseHashError { expected: 40, found: 40 }));
        assert_eq!("ab".parse::<TorrentId>(), Err(ParseHashError { expected: 40, found: 2 }));
    }

    #[test]
    fn v1_names_a_hybrid() {
        let (v1, v2) = (InfoHashV1([1; 20]), InfoHashV2([2; 32]));
        assert_eq!(InfoHashes::hybrid(v1, v2).id(), TorrentId([1; 20]));
        assert_eq!(InfoHashes::v2_only(v2).id(), TorrentId([2; 20]));
        assert_eq!(InfoHashes::from_parts(None, None), None);
    }
}
