//! Values that have a notation of their own: sizes, rates, durations, goals, ranges.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use metainfo::{Magnet, TorrentId};
use swarm::engine::dht;

/// A smaller budget leaves a share of it without room for what belongs together.
const LEAST_MEMORY: u64 = 16 << 20;

/// A number of bytes: `300`, `16K`, `2.5MiB`; K, M, G and T are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub u64);

/// A budget of memory that all of it can work with.
pub(crate) fn memory(text: &str) -> Result<Size, String> {
    let Size(bytes) = text.parse()?;
    if bytes < LEAST_MEMORY {
        return Err(format!("expected at least 16M, got {text}"));
    }
    Ok(Size(bytes))
}

/// What names of files can end in.
pub(crate) fn suffix(text: &str) -> Result<String, String> {
    if storage::is_suffix(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the end of a file name, such as .part".into())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a size such as 500k, 2M or 1.5GiB, got {text:?}");
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text[number.len()..].to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let shift = ["", "k", "m", "g", "t"].iter().position(|known| *known == unit).ok_or_else(expected)?;
        let factor = 1u64 << (10 * shift);
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(expected);
        }
        let is_decimal = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match number.parse::<f64>() {
            Ok(part) if is_decimal && part * (factor as f64) < 2f64.powi(63) => {
                Ok(Self((part * factor as f64).round() as u64))
            }
            _ => Err(expected()),
        }
    }
}

/// A rate in bytes per second, written as a size; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_suffix("/s").unwrap_or(text).parse().map(|Size(bytes)| Self(bytes))
    }
}

impl Rate {
    /// `None` when there is no limit.
    pub(crate) fn limit(self) -> Option<u64> {
        Some(self.0).filter(|rate| *rate > 0)
    }
}

/// The length of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceSize {
    /// By the size of the content.
    Auto,
    /// Bytes.
    Bytes(u32),
}

/// The shortest piece: one block.
const BLOCK: u32 = 16 << 10;

impl FromStr for PieceSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let Size(bytes) = text.parse()?;
        let bytes = u32::try_from(bytes)
            .ok()
            .filter(|bytes| bytes.is_power_of_two() && (BLOCK..=metainfo::MAX_PIECE_LENGTH).contains(bytes));
        bytes.map(Self::Bytes).ok_or_else(|| format!("expected a power of two from 16K to 256M, got {text}"))
    }
}

/// A time span: `90s`, `2h`, `1h 30m`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("expected a duration such as 90s, 30m, 2h or 1d, got {text:?}"))
}

/// How long to seed after a download.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SeedGoal {
    /// Not at all.
    No,
    /// Until it is stopped.
    Forever,
    /// Until this many times the content's size was sent.
    Ratio(f64),
    /// For this long.
    Time(Duration),
}

impl FromStr for SeedGoal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.to_ascii_lowercase().as_str() {
            "no" | "false" => Ok(Self::No),
            "forever" | "yes" | "true" => Ok(Self::Forever),
            number if is_number && number.parse::<f64>().is_ok() => {
                Ok(Self::Ratio(number.parse().unwrap_or_default()))
            }
            other => duration(other)
                .map(Self::Time)
                .map_err(|_| format!("expected a ratio such as 2.0 or a duration such as 2h, got {text:?}")),
        }
    }
}

/// Files of a torrent: by index, `3` or `5-7`, or by a glob on their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// First and last index, counted from 0 as `--list` shows them.
    Indices(Vec<(usize, usize)>),
    /// Paths that match.
    Glob(String),
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_index = text.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-');
        if !is_index || text.is_empty() {
            return Ok(Self::Glob(text.to_owned()));
        }
        let expected = || format!("expected indices such as 0,2,5-7, got {text:?}");
        let number = |text: &str| text.parse::<usize>().map_err(|_| expected());
        let ranges = text.split(',').map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (number(first)?, number(last)?);
            if range.0 <= range.1 { Ok(range) } else { Err(expected()) }
        });
        ranges.collect::<Result<_, _>>().map(Self::Indices)
    }
}

/// How much some files are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) files: Selection,
    pub(crate) level: swarm::session::Priority,
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use swarm::session::Priority::{High, Low, Normal, Skip};
        let expected =
            || format!("expected files and high, normal, low or skip, such as '*.srt=high', got {text:?}");
        let (files, level) =
            text.rsplit_once('=').filter(|(files, _)| !files.is_empty()).ok_or_else(expected)?;
        let levels = [("high", High), ("normal", Normal), ("low", Low), ("skip", Skip)];
        let (_, level) = levels.into_iter().find(|(name, _)| *name == level).ok_or_else(expected)?;
        Ok(Self { files: files.parse()?, level })
    }
}

/// In which order pieces are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// The rarest among the peers first: the fastest, and best for all
    Rarest,
    /// From the first to the last
    Sequential,
    /// The first and the last piece of each file, then the rarest: for previews
    FirstLast,
}

