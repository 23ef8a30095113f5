use std::fmt;

use crate::engine::dht::NotTaken;
use crate::session::Unavailable;

/// Why the DHT was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhtError {
    /// It does not take this.
    NotTaken(NotTaken),
    /// No node answered: there is no network, no node to begin with, or something drops UDP.
    Unanswered,
    /// The session is over, or does not answer.
    Unavailable(Unavailable),
}

impl fmt::Display for DhtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(error) => error.fmt(f),
            Self::Unanswered => f.write_str("no node of the DHT answered"),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DhtError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotTaken(error) => Some(error),
            Self::Unanswered => None,
            Self::Unavailable(error) => Some(error),
        }
    }
}

impl From<NotTaken> for DhtError {
    fn from(error: NotTaken) -> Self {
        Self::NotTaken(error)
    }
}

impl From<Unavailable> for DhtError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}
