//! Announces to the local network (BEP 14), both ways: an HTTP-like text in one UDP packet, sent to a multicast group.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where announces over IPv4 go.
pub const GROUP_V4: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(239, 192, 152, 143)), 6771);

/// Where announces over IPv6 go. Interfaces need its scope.
pub const GROUP_V6: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f)), 6771);

/// Bytes of the longest packet that is written or read.
pub const MAX_PACKET: usize = 1400;

/// Torrents of one announce: with a cookie of [`MAX_COOKIE`] bytes these fit a packet.
pub const MAX_HASHES: usize = 24;

/// Bytes of the longest cookie.
pub const MAX_COOKIE: usize = 32;

const FIRST_LINE: &[u8] = b"BT-SEARCH * HTTP/1.1";

/// Says which torrents a peer has. Its address is the one that the packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// TCP port where the peer listens.
    pub port: u16,
    /// The info-hashes of its torrents.
    pub hashes: Cow<'a, [[u8; 20]]>,
    /// Lets the sender know its own announces when they come back.
    pub cookie: Option<&'a [u8]>,
}

/// Why bytes are no announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More of them than [`MAX_PACKET`].
    TooLong {
        /// How many came.
        found: usize,
    },
    /// They do not start as an announce does.
    FirstLine,
    /// There is no port, or none that can be reached.
    Port,
    /// There is no info-hash.
    Infohash,
}

impl<'a> Announce<'a> {
    /// Reads a packet. Lines that are not known, or that make no sense, are skipped, and so are info-hashes after the first
    /// [`MAX_HASHES`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, Error> {
        if packet.len() > MAX_PACKET {
            return Err(Error::TooLong { found: packet.len() });
        }
        let mut lines = packet.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        if !lines.next().is_some_and(|line| line.eq_ignore_ascii_case(FIRST_LINE)) {
            return Err(Error::FirstLine);
        }
        let (mut port, mut hashes, mut cookie) = (None, Vec::new(), None);
        for line in lines {
            let Some((name, value)) = header(line) else { continue };
            if name.eq_ignore_ascii_case(b"port") {
                port = number(value).or(port);
            } else if name.eq_ignore_ascii_case(b"infohash") && hashes.len() < MAX_HASHES {
                hashes.extend(info_hash(value));
            } else if name.eq_ignore_ascii_case(b"cookie") && value.len() <= MAX_COOKIE {
                cookie = Some(value);
            }
        }
        let port = port.ok_or(Error::Port)?;
        if hashes.is_empty() {
            return Err(Error::Infohash);
        }
        Ok(Self { port, hashes: hashes.into(), cookie })
    }

    /// Appends the packet for a group: at most [`MAX_HASHES`] info-hashes, and a cookie only if it is a word of at most
    /// [`MAX_COOKIE`] printable characters.
    pub fn encode(&self, group: SocketAddr, out: &mut Vec<u8>) {
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out.extend_from_slice(b"\r\n");
        };
        line(&[FIRST_LINE]);
        line(&[b"Host: ", alloc::format!("{group}").as_bytes()]);
        line(&[b"Port: ", alloc::format!("{}", self.port).as_bytes()]);
        for hash in self.hashes.iter().take(MAX_HASHES) {
            line(&[b"Infohash: ", &hex(hash)]);
        }
        let word = |cookie: &&[u8]| cookie.len() <= MAX_COOKIE && cookie.iter().all(u8::is_ascii_graphic);
        if let Some(cookie) = self.cookie.filter(word) {
            line(&[b"cookie: ", cookie]);
        }
        line(&[]);
        line(&[]);
    }
}

/// A line as name and value.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name.trim_ascii_end(), value.get(1..)?.trim_ascii()))
}

fn number(value: &[u8]) -> Option<u16> {
    core::str::from_utf8(value).ok()?.parse().ok().filter(|port| *port != 0)
}

fn info_hash(value: &[u8]) -> Option<[u8; 20]> {
    let (pairs, []) = value.as_chunks::<2>() else { return None };
    let mut hash = [0; 20];
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

fn hex(hash: &[u8; 20]) -> Vec<u8> {
    hash.iter().flat_map(|byte| alloc::format!("{byte:02x}").into_bytes()).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { found } => write!(f, "expected at most {MAX_PACKET} bytes, got {found}"),
            Self::FirstLine => f.write_str("expected \"BT-SEARCH * HTTP/1.1\" as first line"),
            Self::Port => f.write_str("expected a port of 1 to 65535"),
            Self::Infohash => f.write_str("expected an info-hash of 40 hexadecimal digits"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn written(announce: &Announce<'_>, group: SocketAddr) -> Vec<u8> {
        let mut out = Vec::new();
        announce.encode(group, &mut out);
        out
    }

    #[test]
    fn an_announce_is_the_text_of_bep_14() {
        let announce = Announce { port: 6881, hashes: alloc::vec![[0xab; 20]].into(), cookie: Some(b"c1") };
        for (group, host) in [(GROUP_V4, "239.192.152.143:6771"), (GROUP_V6, "[ff15::efc0:988f]:6771")] {
            let text = alloc::format!(
                "BT-SEARCH * HTTP/1.1\r\nHost: {host}\r\nPort: 6881\r\nInfohash: {}\r\ncookie: c1\r\n\r\n\r\n",
                "ab".repeat(20)
            );
            assert_eq!(written(&announce, group), text.as_bytes());
            assert_eq!(Announce::parse(text.as_bytes()), Ok(announce.clone()));
        }
    }

    #[test]
    fn other_spellings_are_read_too() {
        let text = alloc::format!(
            "bt-search * http/1.1\nHOST:x\nX-Other: 1\nno header\nPORT : 80\nInfoHash: {}\ninfohash: short\n",
            "Ef".repeat(20)
        );
        let expected = Announce { port: 80, hashes: alloc::vec![[0xef; 20]].into(), cookie: None };
        assert_eq!(Announce::parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_no_announce_is_refused() {
        let hash = "00".repeat(20);
        for (text, error) in [
            ("", Error::FirstLine),
            ("M-SEARCH * HTTP/1.1\r\n\r\n", Error::FirstLine),
            (&*alloc::format!("BT-SEARCH * HTTP/1.1\r\nInfohash: {hash}\r\n"), Error::Port),
            (&*alloc::format!("BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: {hash}\r\n"), Error::Port),
            (&*alloc::format!("BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: {hash}\r\n"), Error::Port),
            (&*alloc::format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: {hash}00\r\n"), Error::Infohash),
            ("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: zz\r\n", Error::Infohash),
            (&"x".repeat(1401), Error::TooLong { found: 1401 }),
        ] {
            assert_eq!(Announce::parse(text.as_bytes()), Err(error), "{text:?}");
            assert!(!error.to_string().is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_announce_goes_both_ways_and_fits(
            port in 1..=u16::MAX,
            hashes in proptest::collection::vec(any::<[u8; 20]>(), 1..=MAX_HASHES),
            cookie in proptest::option::of("[!-~]{1,32}"),
        ) {
            let announce = Announce { port, hashes: hashes.into(), cookie: cookie.as_deref().map(str::as_bytes) };
            for group in [GROUP_V4, GROUP_V6] {
                let text = written(&announce, group);
                prop_assert!(text.len() <= MAX_PACKET);
                prop_assert_eq!(Announce::parse(&text), Ok(announce.clone()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Announce::parse(&bytes);
        }
    }
}