/// What is looked up in the DHT for a torrent: an info-hash, or a magnet link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic(pub TorrentId);

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_magnet = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"));
        let magnet = match text.len() {
            _ if is_magnet => Magnet::parse(text),
            64 => Magnet::parse(&format!("magnet:?xt=urn:btmh:1220{text}")),
            _ => Magnet::parse(&format!("magnet:?xt=urn:btih:{text}")),
        };
        match magnet {
            Ok(magnet) => Ok(Self(magnet.info_hashes.id())),
            Err(error) if is_magnet => Err(format!("not a magnet link: {error}")),
            Err(_) => Err(format!(
                "expected 40 or 64 hexadecimal or 32 base32 digits, or a magnet link, got {text:?}"
            )),
        }
    }
}

impl Topic {
    /// The point of the DHT.
    pub(crate) fn id(self) -> dht::Id {
        dht::Id(self.0.0)
    }
}

/// A point of the DHT: 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub dht::Id);

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hex(text)
            .map(|bytes| Self(dht::Id(bytes)))
            .ok_or_else(|| format!("expected 40 hexadecimal digits, got {text:?}"))
    }
}

/// A key: 64 hexadecimal digits. A wrong one is not repeated in messages, as it may be secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub [u8; 32]);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hex(text).map(Self).ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// A host and a port, as `host:port` or `[v6]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected HOST:PORT or [IPv6]:PORT, got {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().map(|_| v6).map_err(|_| expected())?,
            None if host.is_empty() || host.contains(':') => return Err(expected()),
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(expected)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The URL of a tracker.
pub(crate) fn tracker(text: &str) -> Result<String, String> {
    with_scheme(text, &["http", "https", "udp", "ws", "wss"])
}

/// The URL of a web seed.
pub(crate) fn web_seed(text: &str) -> Result<String, String> {
    with_scheme(text, &["http", "https", "ftp"])
}

fn with_scheme(text: &str, schemes: &[&str]) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if schemes.contains(&url.scheme()) && url.has_host() {
        return Ok(text.to_owned());
    }
    Err(format!("expected a URL of {} with a host", schemes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("300", 300),
            ("500k", 512_000),
            ("2M", 2 << 20),
            ("1.5GiB", 3 << 29),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "k", "-1", "1x", "1 M", "inf", "nan", "1e9", "99999999999T", "1.5.5"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!("2M/s".parse(), Ok(Rate(2 << 20)));
        assert_eq!(Rate(0).limit(), None);
        assert_eq!("auto".parse(), Ok(PieceSize::Auto));
        assert!("8G".parse::<PieceSize>().is_err());
    }

    #[test]
    fn a_goal_is_a_ratio_or_a_duration() {
        assert_eq!("2.0".parse(), Ok(SeedGoal::Ratio(2.0)));
        assert_eq!("2h".parse(), Ok(SeedGoal::Time(Duration::from_secs(7200))));
        assert_eq!("forever".parse(), Ok(SeedGoal::Forever));
        for text in ["", "-1", "2x", "."] {
            assert!(text.parse::<SeedGoal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_priority_is_files_and_a_level() {
        let parsed: Priority = "a=b*.srt=high".parse().unwrap();
        assert_eq!(parsed.files, Selection::Glob("a=b*.srt".into()));
        assert_eq!(parsed.level, swarm::session::Priority::High);
        assert_eq!("0-2=skip".parse::<Priority>().unwrap().files, Selection::Indices(vec![(0, 2)]));
        for text in ["", "*.srt", "=high", "*.srt=", "*.srt=urgent", "2-1=low"] {
            assert!(text.parse::<Priority>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_selection_is_indices_or_a_glob() {
        assert_eq!("0,2,5-7".parse(), Ok(Selection::Indices(vec![(0, 0), (2, 2), (5, 7)])));
        assert_eq!("*.flac".parse(), Ok(Selection::Glob("*.flac".into())));
        for text in ["7-5", "1,,2", "-", "99999999999999999999"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }

    #[test]
    fn peers_are_host_and_port() {
        for text in ["127.0.0.1:6881", "[::1]:6881", "example.org:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["", ":1", "host", "host:0", "host:65536", "::1:6881", "[host]:1"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_topic_is_a_hash_in_any_notation_or_a_magnet() {
        let id = Topic(TorrentId([0xab; 20]));
        let hex = "ab".repeat(20);
        assert_eq!(hex.parse(), Ok(id));
        assert_eq!(hex.to_uppercase().parse(), Ok(id));
        assert_eq!(format!("magnet:?xt=urn:btih:{hex}&dn=x").parse(), Ok(id));
        assert_eq!("VOV2XK5LVOV2XK5LVOV2XK5LVOV2XK5L".parse(), Ok(id));
        assert_eq!("ab".repeat(32).parse(), Ok(id), "v2 hashes are cut");
        for text in ["", "ab", "magnet:?dn=x", &"zz".repeat(20), &"ab".repeat(21)] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
        assert!("+b".repeat(20).parse::<Id>().is_err());
        assert!("00".repeat(32).parse::<Key>().is_ok());
    }

    #[test]
    fn trackers_are_urls() {
        for text in ["http://a/announce", "udp://[::1]:69", "https://a:1/x?y=z"] {
            assert_eq!(tracker(text).as_deref(), Ok(text));
        }
        for text in ["a", "ftp://a/", "http:", "udp:a", "file:///etc"] {
            assert!(tracker(text).is_err(), "{text}");
        }
    }
}
