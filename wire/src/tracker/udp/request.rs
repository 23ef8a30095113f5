use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::IpAddr;

use nom::bytes::complete::take;
use nom::combinator::map_opt;
use nom::number::complete::{be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

use super::{Error, action, options};
use crate::peer::PeerId;
use crate::tracker::{AnnounceRequest, Event};

/// What makes a connect request one.
const MAGIC: u64 = 0x0417_2710_1980;

/// Bytes before the part that differs.
const HEAD: usize = 16;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Asks for a connection id.
    Connect {
        /// Chosen at random; comes back in the reply.
        transaction: u32,
    },
    /// Announces.
    Announce {
        /// From the reply to a connect request, at most a minute ago.
        connection: u64,
        /// Chosen at random; comes back in the reply.
        transaction: u32,
        /// What is announced. HTTP-only fields are not sent.
        announce: AnnounceRequest,
        /// Path and query of the tracker's URL (BEP 41); see [`url_data`](super::url_data).
        url_data: Cow<'a, [u8]>,
    },
    /// Asks for counts.
    Scrape {
        /// From the reply to a connect request, at most a minute ago.
        connection: u64,
        /// Chosen at random; comes back in the reply.
        transaction: u32,
        /// The torrents: about 74 fit a packet.
        hashes: Hashes<'a>,
    },
}

/// The torrents of a scrape.
pub type Hashes<'a> = Cow<'a, [[u8; 20]]>;

impl<'a> Request<'a> {
    /// Reads a packet that came to a tracker. Bytes beyond what is known are skipped.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Error> {
        let head: IResult<_, _> = (be_u64, be_u32, be_u32).parse(packet);
        let (body, (connection, kind, transaction)) = head.map_err(|_| short(HEAD, packet))?;
        match kind {
            action::CONNECT if connection == MAGIC => Ok(Self::Connect { transaction }),
            action::CONNECT => Err(Error::Magic(connection)),
            action::ANNOUNCE => {
                let (rest, announce) = announce(body).map_err(|_| short(98, packet))?;
                Ok(Self::Announce { connection, transaction, announce, url_data: options::read(rest) })
            }
            action::SCRAPE => {
                let hashes = Cow::Borrowed(body.as_chunks().0);
                Ok(Self::Scrape { connection, transaction, hashes })
            }
            other => Err(Error::Action(other)),
        }
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (connection, kind, transaction) = match self {
            Self::Connect { transaction } => (MAGIC, action::CONNECT, *transaction),
            Self::Announce { connection, transaction, .. } => (*connection, action::ANNOUNCE, *transaction),
            Self::Scrape { connection, transaction, .. } => (*connection, action::SCRAPE, *transaction),
        };
        out.extend_from_slice(&connection.to_be_bytes());
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&transaction.to_be_bytes());
        match self {
            Self::Connect { .. } => {}
            Self::Announce { announce, url_data, .. } => {
                write_announce(announce, out);
                options::write(url_data, out);
            }
            Self::Scrape { hashes, .. } => out.extend_from_slice(hashes.as_flattened()),
        }
    }
}

fn announce(body: &[u8]) -> IResult<&[u8], AnnounceRequest> {
    let hash = || map_opt(take(20usize), |b: &[u8]| b.first_chunk::<20>().copied());
    let counts = (be_u64, be_u64, be_u64);
    let (rest, (info_hash, peer_id, (downloaded, left, uploaded))) = (hash(), hash(), counts).parse(body)?;
    let (rest, (event, ip, key, num_want, port)) = (be_u32, be_u32, be_u32, be_u32, be_u16).parse(rest)?;
    let announce = AnnounceRequest {
        downloaded,
        left,
        uploaded,
        event: event_of(event),
        key,
        // The default is -1; other negative numbers mean no more.
        num_want: i32::try_from(num_want).ok().and_then(|count| u32::try_from(count).ok()),
        ip: (ip != 0).then(|| IpAddr::V4(ip.into())),
        ..AnnounceRequest::new(info_hash, PeerId(peer_id), port)
    };
    Ok((rest, announce))
}

fn write_announce(announce: &AnnounceRequest, out: &mut Vec<u8>) {
    let ip = match announce.ip {
        Some(IpAddr::V4(ip)) => ip.to_bits(),
        _ => 0,
    };
    // The field is signed, and -1 is the default.
    let most = i32::MAX.unsigned_abs();
    let num_want = announce.num_want.map_or(u32::MAX, |count| count.min(most));
    out.extend_from_slice(&announce.info_hash);
    out.extend_from_slice(&announce.peer_id.0);
    for amount in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&amount.to_be_bytes());
    }
    for number in [event_number(announce.event), ip, announce.key, num_want] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&announce.port.to_be_bytes());
}

fn event_number(event: Event) -> u32 {
    match event {
        Event::None | Event::Paused => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    }
}

fn event_of(number: u32) -> Event {
    match number {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => Event::None,
    }
}

fn short(expected: usize, packet: &[u8]) -> Error {
    Error::TooShort { expected, found: packet.len() }
}
