use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt::{self, Write as _};

/// The program that a peer id claims to be of. For display only: anyone can claim anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The program's name, or the two letters of its code if they are not in the table.
    pub name: Cow<'static, str>,
    /// Its version, if the id says.
    pub version: Option<String>,
}

/// How the four version characters of an Azureus-style id are read.
#[derive(Clone, Copy)]
enum Style {
    /// One number each, trailing zeros dropped.
    Dots,
    /// The first three are numbers; the last is a build tag.
    Three,
    /// Before 4.0, two digits after the point; since then like `Three`.
    Transmission,
}
use Style::{Dots, Three, Transmission};

impl Client {
    pub(super) fn of(id: &[u8; 20]) -> Option<Self> {
        azureus(id).or_else(|| mainline(id)).or_else(|| odd(id)).or_else(|| shadow(id))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) => write!(f, " {version}"),
            None => Ok(()),
        }
    }
}

/// `-XX1234-`: two letters and four version characters between dashes.
fn azureus(id: &[u8; 20]) -> Option<Client> {
    let [b'-', a, b, v @ .., b'-'] = id.first_chunk::<8>()? else { return None };
    let v: &[u8; 4] = v;
    if !a.is_ascii_alphanumeric() || !(b.is_ascii_alphanumeric() || *b == b'~') {
        return None;
    }
    let code = [*a, *b];
    let (name, style) = match AZUREUS.iter().find(|(known, ..)| **known == code) {
        Some((_, name, style)) => (Cow::Borrowed(*name), *style),
        None => (Cow::Owned(code.iter().copied().map(char::from).collect()), Dots),
    };
    Some(Client { name, version: version(*v, style) })
}

fn version(v: [u8; 4], style: Style) -> Option<String> {
    let [a, b, c, d] = v;
    if let (Transmission, b'0'..=b'3') = (style, a) {
        return two_digits(a, b, c);
    }
    let last = if matches!(style, Dots) { digit(d)? } else { 0 };
    let parts = [digit(a)?, digit(b)?, digit(c)?, last];
    let kept = parts.iter().rposition(|part| *part != 0).map_or(2, |last| (last + 1).max(2));
    Some(dotted(parts.into_iter().take(kept)))
}

fn two_digits(a: u8, b: u8, c: u8) -> Option<String> {
    Some(alloc::format!("{}.{}{}", digit(a)?, digit(b)?, digit(c)?))
}

/// `0`-`9`, then `A`-`Z` for 10 to 35, then `a`-`z` for 36 to 61.
fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'Z' => Some(c - b'A' + 10),
        b'a'..=b'z' => Some(c - b'a' + 36),
        _ => None,
    }
}

fn dotted(parts: impl Iterator<Item = u8>) -> String {
    let mut text = String::new();
    for (i, part) in parts.enumerate() {
        let dot = if i == 0 { "" } else { "." };
        // Writing to a string cannot fail.
        let _ = write!(text, "{dot}{part}");
    }
    text
}

/// `M7-10-5--`, and aria2's `A2-1-37-0-`: decimal numbers between dashes.
fn mainline(id: &[u8; 20]) -> Option<Client> {
    let (name, rest): (_, &[u8]) = match id {
        [b'M', b'0'..=b'9', ..] => ("BitTorrent", id.get(1..)?),
        [b'Q', b'0'..=b'9', ..] => ("Queen Bee", id.get(1..)?),
        [b'A', b'2', b'-', ..] => ("aria2", id.get(3..)?),
        _ => return None,
    };
    let mut numbers = rest.split(|c| *c == b'-').take(3);
    let mut version = String::new();
    for i in 0..3 {
        let number = numbers.next()?;
        if number.is_empty() || number.len() > 3 || !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        if i > 0 {
            version.push('.');
        }
        version.extend(number.iter().copied().map(char::from));
    }
    Some(Client { name: name.into(), version: Some(version) })
}

/// Ids that follow no common style.
fn odd(id: &[u8; 20]) -> Option<Client> {
    if let [b'e', b'x', b'b', b'c', major, minor, ..] | [b'F', b'U', b'T', b'B', major, minor, ..] = id {
        return Some(Client { name: "BitComet".into(), version: Some(alloc::format!("{major}.{minor:02}")) });
    }
    let known = ODD.iter().find(|(start, _)| id.starts_with(start.as_bytes()))?;
    Some(Client { name: known.1.into(), version: None })
}

