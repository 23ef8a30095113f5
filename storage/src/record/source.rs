//! What a torrent is.

use super::bytes::{Reader, Writer};
use super::error::Damage;
use super::sheet::{self, Kind};

/// What a torrent was added by. It is written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A torrent file.
    Torrent(Vec<u8>),
    /// A magnet link whose metadata are not there yet.
    Magnet(String),
}

impl Source {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Torrent(bytes) => {
                out.byte(TORRENT);
                out.raw(bytes);
            }
            Self::Magnet(link) => {
                out.byte(MAGNET);
                out.raw(link.as_bytes());
            }
        }
        sheet::seal(Kind::Source, &out.0)
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no source, or not as they were written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut from = Reader(sheet::open_one(Kind::Source, bytes)?.1);
        match from.byte()? {
            TORRENT => Ok(Self::Torrent(from.0.to_vec())),
            MAGNET => {
                let link = std::str::from_utf8(from.0).map_err(|_| Damage::Value("a magnet link"))?;
                Ok(Self::Magnet(link.to_owned()))
            }
            _ => Err(Damage::Value("a source")),
        }
    }
}

const TORRENT: u8 = 1;
const MAGNET: u8 = 2;
