use alloc::string::String;
use alloc::vec::Vec;

use nom::multi::many_m_n;
use nom::number::complete::{be_u32, be_u64};
use nom::{IResult, Parser};

use super::{Error, action};
use crate::lenient;
use crate::tracker::compact::{read_v4, read_v6, write_v4, write_v6};
use crate::tracker::{AnnounceReply, ScrapeCounts};

/// Characters kept of an error message.
const MAX_TEXT: usize = 512;

/// Torrents that fit the largest packet.
const MAX_SCRAPED: usize = 65_535 / 12;

/// The address family of the socket that carries the packets: it decides how peers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 6 bytes for a peer.
    V4,
    /// 18 bytes for a peer.
    V6,
}

/// What a tracker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Gives a connection id.
    Connect {
        /// From the request.
        transaction: u32,
        /// To be used for a minute.
        connection: u64,
    },
    /// Answers an announce.
    Announce {
        /// From the request.
        transaction: u32,
        /// The answer: `interval`, `leechers`, `seeders` and `peers`; the rest goes over HTTP only.
        reply: AnnounceReply,
    },
    /// Answers a scrape.
    Scrape {
        /// From the request.
        transaction: u32,
        /// In the order of the request.
        counts: Vec<ScrapeCounts>,
    },
    /// Refuses.
    Error {
        /// From the request.
        transaction: u32,
        /// The reason, printable and at most 512 characters long.
        message: String,
    },
}

impl Reply {
    /// Reads a packet that came from a tracker over a socket of `family`.
    pub fn parse(packet: &[u8], family: Family) -> Result<Self, Error> {
        let (body, (kind, transaction)) = fields((be_u32, be_u32).parse(packet), 8, packet)?;
        match kind {
            action::CONNECT => {
                let (_, connection) = fields(be_u64.parse(body), 16, packet)?;
                Ok(Self::Connect { transaction, connection })
            }
            action::ANNOUNCE => {
                let numbers = (be_u32, be_u32, be_u32).parse(body);
                let (list, (interval, leechers, seeders)) = fields(numbers, 20, packet)?;
                let mut peers = Vec::new();
                match family {
                    Family::V4 => read_v4(list, &mut peers),
                    Family::V6 => read_v6(list, &mut peers),
                }
                let reply = AnnounceReply {
                    // The field is signed for some trackers; a negative one says nothing.
                    interval: i32::try_from(interval).ok().map(i32::unsigned_abs),
                    leechers: Some(leechers),
                    seeders: Some(seeders),
                    peers,
                    ..AnnounceReply::default()
                };
                Ok(Self::Announce { transaction, reply })
            }
            action::SCRAPE => {
                let (_, counts) = fields(many_m_n(0, MAX_SCRAPED, counts).parse(body), 8, packet)?;
                Ok(Self::Scrape { transaction, counts })
            }
            action::ERROR => Ok(Self::Error { transaction, message: lenient::text(body, MAX_TEXT) }),
            other => Err(Error::Action(other)),
        }
    }

    /// Appends the packet to `out`, for a socket of `family`. Peers of the other family are left out.
    pub fn encode(&self, family: Family, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Connect { .. } => action::CONNECT,
            Self::Announce { .. } => action::ANNOUNCE,
            Self::Scrape { .. } => action::SCRAPE,
            Self::Error { .. } => action::ERROR,
        };
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&self.transaction().to_be_bytes());
        match self {
            Self::Connect { connection, .. } => out.extend_from_slice(&connection.to_be_bytes()),
            Self::Announce { reply, .. } => {
                for number in [reply.interval, reply.leechers, reply.seeders] {
                    out.extend_from_slice(&number.unwrap_or(0).to_be_bytes());
                }
                match family {
                    Family::V4 => write_v4(&reply.peers, out),
                    Family::V6 => write_v6(&reply.peers, out),
                }
            }
            Self::Scrape { counts, .. } => {
                for counts in counts {
                    for number in [counts.seeders, counts.downloaded, counts.leechers] {
                        out.extend_from_slice(&number.to_be_bytes());
                    }
                }
            }
            Self::Error { message, .. } => out.extend_from_slice(message.as_bytes()),
        }
    }

    /// The transaction that the reply is for.
    pub fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

fn counts(input: &[u8]) -> IResult<&[u8], ScrapeCounts> {
    (be_u32, be_u32, be_u32)
        .map(|(seeders, downloaded, leechers)| ScrapeCounts { seeders, downloaded, leechers })
        .parse(input)
}

/// What a parser found, or how long the packet should have been.
fn fields<'a, T>(
    found: IResult<&'a [u8], T>,
    expected: usize,
    packet: &[u8],
) -> Result<(&'a [u8], T), Error> {
    found.map_err(|_| Error::TooShort { expected, found: packet.len() })
}
