use super::hashes::HashRequest;
use super::message::id;
use super::{Error, Expected};

/// The longest message bodies that are let in. A message over its limit is refused from its length prefix,
/// before its body is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a bitfield.
    pub bitfield: usize,
    /// Bytes of payload in an extension message, after its inner id (BEP 10).
    pub extended: usize,
    /// Bytes of an unknown message, which is then skipped.
    pub unknown: usize,
    /// Bytes of payload in a piece message.
    pub piece: usize,
    /// Bytes of hashes in a `hashes` message (BEP 52).
    pub hashes: usize,
}

impl Limits {
    /// Right before the torrent is known: bitfields of up to 2,097,152 pieces, extension and unknown messages of
    /// 64 KiB, blocks of 128 KiB, 512 hashes with 64 proofs.
    pub const DEFAULT: Self = Self {
        bitfield: 256 << 10,
        extended: 64 << 10,
        unknown: 64 << 10,
        piece: 128 << 10,
        hashes: 576 * 32,
    };

    /// The default limits, with bitfields of this many pieces and no more.
    pub const fn for_pieces(count: u32) -> Self {
        let mut limits = Self::DEFAULT;
        // Bytes of a `u32` number of bits always fit.
        #[allow(clippy::as_conversions)]
        let bytes = count.div_ceil(8) as usize;
        limits.bitfield = bytes;
        limits
    }

    /// Checks a length prefix before the id behind it came.
    pub(super) fn check_any(&self, len: u32) -> Result<(), Error> {
        let messages = [
            plus(1, self.bitfield),
            plus(2, self.extended),
            plus(1, self.unknown),
            plus(9, self.piece),
            plus(1 + HashRequest::LEN, self.hashes),
        ];
        let longest = messages.into_iter().fold(0, usize::max);
        if as_usize(len) > longest {
            return Err(Error::Length { id: None, expected: Expected::AtMost(longest), found: len });
        }
        Ok(())
    }

    /// Checks the length prefix of message `id`; it is at least 1.
    pub(super) fn check(&self, id: u8, len: u32) -> Result<(), Error> {
        let found = as_usize(len);
        let exactly = |n| if found == n { None } else { Some(Expected::Exactly(n)) };
        let between = |least, most| match found {
            n if n < least => Some(Expected::AtLeast(least)),
            n if n > most => Some(Expected::AtMost(most)),
            _ => None,
        };
        let wrong = match id {
            id::CHOKE..=id::NOT_INTERESTED | id::HAVE_ALL | id::HAVE_NONE => exactly(1),
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => exactly(5),
            id::PORT => exactly(3),
            id::REQUEST | id::CANCEL | id::REJECT => exactly(13),
            id::BITFIELD => between(1, plus(1, self.bitfield)),
            id::PIECE => between(9, plus(9, self.piece)),
            id::EXTENDED => between(2, plus(2, self.extended)),
            id::HASH_REQUEST | id::HASH_REJECT => exactly(1 + HashRequest::LEN),
            id::HASHES => {
                let head = 1 + HashRequest::LEN;
                between(head, plus(head, self.hashes)).or_else(|| {
                    (!(found - head).is_multiple_of(32)).then_some(Expected::WholeHashesAfter(head))
                })
            }
            _ => between(1, plus(1, self.unknown)),
        };
        match wrong {
            None => Ok(()),
            Some(expected) => {
                // The same error as without the id, if that would have been one: how a stream is cut must not show.
                self.check_any(len)?;
                Err(Error::Length { id: Some(id), expected, found: len })
            }
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Limits are the caller's numbers, and may be as large as there are.
fn plus(head: usize, limit: usize) -> usize {
    head.saturating_add(limit)
}

pub(super) fn as_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