/// `S58B-----`: one letter and up to five version characters, then dashes.
fn shadow(id: &[u8; 20]) -> Option<Client> {
    let (letter, rest) = id.split_first()?;
    let name = SHADOW.iter().find(|(known, _)| known == letter)?.1;
    let used = rest.iter().take(5).take_while(|c| **c != b'-').count();
    let (digits, after) = rest.split_at_checked(used)?;
    if digits.is_empty() || !after.starts_with(b"--") && !after.starts_with(b"-\0") {
        return None;
    }
    let parts = digits.iter().map(|c| digit(*c)).collect::<Option<alloc::vec::Vec<_>>>()?;
    Some(Client { name: name.to_string().into(), version: Some(dotted(parts.into_iter())) })
}

const AZUREUS: &[(&[u8; 2], &str, Style)] = &[
    (b"7T", "aTorrent", Dots),
    (b"AB", "AnyEvent::BitTorrent", Dots),
    (b"AG", "Ares", Dots),
    (b"AR", "Arctic", Dots),
    (b"AT", "Artemis", Dots),
    (b"AV", "Avicora", Dots),
    (b"AX", "BitPump", Dots),
    (b"AZ", "Vuze", Dots),
    (b"A~", "Ares", Dots),
    (b"BB", "BitBuddy", Dots),
    (b"BC", "BitComet", Dots),
    (b"BE", "BitTorrent SDK", Dots),
    (b"BF", "BitFlu", Dots),
    (b"BG", "BTG", Dots),
    (b"BI", "BiglyBT", Dots),
    (b"BL", "BitLord", Dots),
    (b"BP", "BitTorrent Pro", Dots),
    (b"BR", "BitRocket", Dots),
    (b"BS", "BTSlave", Dots),
    (b"BT", "BitTorrent", Three),
    (b"BW", "BitWombat", Dots),
    (b"BX", "BittorrentX", Dots),
    (b"CD", "Enhanced CTorrent", Dots),
    (b"CT", "CTorrent", Dots),
    (b"DE", "Deluge", Three),
    (b"DP", "Propagate", Dots),
    (b"EB", "EBit", Dots),
    (b"ES", "Electric Sheep", Dots),
    (b"FC", "FileCroc", Dots),
    (b"FD", "Free Download Manager", Dots),
    (b"FG", "FlashGet", Dots),
    (b"FL", "Folx", Dots),
    (b"FT", "FoxTorrent", Dots),
    (b"FW", "FrostWire", Dots),
    (b"FX", "Freebox", Dots),
    (b"GS", "GSTorrent", Dots),
    (b"GT", "anacrolix/torrent", Dots),
    (b"HL", "Halite", Dots),
    (b"HN", "Hydranode", Dots),
    (b"IL", "iLivid", Dots),
    (b"KG", "KGet", Dots),
    (b"KT", "KTorrent", Dots),
    (b"LC", "LeechCraft", Dots),
    (b"LH", "LH-ABC", Dots),
    (b"LP", "Lphant", Dots),
    (b"LT", "libtorrent", Dots),
    (b"LW", "LimeWire", Dots),
    (b"MG", "MediaGet", Dots),
    (b"MO", "MonoTorrent", Dots),
    (b"MP", "MooPolice", Dots),
    (b"MR", "Miro", Dots),
    (b"MT", "MoonlightTorrent", Dots),
    (b"NE", "BT Next Evolution", Dots),
    (b"NX", "Net Transport", Dots),
    (b"OS", "OneSwarm", Dots),
    (b"OT", "OmegaTorrent", Dots),
    (b"PB", "ProtocolBT", Dots),
    (b"PD", "Pando", Dots),
    (b"PI", "PicoTorrent", Three),
    (b"QD", "QQDownload", Dots),
    (b"QT", "Qt example", Dots),
    (b"RT", "Retriever", Dots),
    (b"RZ", "RezTorrent", Dots),
    (b"SB", "Swiftbit", Dots),
    (b"SD", "Xunlei", Dots),
    (b"SM", "SoMud", Dots),
    (b"SN", "ShareNet", Dots),
    (b"SP", "BitSpirit", Dots),
    (b"SS", "SwarmScope", Dots),
    (b"ST", "SymTorrent", Dots),
    (b"SZ", "Shareaza", Dots),
    (b"S~", "Shareaza", Dots),
    (b"TB", "Torch", Dots),
    (b"TL", "Tribler", Dots),
    (b"TN", "TorrentDotNET", Dots),
    (b"TR", "Transmission", Transmission),
    (b"TS", "TorrentStorm", Dots),
    (b"TT", "TuoTu", Dots),
    (b"TX", "Tixati", Dots),
    (b"UC", "unchoke", Dots),
    (b"UE", "uTorrent Embedded", Three),
    (b"UL", "uLeecher!", Dots),
    (b"UM", "uTorrent for Mac", Three),
    (b"UT", "uTorrent", Three),
    (b"UW", "uTorrent Web", Three),
    (b"VG", "Vagaa", Dots),
    (b"WD", "WebTorrent Desktop", Dots),
    (b"WT", "BitLet", Dots),
    (b"WW", "WebTorrent", Dots),
    (b"WY", "FireTorrent", Dots),
    (b"XC", "Xtorrent", Dots),
    (b"XF", "Xfplay", Dots),
    (b"XL", "Xunlei", Dots),
    (b"XS", "XSwifter", Dots),
    (b"XT", "XanTorrent", Dots),
    (b"XX", "Xtorrent", Dots),
    (b"ZO", "Zona", Dots),
    (b"ZT", "ZipTorrent", Dots),
    (b"bk", "BitKitten", Dots),
    (b"lt", "rTorrent", Dots),
    (b"pb", "pbTorrent", Dots),
    (b"qB", "qBittorrent", Three),
    (b"rQ", "rqbit", Dots),
    (b"st", "SharkTorrent", Dots),
];

