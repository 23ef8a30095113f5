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
    /// A magnet link.
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
    } else if starts("magnet:") {
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
    read.map_err(|error| failure(of_io(&error), format!("cannot read {}: {error}", path.display())))
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

/// The magnet link of this text.
pub(crate) fn magnet(text: &str) -> Result<Magnet> {
    Magnet::parse(text).map_err(|error| failure(Exit::Usage, format!("not a magnet link: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(kind(word), expected, "{word}");
        }
    }
}
