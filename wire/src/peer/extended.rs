use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bencode::{Dict, Encoder, Options};

use super::Extensions;
use crate::lenient;

/// Characters kept of a client's name.
const MAX_NAME: usize = 100;

const OPTIONS: Options = Options {
    max_depth: 100,
    max_tokens: 20_000,
    max_size: ExtendedHandshake::MAX_LEN,
    ..Options::lenient()
};

/// The handshake of the extension protocol (BEP 10), sent as extension message 0. It may come again, and then only says what
/// changed: see [`merge`](Self::merge).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// `m`: the extension messages that the sender takes.
    pub extensions: Extensions,
    /// `v`: name and version of the sender's program, printable and at most 100 characters long.
    pub client: Option<String>,
    /// `p`: TCP port where the sender listens. Its connection may come from another.
    pub port: Option<u16>,
    /// `reqq`: requests that the sender queues before it drops any.
    pub request_queue: Option<u32>,
    /// `yourip`: the receiver's address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// `ipv4`: the sender's IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// `ipv6`: the sender's IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// `metadata_size`: bytes of the torrent's info dictionary, as claimed (BEP 9).
    pub metadata_size: Option<u64>,
    /// `upload_only`: the sender wants no more pieces (BEP 21).
    pub upload_only: Option<bool>,
    /// `complete_ago`: seconds since the sender finished the torrent.
    pub complete_ago: Option<u32>,
    /// `e`: the sender prefers encrypted connections.
    pub encryption: Option<bool>,
}

/// Why bytes are no extension handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtendedHandshakeError {
    /// They are no bencode, or more of it than is read.
    Bencode(bencode::Error),
    /// They are bencode, but no dictionary.
    NotADictionary,
}

impl ExtendedHandshake {
    /// Bytes of the longest handshake that is read.
    pub const MAX_LEN: usize = 64 << 10;

    /// Reads the payload of extension message 0. Keys with values that they cannot have are ignored.
    pub fn parse(payload: &[u8]) -> Result<Self, ExtendedHandshakeError> {
        let document = OPTIONS.decode(payload).map_err(ExtendedHandshakeError::Bencode)?;
        let dict = document.root().as_dict().ok_or(ExtendedHandshakeError::NotADictionary)?;
        let size = |size: i64| u64::try_from(size).ok();
        Ok(Self {
            extensions: dict.dict("m").map(extensions).unwrap_or_default(),
            client: dict.bytes("v").map(|name| lenient::text(name, MAX_NAME)),
            port: dict.get("p").and_then(lenient::port),
            request_queue: dict.get("reqq").and_then(lenient::count),
            your_ip: dict.bytes("yourip").and_then(lenient::address),
            ipv4: dict.bytes("ipv4").and_then(lenient::ipv4),
            ipv6: dict.bytes("ipv6").and_then(lenient::ipv6),
            metadata_size: dict.int("metadata_size").and_then(size),
            upload_only: dict.int("upload_only").map(|value| value != 0),
            complete_ago: dict.get("complete_ago").and_then(lenient::count),
            encryption: dict.int("e").map(|value| value != 0),
        })
    }

    /// Appends the payload of extension message 0.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(out);
        encoder.dict(|d| {
            if let Some(seconds) = self.complete_ago {
                d.int("complete_ago", seconds);
            }
            if let Some(prefers) = self.encryption {
                d.int("e", u8::from(prefers));
            }
            if let Some(ip) = self.ipv4 {
                d.bytes("ipv4", ip.octets());
            }
            if let Some(ip) = self.ipv6 {
                d.bytes("ipv6", ip.octets());
            }
            d.dict("m", |m| self.extensions.iter().for_each(|(name, id)| m.int(name, id)));
            if let Some(size) = self.metadata_size.and_then(|size| i64::try_from(size).ok()) {
                d.int("metadata_size", size);
            }
            if let Some(port) = self.port {
                d.int("p", port);
            }
            if let Some(count) = self.request_queue {
                d.int("reqq", count);
            }
            if let Some(only) = self.upload_only {
                d.int("upload_only", u8::from(only));
            }
            if let Some(client) = &self.client {
                d.bytes("v", client);
            }
            match self.your_ip {
                Some(IpAddr::V4(ip)) => d.bytes("yourip", ip.octets()),
                Some(IpAddr::V6(ip)) => d.bytes("yourip", ip.octets()),
                None => {}
            }
        });
        // The keys differ and all numbers fit, so there is nothing to fail.
        let _ = encoder.finish();
    }

    /// Takes in a later handshake of the same peer: what it says counts, what it leaves out stays. The first
    /// `metadata_size` stays too, because it cannot change.
    pub fn merge(&mut self, later: &Self) {
        self.extensions.merge(&later.extensions);
        if later.client.is_some() {
            self.client.clone_from(&later.client);
        }
        self.port = later.port.or(self.port);
        self.request_queue = later.request_queue.or(self.request_queue);
        self.your_ip = later.your_ip.or(self.your_ip);
        self.ipv4 = later.ipv4.or(self.ipv4);
        self.ipv6 = later.ipv6.or(self.ipv6);
        self.metadata_size = self.metadata_size.or(later.metadata_size);
        self.upload_only = later.upload_only.or(self.upload_only);
        self.complete_ago = later.complete_ago.or(self.complete_ago);
        self.encryption = later.encryption.or(self.encryption);
    }
}

