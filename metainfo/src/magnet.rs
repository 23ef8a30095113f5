//! Magnet links (BEP 9, 19, 52, 53).
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use crate::ids::{InfoHashV1, InfoHashV2, InfoHashes};
use crate::text;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

/// The longest magnet that is accepted, in bytes.
pub const MAX_MAGNET: usize = 64 * 1024;

/// A magnet link: what names a torrent, and hints where to find it.
///
/// Parsing skips parameters that are not known and values that cannot be used, but not a wrong info-hash.
/// Printing what was parsed and parsing it again gives the same value.
///
/// ```
/// let text = "magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e&dn=temp&so=0,2-4";
/// let magnet: metainfo::Magnet = text.parse()?;
/// assert_eq!(magnet.select, [0..=0, 2..=4]);
/// assert_eq!(magnet.to_string(), text);
/// # Ok::<(), metainfo::MagnetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// The info-hashes (`xt`): v1 as hex or base32, v2 as a multihash.
    pub info_hashes: InfoHashes,
    /// A name to show until the torrent is known (`dn`), as given: not cleaned to be a file name.
    pub name: Option<String>,
    /// Bytes of content (`xl`).
    pub length: Option<u64>,
    /// Tracker URLs (`tr`), each once.
    pub trackers: Vec<String>,
    /// Web seed URLs (`ws`), each once.
    pub web_seeds: Vec<String>,
    /// Peers to try, as host and port (`x.pe`). A host may be a name or an address, an IPv6 address without
    /// brackets.
    pub peers: Vec<(String, u16)>,
    /// Files to download, as ranges of indices in the order of the metainfo (`so`, BEP 53); empty for all. In what was parsed
    /// they are [merged].
    pub select: Vec<RangeInclusive<u32>>,
}

impl Magnet {
    /// A magnet of nothing but info-hashes.
    pub fn new(info_hashes: InfoHashes) -> Self {
        Self {
            info_hashes,
            name: None,
            length: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            select: Vec::new(),
        }
    }

    /// The magnet that leads to a torrent: its hashes, name, length, trackers and web seeds.
    pub fn of(torrent: &crate::Torrent) -> Self {
        Self {
            name: Some(torrent.name().into()),
            length: Some(torrent.layout().payload()),
            trackers: torrent.trackers().iter().flatten().cloned().collect(),
            web_seeds: torrent.web_seeds().to_vec(),
            ..Self::new(*torrent.info_hashes())
        }
    }

    /// Reads a magnet link.
    ///
    /// # Errors
    /// When it is too long, no magnet, or names no torrent, a malformed one or two.
    pub fn parse(text: &str) -> Result<Self, MagnetError> {
        if text.len() > MAX_MAGNET {
            return Err(MagnetError::TooLong { size: text.len() });
        }
        let text = text.trim();
        let scheme = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("magnet:?"));
        let parameters = scheme.and_then(|_| text.get(8..)).ok_or(MagnetError::NotMagnet)?;
        let mut hashes = (None, None);
        let mut fields = Vec::new();
        for parameter in parameters.split('&') {
            let Some((key, value)) = parameter.split_once('=') else { continue };
            // Several values of one kind may be numbered: `tr.1=`, `tr.2=`.
            let (kind, number) = key.split_once('.').unwrap_or((key, ""));
            let is_numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let kind = if is_numbered { kind } else { key };
            if kind.eq_ignore_ascii_case("xt") {
                topic(value, &mut hashes)?;
            } else {
                fields.push((kind, value));
            }
        }
        let info_hashes = InfoHashes::from_parts(hashes.0, hashes.1).ok_or(MagnetError::MissingInfoHash)?;
        let mut magnet = Self::new(info_hashes);
        for (kind, value) in fields {
            magnet.set(kind, value);
        }
        magnet.select = merged(&magnet.select);
        Ok(magnet)
    }

    /// Takes a parameter that cannot make the magnet wrong.
    fn set(&mut self, kind: &str, value: &str) {
        match kind {
            "dn" => {
                let name = text::unescape(&value.replace('+', " ")).map(|bytes| text::decode(&bytes));
                self.name = name.filter(|name| !name.is_empty()).or(self.name.take());
            }
            "xl" => self.length = value.parse().ok().or(self.length),
            "tr" => push_new(&mut self.trackers, url(value)),
            "ws" => push_new(&mut self.web_seeds, url(value)),
            "x.pe" => push_new(&mut self.peers, unescaped(value).and_then(|peer| host_port(&peer))),
            "so" => self.select.extend(value.split(',').filter_map(range)),
            _ => {}
        }
    }
}

