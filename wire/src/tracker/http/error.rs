use core::fmt;

use crate::tracker::Failure;

/// Why there is no answer in a tracker's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The tracker refused. This is what a tracker says when all works as it should.
    Failure(Failure),
    /// The body is no bencode.
    Bencode(bencode::Error),
    /// The body is bencode, but no dictionary.
    NotADictionary,
    /// A dictionary with none of the keys of an answer: some other service lives there.
    NotAnAnswer,
}

/// Why a query is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// Longer than any request.
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A key that must be there is not.
    Missing(&'static str),
    /// A key has a value that it cannot have.
    Invalid(&'static str),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::Bencode(error) => write!(f, "expected a bencoded reply: {error}"),
            Self::NotADictionary => {
                write!(f, "expected a dictionary as the tracker's reply, got another value")
            }
            Self::NotAnAnswer => {
                write!(f, "expected peers or an interval in the tracker's reply, got neither")
            }
        }
    }
}

impl core::error::Error for ReplyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Bencode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<bencode::Error> for ReplyError {
    fn from(error: bencode::Error) -> Self {
        Self::Bencode(error)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit, found } => {
                write!(f, "expected a query of at most {limit} bytes, got {found}")
            }
            Self::Missing(key) => write!(f, "expected the key {key}"),
            Self::Invalid(key) => write!(f, "expected another value of the key {key}"),
        }
    }
}

impl core::error::Error for QueryError {}
