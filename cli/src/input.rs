//! Reading the torrents that a command names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use metainfo::{MAX_SIZE, Magnet, Torrent};

use crate::exit::{Exit, failure, of_io};

/// What a word on the command line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A magnet link, or an info-hash alone.
    Magnet,
    /// An address to fetch from.
    Url,
    /// Standard input.
    Stdin,
    /// The path of a file.
    Path,
}

/// Tells what kind of thing is named.
pub(crate) fn kind(word: &str) -> Kind {
    let starts = |prefix: &str| word.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if word == "-" {
        Kind::Stdin
    } else if starts("magnet:") || topic(word).is_some() {
        Kind::Magnet
    } else if starts("http://") || starts("https://") {
        Kind::Url
    } else {
        Kind::Path
    }
}

/// The bytes of a torrent file, or of standard input if the path is `-`; not more than a torrent may have.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let read = if path.as_os_str() == "-" {
        limited(io::stdin().lock())
    } else {
        File::open(path).and_then(|file| {
            if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { limited(file) }
        })
    };
    read.map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    if error.kind() == io::ErrorKind::IsADirectory {
        return failure(Exit::Usage, format!("{shown} is a folder; name a torrent file"));
    }
    if path.to_str().is_some_and(|word| word.contains("://")) {
        return failure(Exit::Usage, format!("{shown}: only http and https URLs can be fetched"));
    }
    failure(of_io(error), format!("cannot read {shown}: {error}"))
}

fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The torrent in a file.
pub(crate) fn torrent(path: &Path) -> Result<Torrent> {
    parse(&bytes(path)?, &path.display().to_string())
}

/// The torrent in these bytes, which came from `origin`.
pub(crate) fn parse(bytes: &[u8], origin: &str) -> Result<Torrent> {
    Torrent::parse(bytes).with_context(|| format!("{origin} is not a torrent that can be used"))
}

/// What a magnet link would say for this info-hash: 40 hex or 32 base32 digits (v1), 64 hex digits (v2), or 1220 and 64 hex
/// digits (v2 as a multihash).
fn topic(word: &str) -> Option<String> {
    let is_hex = word.bytes().all(|b| b.is_ascii_hexdigit());
    let is_base32 = word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7'));
    match word.len() {
        40 if is_hex => Some(format!("urn:btih:{word}")),
        32 if is_base32 => Some(format!("urn:btih:{word}")),
        64 if is_hex => Some(format!("urn:btmh:1220{word}")),
        68 if is_hex && word.starts_with("1220") => Some(format!("urn:btmh:{word}")),
        _ => None,
    }
}

/// The magnet link of this text, which may be an info-hash alone.
pub(crate) fn magnet(text: &str) -> Result<Magnet> {
    let parsed = match topic(text) {
        Some(topic) => Magnet::parse(&format!("magnet:?xt={topic}")),
        None => Magnet::parse(text),
    };
    parsed.map_err(|error| failure(Exit::Usage, format!("not a magnet link: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::{InfoHashV1, InfoHashes};

    const HEX: &str = "000102030405060708090a0b0c0d0e0f10111213";

    #[test]
    fn a_hash_alone_is_a_magnet() {
        let v1 = InfoHashes::v1_only(HEX.parse::<InfoHashV1>().unwrap());
        for word in [HEX, &HEX.to_uppercase(), "aaaqeayeaudaocajbifqydiob4ibceqt"] {
            assert_eq!(magnet(word).unwrap(), Magnet::new(v1), "{word}");
        }
        let v2 = "ab".repeat(32);
        let expected = Magnet::new(InfoHashes::v2_only(v2.parse().unwrap()));
        assert_eq!(magnet(&v2).unwrap(), expected);
        assert_eq!(magnet(&format!("1220{v2}")).unwrap(), expected);
        assert!(magnet(&HEX[1..]).is_err());
    }

    #[test]
    fn words_are_told_apart() {
        for (word, expected) in [
            ("-", Kind::Stdin),
            ("MAGNET:?xt=", Kind::Magnet),
            ("https://host/a.torrent", Kind::Url),
            ("HTTP://host/a.torrent", Kind::Url),
            ("a.torrent", Kind::Path),
            ("./magnet:", Kind::Path),
            ("http:/a", Kind::Path),
            ("日本語", Kind::Path),
            (HEX, Kind::Magnet),
            (&HEX[1..], Kind::Path),
            ("AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT", Kind::Magnet),
            ("./000102030405060708090a0b0c0d0e0f10111213", Kind::Path),
        ] {
            assert_eq!(kind(word), expected, "{word}");
        }
    }
}
