use core::fmt;

/// Why an input was refused. Offsets count bytes from the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// A byte that cannot stand here, or the input ended where something had to follow.
    Unexpected {
        /// Where.
        offset: usize,
        /// What the grammar allows there.
        expected: Expected,
        /// What stands there.
        found: Found,
    },
    /// A string's length prefix promises more bytes than the input holds.
    StringTooLong {
        /// Where the length prefix starts.
        offset: usize,
        /// Bytes promised.
        length: u64,
        /// Bytes left after the colon.
        available: usize,
    },
    /// An integer outside `i64`, or a string length outside `u64`.
    Overflow {
        /// Where the number starts (its sign or first digit).
        offset: usize,
    },
    /// Readable, but not the canonical spelling. Strict mode only.
    NotCanonical {
        /// Where; see [`Lapse`] for what it points at.
        offset: usize,
        /// In what way.
        lapse: Lapse,
    },
    /// A list or dictionary one level deeper than allowed.
    TooDeep {
        /// Where it starts.
        offset: usize,
        /// The allowed depth.
        limit: usize,
    },
    /// One value or key more than allowed.
    TooManyTokens {
        /// Where it starts.
        offset: usize,
        /// The allowed number.
        limit: usize,
    },
    /// The input is larger than allowed; nothing of it was read.
    TooLarge {
        /// Bytes of input.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// What the grammar allows at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// A value: `i`, `l`, `d` or a digit.
    Value,
    /// A value or the `e` that ends a list.
    ValueOrEnd,
    /// A key (a digit) or the `e` that ends a dictionary.
    KeyOrEnd,
    /// The first digit of a number.
    Digit,
    /// Another digit or the `e` that ends an integer.
    DigitOrEnd,
    /// Another digit or the `:` that ends a string's length.
    DigitOrColon,
}

/// What stood at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// A byte.
    Byte(u8),
    /// The end of the input.
    End,
}

/// A way in which readable bencode departs from its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lapse {
    /// A key that sorts before the key ahead of it. The offset is where the later key starts.
    UnsortedKey,
    /// A key that its dictionary already has. The offset is where the later key starts.
    DuplicateKey,
    /// A number or string length with needless zeros in front. The offset is its sign or first digit.
    LeadingZero,
    /// `-0`. The offset is the sign.
    NegativeZero,
    /// Bytes after the value. The offset is the first of them.
    TrailingBytes,
}

/// A [`Lapse`] that lenient mode let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Forgiven {
    /// Bytes from the start of the input.
    pub offset: usize,
    /// In what way the input was not canonical.
    pub lapse: Lapse,
}

impl Error {
    /// Where the fault is, in bytes from the start of the input; the limit for [`Error::TooLarge`].
    pub const fn offset(&self) -> usize {
        match *self {
            Self::Unexpected { offset, .. }
            | Self::StringTooLong { offset, .. }
            | Self::Overflow { offset }
            | Self::NotCanonical { offset, .. }
            | Self::TooDeep { offset, .. }
            | Self::TooManyTokens { offset, .. } => offset,
            Self::TooLarge { limit, .. } => limit,
        }
    }

    /// Whether the input could be the start of a longer, valid one.
    pub const fn is_truncated(&self) -> bool {
        matches!(self, Self::Unexpected { found: Found::End, .. } | Self::StringTooLong { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { offset, expected, found } => {
                write!(f, "byte {offset}: expected {expected}, found {found}")
            }
            Self::StringTooLong { offset, length, available } => {
                write!(f, "byte {offset}: expected a string of {length} bytes, found {available} bytes")
            }
            Self::Overflow { offset } => {
                write!(f, "byte {offset}: expected a number of 64 bits, found a larger one")
            }
            Self::NotCanonical { offset, lapse } => {
                write!(f, "byte {offset}: expected canonical bencode, found {lapse}")
            }
            Self::TooDeep { offset, limit } => {
                write!(f, "byte {offset}: expected at most {limit} nested levels, found one more")
            }
            Self::TooManyTokens { offset, limit } => {
                write!(f, "byte {offset}: expected at most {limit} values, found one more")
            }
            Self::TooLarge { size, limit } => write!(f, "expected at most {limit} bytes, found {size}"),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a value",
            Self::ValueOrEnd => "a value or 'e'",
            Self::KeyOrEnd => "a key or 'e'",
            Self::Digit => "a digit",
            Self::DigitOrEnd => "a digit or 'e'",
            Self::DigitOrColon => "a digit or ':'",
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "'{}'", byte.escape_ascii()),
            Self::End => f.write_str("the end of the input"),
        }
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnsortedKey => "a key out of order",
            Self::DuplicateKey => "a key given twice",
            Self::LeadingZero => "a number with leading zeros",
            Self::NegativeZero => "a negative zero",
            Self::TrailingBytes => "bytes after the value",
        })
    }
}

impl fmt::Display for Forgiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.lapse)
    }
}
