//! The two sides of a hybrid torrent, brought together (BEP 52, "Upgrade Path").

use crate::error::{Error, Mismatch};
use crate::layout::File;
use alloc::vec::Vec;

/// The v1 list, pad files included, with the roots of the v2 tree; refused unless both describe the same
/// content: the same names, lengths and links in the same order, each file starting at the same piece.
///
/// A pad file after the last file is optional: older hybrids come without.
pub(super) fn merge(mut v1: Vec<File>, v2: Vec<File>, piece_length: u64) -> Result<Vec<File>, Error> {
    let payload = v1.iter().filter(|file| !file.is_pad()).count();
    if payload != v2.len() {
        return Err(Error::Inconsistent(Mismatch::Count { v1: payload, v2: v2.len() }));
    }
    let total = super::total(&v1)?;
    let (mut offset, mut pieces) = (0u64, 0u64);
    let mut other = v2.into_iter().enumerate();
    for file in &mut v1 {
        if !file.is_pad()
            && let Some((index, mut twin)) = other.next()
        {
            compare(file, &twin, index)?;
            if file.length > 0 {
                if Some(offset) != pieces.checked_mul(piece_length) {
                    return Err(Error::Inconsistent(Mismatch::Offset(index)));
                }
                pieces = pieces.saturating_add(file.length.div_ceil(piece_length));
            }
            file.root = twin.root.take();
            file.attributes.executable |= twin.attributes.executable;
            file.attributes.hidden |= twin.attributes.hidden;
        }
        offset = offset.saturating_add(file.length);
    }
    let v1_pieces = total.div_ceil(piece_length);
    if v1_pieces != pieces {
        return Err(Error::Inconsistent(Mismatch::Pieces { v1: v1_pieces, v2: pieces }));
    }
    Ok(v1)
}

fn compare(v1: &File, v2: &File, index: usize) -> Result<(), Error> {
    let mismatch = if v1.path != v2.path {
        Mismatch::Name(index)
    } else if v1.length != v2.length {
        Mismatch::Length(index)
    } else if v1.symlink != v2.symlink {
        Mismatch::Symlink(index)
    } else {
        return Ok(());
    };
    Err(Error::Inconsistent(mismatch))
}
