use core::fmt;

use super::{Body, MAX_PACKET, MAX_TRANSACTION, Packet, Refusal};

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// They are no bencode, or more of it than is read.
    Bencode(bencode::Error),
    /// They are bencode, but no dictionary.
    NotADictionary,
    /// There is no transaction id, or one of more than [`MAX_TRANSACTION`] bytes: nothing can be answered.
    Transaction,
    /// `y` is neither query, reply nor error.
    Kind,
    /// A query without something that it must have.
    Query {
        /// The transaction id of the query.
        transaction: &'a [u8],
        /// What to answer with.
        refusal: Refusal<'static>,
    },
    /// A reply without the id of its node.
    Reply {
        /// The transaction id that it answers to.
        transaction: &'a [u8],
    },
}

impl<'a> Error<'a> {
    /// The packet to answer with, if the sender can be answered.
    pub fn answer(&self) -> Option<Packet<'a>> {
        match self {
            Self::Query { transaction, refusal } => {
                Some(Packet::new(transaction, Body::Error(refusal.clone())))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bencode(error) => {
                write!(f, "expected a bencoded packet of at most {MAX_PACKET} bytes: {error}")
            }
            Self::NotADictionary => f.write_str("expected a dictionary, got another value"),
            Self::Transaction => write!(f, "expected a transaction id of at most {MAX_TRANSACTION} bytes"),
            Self::Kind => f.write_str("expected a query, a reply or an error, got another kind of packet"),
            Self::Query { refusal, .. } => write!(f, "bad query: {}", refusal.message),
            Self::Reply { .. } => f.write_str("expected a reply with the id of its node"),
        }
    }
}

impl core::error::Error for Error<'_> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bencode(error) => Some(error),
            _ => None,
        }
    }
}
