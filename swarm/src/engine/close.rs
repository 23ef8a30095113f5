//! Why a connection ends.

use std::fmt;

use metainfo::OutOfBounds;

/// Why a connection ended or is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// The other side closed it.
    Eof,
    /// The system reported an error on it.
    Io(std::io::ErrorKind),
    /// It could not be opened.
    DialFailed(std::io::ErrorKind),
    /// What came is no valid peer message.
    Wire(wire::peer::Error),
    /// A valid message that may not come here or now.
    Violation(Violation),
    /// Nothing useful came for too long.
    Timeout(Timeout),
    /// The handshake named a torrent that is not run here.
    UnknownTorrent,
    /// The handshake answered with another torrent than was dialled.
    WrongTorrent,
    /// We reached ourselves.
    OurOwn,
    /// Another connection to the same peer is kept.
    Duplicate,
    /// The address is banned.
    Banned,
    /// Both sides are complete.
    Redundant,
    /// A connection limit was reached and another one is worth more.
    Limit,
    /// The torrent was stopped or removed, or the session ends.
    Stopped,
    /// The files of the torrent are not open, and cannot be or are not in time.
    Unready,
    /// The torrent is private and its tracker changed (BEP 27).
    TrackerChanged,
    /// The torrent turned out to be private, and the peer was found in a way that it may not use (BEP 27).
    Private,
}

/// What the peer did against the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A piece, block or range that the torrent does not have.
    OutOfBounds(OutOfBounds),
    /// A bitfield of the wrong length or with spare bits set.
    Bitfield,
    /// Have-all or have-none not right after the handshake, or twice (BEP 6).
    LateBitfield,
    /// A Fast message without the Fast bit (BEP 6).
    FastNotNegotiated,
    /// An extended message without the extension bit (BEP 10).
    ExtensionNotNegotiated,
    /// A reject of something never requested (BEP 6).
    UnaskedReject,
    /// Over 1 MiB of blocks that were never requested.
    UnaskedBlocks,
    /// A block in answer to a request, but of another size or place.
    WrongBlock,
    /// Far more requests than are queued.
    RequestFlood,
    /// Blocks of pieces that did not match their hash, or metadata that did not.
    BadData,
    /// Messages about other peers far more often than once a minute (BEP 11).
    ExchangeFlood,
    /// Over 1 MiB of metadata that was never asked for, or requests for it without end.
    MetadataFlood,
    /// Over 1 MiB of hashes that were never asked for, or requests for them without end (BEP 52).
    HashFlood,
    /// Every piece lost, and a thousand more losses (BEP 54).
    LossFlood,
}

/// Which patience ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Opening the connection.
    Dial,
    /// The handshake.
    Handshake,
    /// No message at all.
    Idle,
}

impl From<wire::peer::Error> for Close {
    fn from(error: wire::peer::Error) -> Self {
        Self::Wire(error)
    }
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<OutOfBounds> for Close {
    fn from(error: OutOfBounds) -> Self {
        Self::Violation(Violation::OutOfBounds(error))
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("the peer closed the connection"),
            Self::Io(kind) => write!(f, "connection lost: {kind}"),
            Self::DialFailed(kind) => write!(f, "cannot connect: {kind}"),
            Self::Wire(error) => write!(f, "invalid message: {error}"),
            Self::Violation(violation) => write!(f, "protocol violation: {violation}"),
            Self::Timeout(Timeout::Dial) => f.write_str("connecting took too long"),
            Self::Timeout(Timeout::Handshake) => f.write_str("the handshake took too long"),
            Self::Timeout(Timeout::Idle) => f.write_str("the peer was silent for too long"),
            Self::UnknownTorrent => f.write_str("the peer asked for a torrent that is not run here"),
            Self::WrongTorrent => f.write_str("the peer answered with another torrent"),
            Self::OurOwn => f.write_str("this is our own address"),
            Self::Duplicate => f.write_str("there is another connection to the same peer"),
            Self::Banned => f.write_str("the peer is banned"),
            Self::Redundant => f.write_str("both sides are complete"),
            Self::Limit => f.write_str("the connection limit was reached"),
            Self::Stopped => f.write_str("the torrent was stopped"),
            Self::Unready => f.write_str("the files of the torrent are not open"),
            Self::Private => f.write_str("the torrent is private and may not use the peer"),
            Self::TrackerChanged => f.write_str("the private torrent changed its tracker"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds(error) => write!(f, "{error}"),
            Self::Bitfield => f.write_str("a bitfield of the wrong length or with spare bits set"),
            Self::LateBitfield => f.write_str("a second or late have-all or have-none"),
            Self::FastNotNegotiated => f.write_str("a Fast message without the Fast bit"),
            Self::ExtensionNotNegotiated => f.write_str("an extended message without the extension bit"),
            Self::UnaskedReject => f.write_str("a reject of something never requested"),
            Self::UnaskedBlocks => f.write_str("over 1 MiB of blocks that were never requested"),
            Self::WrongBlock => f.write_str("a block of another size or place than requested"),
            Self::RequestFlood => f.write_str("far more requests than are queued"),
            Self::ExchangeFlood => f.write_str("messages about other peers without end"),
            Self::MetadataFlood => f.write_str("metadata or requests for it without end"),
            Self::HashFlood => f.write_str("hashes or requests for them without end"),
            Self::LossFlood => f.write_str("lost more than all pieces"),
            Self::BadData => f.write_str("sent blocks that do not match their hash"),
        }
    }
}
