//! The envelope of a sheet.
//!
//! ```text
//! | "unchoke" | kind 1 | version 1 | length 4 | payload ... | crc32c of all before 4 |
//! ```

use super::VERSION;
use super::bytes::{Reader, wide};
use super::error::Damage;

/// What a sheet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Summary,
    State,
    Source,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Summary => 1,
            Self::State => 2,
            Self::Source => 3,
        }
    }
}

const MAGIC: &[u8; 7] = b"unchoke";
/// Magic, kind, version and length.
const HEAD: usize = MAGIC.len() + 1 + 1 + 4;
/// No sheet is longer: the largest torrent file that is read, and some.
const MAX_LEN: usize = 80 * 1024 * 1024;

/// Puts a payload into its envelope, as the first version.
pub(super) fn seal(kind: Kind, payload: &[u8]) -> Vec<u8> {
    seal_as(kind, 1, payload)
}

/// Puts a payload into the envelope of a version.
pub(super) fn seal_as(kind: Kind, version: u8, payload: &[u8]) -> Vec<u8> {
    let mut sheet = Vec::with_capacity(HEAD + payload.len() + 4);
    sheet.extend_from_slice(MAGIC);
    sheet.extend_from_slice(&[kind.byte(), version]);
    sheet.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    sheet.extend_from_slice(payload);
    let sum = crc32c::crc32c(&sheet);
    sheet.extend_from_slice(&sum.to_le_bytes());
    sheet
}

/// Takes the first sheet's payload out of its envelope and leaves what follows. Gives its version too.
pub(super) fn open<'a>(kind: Kind, from: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Damage> {
    let all = *from;
    let mut reader = Reader(all);
    if reader.array::<{ MAGIC.len() }>()? != *MAGIC {
        return Err(Damage::Foreign);
    }
    let [got, version] = reader.array()?;
    let len = usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| Damage::Value("a length"))?;
    if len > MAX_LEN {
        return Err(Damage::Value("a length"));
    }
    let payload = reader.raw(len)?;
    let summed = all.get(..HEAD + len).ok_or(Damage::Foreign)?;
    let expected = u32::from_le_bytes(reader.array()?);
    let sum = crc32c::crc32c(summed);
    if sum != expected {
        return Err(Damage::Checksum { expected, got: sum });
    }
    // Only now is it certain that these bytes are as somebody wrote them.
    if version > VERSION {
        return Err(Damage::Newer { known: VERSION, got: version });
    }
    if version == 0 {
        return Err(Damage::Value("a version"));
    }
    if got != kind.byte() {
        return Err(Damage::Kind { expected: kind.byte(), got });
    }
    *from = reader.0;
    Ok((version, payload))
}

/// The checksum that a sheet ends with. Computed over all of a sheet, that sum included, one is the same for each.
pub fn sum(sheet: &[u8]) -> u32 {
    sheet.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum))
}

/// Whether bytes begin with a sheet of a newer program. Costs nothing for other ones.
pub fn is_newer(bytes: &[u8]) -> bool {
    let seems =
        bytes.starts_with(MAGIC) && bytes.get(MAGIC.len() + 1).is_some_and(|version| *version > VERSION);
    seems && open(Kind::Summary, &mut &bytes[..]).is_err_and(|damage| damage.is_newer())
}

/// The only sheet.
pub(super) fn open_one(kind: Kind, bytes: &[u8]) -> Result<(u8, &[u8]), Damage> {
    let mut rest = bytes;
    let opened = open(kind, &mut rest)?;
    if rest.is_empty() { Ok(opened) } else { Err(Damage::Trailing(wide(rest.len()))) }
}