/// The same indices in as few ranges as there can be, in order: what looks at them then costs as much as there are files, however
/// many ranges a link is made of.
///
/// ```
/// assert_eq!(metainfo::merged(&[7..=9, 3..=3, 0..=1, 8..=12, 2..=2]), [0..=3, 7..=12]);
/// ```
pub fn merged(ranges: &[RangeInclusive<u32>]) -> Vec<RangeInclusive<u32>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Whether an index is in one of some ranges that are [merged].
pub fn covers(merged: &[RangeInclusive<u32>], index: u32) -> bool {
    let at = merged.partition_point(|range| *range.end() < index);
    merged.get(at).is_some_and(|range| range.contains(&index))
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "magnet:?";
        let mut field = |f: &mut fmt::Formatter<'_>, key: &str, value: &str| {
            write!(f, "{separator}{key}={value}")?;
            separator = "&";
            Ok(())
        };
        let escaped = |value: &str| {
            let mut out = String::with_capacity(value.len());
            text::escape(value, &mut out);
            out
        };
        if let Some(v1) = self.info_hashes.v1() {
            field(f, "xt", &alloc::format!("urn:btih:{v1}"))?;
        }
        if let Some(v2) = self.info_hashes.v2() {
            field(f, "xt", &alloc::format!("urn:btmh:1220{v2}"))?;
        }
        if let Some(name) = &self.name {
            field(f, "dn", &escaped(name))?;
        }
        if let Some(length) = self.length {
            field(f, "xl", &alloc::format!("{length}"))?;
        }
        for tracker in &self.trackers {
            field(f, "tr", &escaped(tracker))?;
        }
        for seed in &self.web_seeds {
            field(f, "ws", &escaped(seed))?;
        }
        for (host, port) in &self.peers {
            let host = escaped(host);
            let peer = if host.contains("%3A") {
                alloc::format!("%5B{host}%5D:{port}")
            } else {
                alloc::format!("{host}:{port}")
            };
            field(f, "x.pe", &peer)?;
        }
        if !self.select.is_empty() {
            let ranges: Vec<String> = self
                .select
                .iter()
                .map(|range| match (range.start(), range.end()) {
                    (first, last) if first == last => alloc::format!("{first}"),
                    (first, last) => alloc::format!("{first}-{last}"),
                })
                .collect();
            field(f, "so", &ranges.join(","))?;
        }
        Ok(())
    }
}

/// Why a text is no magnet of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// It does not start with `magnet:?`.
    NotMagnet,
    /// Longer than [`MAX_MAGNET`].
    TooLong {
        /// Bytes found.
        size: usize,
    },
    /// It names no torrent: no `xt` of a kind that is known.
    MissingInfoHash,
    /// An `xt` of a known kind is malformed.
    InfoHash {
        /// What it says after `urn:btih:` or `urn:btmh:`.
        found: String,
    },
    /// Two different info-hashes of one version.
    TwoTorrents,
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMagnet => f.write_str("expected a link that starts with magnet:?"),
            Self::TooLong { size } => {
                write!(f, "expected a magnet of at most {MAX_MAGNET} bytes, found {size}")
            }
            Self::MissingInfoHash => {
                f.write_str("expected an info-hash (xt=urn:btih: or urn:btmh:), found none")
            }
            Self::InfoHash { found } => write!(
                f,
                "expected an info-hash of 40 hex or 32 base32 digits, or 1220 and 64 hex digits, found {found:?}"
            ),
            Self::TwoTorrents => f.write_str("expected one torrent, found two different info-hashes"),
        }
    }
}

impl core::error::Error for MagnetError {}

type Hashes = (Option<InfoHashV1>, Option<InfoHashV2>);

