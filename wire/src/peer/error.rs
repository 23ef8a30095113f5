use core::fmt;

/// Why a stream cannot be a peer's. The connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The stream does not start with byte 19 and `BitTorrent protocol`.
    NotBitTorrent,
    /// A message has a length that it cannot have, or may not have here.
    Length {
        /// The message's id; `None` when the length prefix alone was too large for any message.
        id: Option<u8>,
        /// The length prefix that would have been right. It counts the id and the body.
        expected: Expected,
        /// The length prefix that came.
        found: u32,
    },
}

/// The length prefixes that are right for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This one only.
    Exactly(usize),
    /// This one or less.
    AtMost(usize),
    /// This one or more.
    AtLeast(usize),
    /// This one plus a multiple of 32, the size of a hash.
    WholeHashesAfter(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBitTorrent => write!(f, "expected a BitTorrent handshake, got other bytes"),
            Self::Length { id: Some(id), expected, found } => {
                write!(f, "message {id}: expected a length of {expected}, got {found}")
            }
            Self::Length { id: None, expected, found } => {
                write!(f, "expected a message length of {expected}, got {found}")
            }
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(n) => write!(f, "{n}"),
            Self::AtMost(n) => write!(f, "at most {n}"),
            Self::AtLeast(n) => write!(f, "at least {n}"),
            Self::WholeHashesAfter(n) => write!(f, "{n} plus whole hashes"),
        }
    }
}

impl core::error::Error for Error {}