fn extensions(dict: Dict<'_, '_>) -> Extensions {
    let ids = dict
        .iter()
        .filter_map(|(name, id)| Some((core::str::from_utf8(name).ok()?, u8::try_from(id.as_int()?).ok()?)));
    ids.collect()
}

impl fmt::Display for ExtendedHandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bencode(error) => write!(f, "expected a bencoded extension handshake: {error}"),
            Self::NotADictionary => {
                write!(f, "expected a dictionary as extension handshake, got another value")
            }
        }
    }
}

impl core::error::Error for ExtendedHandshakeError {
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

    #[test]
    fn the_example_of_bep_10_is_read() {
        let payload = b"d1:md11:LT_metadatai1e6:ut_pexi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        let handshake = ExtendedHandshake::parse(payload).unwrap();
        assert_eq!(handshake.client.as_deref(), Some("µTorrent 1.2"));
        assert_eq!(handshake.port, Some(6881));
        assert_eq!(
            (handshake.extensions.id("LT_metadata"), handshake.extensions.id("ut_pex")),
            (Some(1), Some(2))
        );
    }

    #[test]
    fn wrong_types_and_values_are_ignored_key_by_key() {
        let empty = ExtendedHandshake::default();
        for payload in [
            "de",
            "d1:mi5ee",
            "d1:md1:ai-1e1:bi256e1:c1:xee",
            "d1:pi0ee",
            "d1:pi65536ee",
            "d1:p2:80e",
            "d4:reqqi-1ee",
            "d4:reqqlee",
            "d1:vi5ee",
            "d6:yourip3:xxxe",
            "d6:yourip0:e",
            "d4:ipv416:xxxxxxxxxxxxxxxxe",
            "d4:ipv64:xxxxe",
            "d13:metadata_sizei-1ee",
            "d13:metadata_size1:5e",
            "d11:upload_only1:1e",
            "d12:complete_agoi-1ee",
        ] {
            assert_eq!(ExtendedHandshake::parse(payload.as_bytes()).as_ref(), Ok(&empty), "{payload}");
        }
        let one_bad = ExtendedHandshake::parse(b"d1:pi0e4:reqqi250ee").unwrap();
        assert_eq!(one_bad, ExtendedHandshake { request_queue: Some(250), ..empty });
    }

    #[test]
    fn careless_bencode_is_forgiven() {
        let handshake = ExtendedHandshake::parse(b"d4:reqqi0250e1:pi6881eexyz").unwrap();
        assert_eq!((handshake.request_queue, handshake.port), (Some(250), Some(6881)));
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused() {
        let deep = alloc::format!("d1:x{}{}e", "l".repeat(200), "e".repeat(200));
        let long = alloc::format!("d1:v70000:{}e", "x".repeat(70_000));
        let wide = alloc::format!("d1:xl{}ee", "le".repeat(30_000));
        for payload in [&deep, &long, &wide] {
            let refused = ExtendedHandshake::parse(payload.as_bytes());
            assert!(matches!(refused, Err(ExtendedHandshakeError::Bencode(_))), "{refused:?}");
        }
        assert_eq!(ExtendedHandshake::parse(b"le"), Err(ExtendedHandshakeError::NotADictionary));
    }

    #[test]
    fn a_later_handshake_changes_what_it_says_only() {
        let mut first =
            ExtendedHandshake::parse(b"d1:md2:aai1ee13:metadata_sizei100e4:reqqi250e1:v3:onee").unwrap();
        let later = ExtendedHandshake::parse(b"d1:md2:bbi2ee13:metadata_sizei200e11:upload_onlyi1e1:v3:twoe")
            .unwrap();
        first.merge(&later);
        let expected = ExtendedHandshake::parse(
            b"d1:md2:aai1e2:bbi2ee13:metadata_sizei100e4:reqqi250e11:upload_onlyi1e1:v3:twoe",
        );
        assert_eq!(Ok(first), expected);
    }

    prop_compose! {
        fn any_handshake()(
            names in proptest::collection::btree_map("[a-z_]{1,20}", any::<u8>(), 0..10),
            client in proptest::option::of("[ -~]{0,60}"),
            port in proptest::option::of(1..=u16::MAX),
            numbers in any::<(Option<u32>, Option<u32>, Option<bool>, Option<bool>)>(),
            metadata_size in proptest::option::of(0..=i64::MAX as u64),
            addresses in any::<(Option<IpAddr>, Option<Ipv4Addr>, Option<Ipv6Addr>)>(),
        ) -> ExtendedHandshake {
            let (request_queue, complete_ago, upload_only, encryption) = numbers;
            let (your_ip, ipv4, ipv6) = addresses;
            let extensions = names.iter().map(|(name, id)| (name.as_str(), *id)).collect();
            ExtendedHandshake {
                extensions, client, port, request_queue, your_ip, ipv4, ipv6, metadata_size, upload_only, complete_ago,
                encryption,
            }
        }
    }

    proptest! {
        #[test]
        fn any_handshake_goes_both_ways(handshake in any_handshake()) {
            let mut payload = Vec::new();
            handshake.encode(&mut payload);
            prop_assert_eq!(ExtendedHandshake::parse(&payload), Ok(handshake));
        }
    }
}