/// An exact topic. Kinds that are not BitTorrent's are skipped.
fn topic(value: &str, hashes: &mut Hashes) -> Result<(), MagnetError> {
    let Some(value) = unescaped(value) else { return Ok(()) };
    let hash = |kind: &str| {
        value.get(..kind.len()).filter(|start| start.eq_ignore_ascii_case(kind))?;
        value.get(kind.len()..)
    };
    let wrong = |found: &str| MagnetError::InfoHash { found: found.chars().take(100).collect() };
    if let Some(digits) = hash("urn:btih:") {
        let v1 = digits.parse().ok().or_else(|| text::base32_20(digits).map(InfoHashV1));
        set(&mut hashes.0, v1.ok_or_else(|| wrong(digits))?)
    } else if let Some(digits) = hash("urn:btmh:") {
        // Multihash: 12 for SHA-256, 20 for its 32 bytes.
        let v2 = digits.strip_prefix("1220").and_then(|digits| digits.parse().ok());
        set(&mut hashes.1, v2.ok_or_else(|| wrong(digits))?)
    } else {
        Ok(())
    }
}

fn set<T: PartialEq>(slot: &mut Option<T>, hash: T) -> Result<(), MagnetError> {
    match slot {
        Some(known) if *known != hash => Err(MagnetError::TwoTorrents),
        _ => {
            *slot = Some(hash);
            Ok(())
        }
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: Option<T>) {
    // A magnet is short, so that looking through the list costs little.
    if let Some(value) = value.filter(|value| !list.contains(value)) {
        list.push(value);
    }
}

fn unescaped(value: &str) -> Option<String> {
    String::from_utf8(text::unescape(value)?).ok()
}

fn url(value: &str) -> Option<String> {
    text::checked_url(&unescaped(value)?)
}

/// `host:port`, `1.2.3.4:port` or `[v6]:port`.
fn host_port(peer: &str) -> Option<(String, u16)> {
    let (host, port) = peer.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let is_v6 = |host: &str| host.parse::<core::net::Ipv6Addr>().is_ok();
    match bare {
        Some(bare) if is_v6(bare) => Some((bare.into(), port)),
        None if !host.is_empty() && is_name(host) => Some((host.into(), port)),
        _ => None,
    }
}

/// `3` or `3-7`.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f10111213";
    const HEX_V2: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn v1() -> InfoHashV1 {
        HEX.parse().unwrap()
    }

    #[test]
    fn a_full_magnet_goes_both_ways() {
        let text = format!(
            "magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:1220{HEX_V2}&dn=a%20b%2B%C3%BC&xl=12345\
             &tr=udp%3A%2F%2Ft.example%3A6969&tr=https%3A%2F%2Fu.example%2Fannounce%3Fpasskey%3D1%26x\
             &ws=http%3A%2F%2Fw.example%2Ff&x.pe=1.2.3.4:6881&x.pe=%5B%3A%3A1%5D:1&x.pe=host.example:2&so=0,2-4,9"
        );
        let magnet: Magnet = text.parse().unwrap();
        assert_eq!(magnet.info_hashes, InfoHashes::hybrid(v1(), HEX_V2.parse().unwrap()));
        assert_eq!(magnet.name.as_deref(), Some("a b+\u{fc}"));
        assert_eq!(magnet.length, Some(12345));
        assert_eq!(magnet.trackers, ["udp://t.example:6969", "https://u.example/announce?passkey=1&x"]);
        assert_eq!(magnet.web_seeds, ["http://w.example/f"]);
        let peers = [("1.2.3.4", 6881), ("::1", 1), ("host.example", 2)];
        assert_eq!(magnet.peers, peers.map(|(host, port)| (String::from(host), port)));
        assert_eq!(magnet.select, [0..=0, 2..=4, 9..=9]);
        assert_eq!(magnet.to_string(), text);
    }

    #[test]
    fn ranges_are_sorted_and_merged_once() {
        let many = "5-9,0,0,4294967295,".repeat(3000);
        let magnet: Magnet = format!("magnet:?xt=urn:btih:{HEX}&so={many}10&so=1").parse().unwrap();
        assert_eq!(magnet.select, [0..=1, 5..=10, u32::MAX..=u32::MAX]);
        let covered: Vec<u32> = (0..20).filter(|index| covers(&magnet.select, *index)).collect();
        assert_eq!(covered, [0, 1, 5, 6, 7, 8, 9, 10]);
        assert!(covers(&magnet.select, u32::MAX) && !covers(&[], 0));
        #[allow(clippy::reversed_empty_ranges)]
        let empty = 9..=3;
        assert_eq!(merged(&[empty, 2..=u32::MAX, 0..=0]), [0..=0, 2..=u32::MAX]);
    }

    #[test]
    fn spellings_that_are_met_are_understood() {
        let plain = Magnet::new(InfoHashes::v1_only(v1()));
        for text in [
            format!("magnet:?xt=urn:btih:{}", HEX.to_uppercase()),
            "magnet:?xt=urn:btih:AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT".into(),
            "magnet:?xt=urn:btih:aaaqeayeaudaocajbifqydiob4ibceqt".into(),
            format!("  MAGNET:?xt.1=URN:BTIH:{HEX}\n"),
            format!("magnet:?xt=urn%3Abtih%3A{HEX}"),
            format!("magnet:?xt=urn:sha1:XYZ&xt=urn:btih:{HEX}&xt=urn:btih:{HEX}"),
            format!(
                "magnet:?&&x&=1&kt=word&xt=urn:btih:{HEX}&dn=&xl=-1&so=9-3,x,&x.pe=nohost&x.pe=:1&x.pe=h:0"
            ),
            format!("magnet:?xt=urn:btih:{HEX}&dn=%zz&tr=%FF&tr=not-a-url&x.pe=[::g]:1&x.pe=a/b:1"),
        ] {
            assert_eq!(Magnet::parse(&text), Ok(plain.clone()), "{text}");
        }
        let numbered = format!("magnet:?xt=urn:btih:{HEX}&tr.1=http://a/&tr.2=http://b/&tr=http://a/&dn=x+y");
        let magnet = Magnet::parse(&numbered).unwrap();
        assert_eq!((magnet.trackers.len(), magnet.name.as_deref()), (2, Some("x y")));
    }

    #[test]
    fn wrong_magnets_are_refused() {
        let info_hash = |found: &str| MagnetError::InfoHash { found: found.into() };
        let table = [
            ("", MagnetError::NotMagnet),
            ("http://host/", MagnetError::NotMagnet),
            ("magnet:", MagnetError::NotMagnet),
            ("magne\u{e9}:?xt", MagnetError::NotMagnet),
            ("magnet:?", MagnetError::MissingInfoHash),
            ("magnet:?dn=x", MagnetError::MissingInfoHash),
            ("magnet:?xt=urn:sha1:AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT", MagnetError::MissingInfoHash),
            ("magnet:?xt=urn:btih:", info_hash("")),
            ("magnet:?xt=urn:btih:xyz", info_hash("xyz")),
            ("magnet:?xt=urn:btmh:1120aa", info_hash("1120aa")),
        ];
        for (text, error) in table {
            assert_eq!(Magnet::parse(text), Err(error), "{text}");
        }
        let other = HEX.replace('0', "f");
        let two = format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btih:{other}");
        assert_eq!(Magnet::parse(&two), Err(MagnetError::TwoTorrents));
        let long = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "x".repeat(MAX_MAGNET));
        assert_eq!(Magnet::parse(&long), Err(MagnetError::TooLong { size: long.len() }));
    }

    proptest::proptest! {
        #[test]
        fn printing_and_parsing_is_the_identity(
            v1: Option<[u8; 20]>, v2: [u8; 32],
            name in proptest::option::of("\\PC{1,30}"),
            length: Option<u64>,
            trackers in proptest::collection::btree_set("[a-z]{1,5}://[!-~]{1,20}", 0..4),
            ports in proptest::collection::btree_set(1u16.., 0..4),
            select in proptest::collection::vec((0u32..99, 0u32..99), 0..4),
        ) {
            let hashes = InfoHashes::from_parts(v1.map(InfoHashV1), Some(InfoHashV2(v2))).unwrap();
            let magnet = Magnet {
                name,
                length,
                trackers: trackers.iter().cloned().collect(),
                web_seeds: trackers.into_iter().collect(),
                peers: ports.iter().map(|&p| (["a.example", "::2", "10.0.0.1"][usize::from(p % 3)].into(), p)).collect(),
                select: select.iter().map(|&(first, more)| first..=first + more).collect(),
                ..Magnet::new(hashes)
            };
            let select = merged(&magnet.select);
            assert_eq!(Magnet::parse(&magnet.to_string()), Ok(Magnet { select, ..magnet }));
        }

        #[test]
        fn any_text_parses_or_not_without_harm(text in "(magnet:\\?)?(xt=urn:bt[im]h:[0-9a-zA-Z]{0,70}&)?\\PC{0,100}") {
            if let Ok(magnet) = Magnet::parse(&text) {
                assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
            }
        }
    }
}
