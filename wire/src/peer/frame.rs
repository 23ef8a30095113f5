use super::limits::as_usize;
use super::message::id;
use super::{Error, Limits};

/// A message with its length checked and its body cut out, not yet understood.
pub(super) enum Frame<'a> {
    /// This many bytes must be held to go further.
    Needs(usize),
    /// A length of 0.
    KeepAlive,
    /// A message. For a piece, `body` is the 8 bytes before the payload, and `payload` says how long that is.
    Ready { id: u8, body: &'a [u8], payload: u32 },
}

impl<'a> Frame<'a> {
    /// Cuts the first message out of `input`.
    pub(super) fn read(input: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let Some((prefix, rest)) = input.split_first_chunk() else {
            return Ok(Self::Needs(4));
        };
        let len = u32::from_be_bytes(*prefix);
        if len == 0 {
            return Ok(Self::KeepAlive);
        }
        let Some((&id, rest)) = rest.split_first() else {
            limits.check_any(len)?;
            return Ok(Self::Needs(5));
        };
        limits.check(id, len)?;
        let (held, payload) = if id == id::PIECE { (8, len - 9) } else { (as_usize(len - 1), 0) };
        Ok(match rest.get(..held) {
            Some(body) => Self::Ready { id, body, payload },
            None => Self::Needs(held.saturating_add(5)),
        })
    }
}