const SHADOW: &[(u8, &str)] = &[
    (b'A', "ABC"),
    (b'O', "Osprey"),
    (b'Q', "BTQueue"),
    (b'R', "Tribler"),
    (b'S', "Shadow"),
    (b'T', "BitTornado"),
    (b'U', "UPnP NAT"),
];

const ODD: &[(&str, &str)] = &[
    ("-BOW", "Bits on Wheels"),
    ("-ML", "MLDonkey"),
    ("-G3", "G3 Torrent"),
    ("-aria2-", "aria2"),
    ("-FG", "FlashGet"),
    ("10-------", "JVtorrent"),
    ("346-", "TorrentTopia"),
    ("a00---0", "Swarmy"),
    ("AZ2500BT", "BitTyrant"),
    ("BLZ", "Blizzard Downloader"),
    ("btpd", "BT Protocol Daemon"),
    ("BG", "BTGetit"),
    ("btuga", "BTugaXP"),
    ("DansClient", "XanTorrent"),
    ("Deadman Walking-", "Deadman"),
    ("eX", "eXeem"),
    ("LIME", "LimeWire"),
    ("martini", "Martini Man"),
    ("Mbrst", "Burst!"),
    ("OP", "Opera"),
    ("Pando", "Pando"),
    ("PEERAPP", "PeerApp"),
    ("Plus", "Plus!"),
    ("QVOD", "Qvod"),
    ("S3-", "Amazon S3"),
    ("TIX", "Tixati"),
    ("turbobt", "TurboBT"),
    ("XBT", "XBT"),
];

#[cfg(test)]
mod tests {
    use crate::peer::PeerId;
    use alloc::string::ToString;

    fn name(start: &str) -> Option<alloc::string::String> {
        let mut id = [b'x'; 20];
        id[..start.len()].copy_from_slice(start.as_bytes());
        PeerId(id).client().map(|client| client.to_string())
    }

    #[test]
    fn known_ids_are_named() {
        for (start, expected) in [
            ("-UC0100-", "unchoke 0.1"),
            ("-qB4630-", "qBittorrent 4.6.3"),
            ("-qB5050-", "qBittorrent 5.0.5"),
            ("-TR2940-", "Transmission 2.94"),
            ("-TR3000-", "Transmission 3.00"),
            ("-TR4060-", "Transmission 4.0.6"),
            ("-TR400Z-", "Transmission 4.0"),
            ("-LT20B0-", "libtorrent 2.0.11"),
            ("-lt0D60-", "rTorrent 0.13.6"),
            ("-UT355W-", "uTorrent 3.5.5"),
            ("-DE211s-", "Deluge 2.1.1"),
            ("-AZ5760-", "Vuze 5.7.6"),
            ("A2-1-37-0-", "aria2 1.37.0"),
            ("M7-10-5--", "BitTorrent 7.10.5"),
            ("T03I-----", "BitTornado 0.3.18"),
            ("S58B-----", "Shadow 5.8.11"),
            ("exbc\u{1}\u{9}", "BitComet 1.09"),
            ("XBT054d-", "XBT"),
            ("-ZZ1234-", "ZZ 1.2.3.4"),
        ] {
            assert_eq!(name(start).as_deref(), Some(expected), "{start}");
        }
    }

    #[test]
    fn bytes_of_no_style_have_no_name() {
        for start in ["", "-UC0100", "-\u{1}\u{2}0100-", "T-----", "Txxxxxxxx", "M-1-2-3-"] {
            assert_eq!(name(start), None, "{start:?}");
        }
        assert_eq!(PeerId([0; 20]).client(), None);
        assert_eq!(PeerId([0xff; 20]).client(), None);
    }

    #[test]
    fn an_unreadable_version_leaves_the_name() {
        assert_eq!(name("-qB4.~0-").as_deref(), Some("qBittorrent"));
    }
}
