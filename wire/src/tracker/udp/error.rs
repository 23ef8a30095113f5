use core::fmt;

/// Why a packet is none of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Ends before its fields do.
    TooShort {
        /// The least number of bytes that such a packet has.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// Has an action that is not in BEP 15, or that this side is never sent.
    Action(u32),
    /// A connect request without the protocol's magic number.
    Magic(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { expected, found } => {
                write!(f, "expected a packet of at least {expected} bytes, got {found}")
            }
            Self::Action(action) => write!(f, "expected an action of 0 to 3, got {action}"),
            Self::Magic(magic) => write!(f, "expected the magic number 41727101980, got {magic:x}"),
        }
    }
}

impl core::error::Error for Error {}
