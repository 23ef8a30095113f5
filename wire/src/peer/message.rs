use alloc::vec::Vec;

use super::frame::Frame;
use super::{Error, Expected, HashRequest, Hashes, Limits};
use crate::Decoded;

/// Message ids (BEP 3, 5, 6, 10, 52).
pub(super) mod id {
    pub(crate) const CHOKE: u8 = 0;
    pub(crate) const UNCHOKE: u8 = 1;
    pub(crate) const INTERESTED: u8 = 2;
    pub(crate) const NOT_INTERESTED: u8 = 3;
    pub(crate) const HAVE: u8 = 4;
    pub(crate) const BITFIELD: u8 = 5;
    pub(crate) const REQUEST: u8 = 6;
    pub(crate) const PIECE: u8 = 7;
    pub(crate) const CANCEL: u8 = 8;
    pub(crate) const PORT: u8 = 9;
    pub(crate) const SUGGEST: u8 = 13;
    pub(crate) const HAVE_ALL: u8 = 14;
    pub(crate) const HAVE_NONE: u8 = 15;
    pub(crate) const REJECT: u8 = 16;
    pub(crate) const ALLOWED_FAST: u8 = 17;
    pub(crate) const EXTENDED: u8 = 20;
    pub(crate) const HASH_REQUEST: u8 = 21;
    pub(crate) const HASHES: u8 = 22;
    pub(crate) const HASH_REJECT: u8 = 23;
}

/// One message of the peer protocol. All numbers are as the peer sent them: nothing says that they fit the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Nothing; keeps the connection alive.
    KeepAlive,
    /// The sender will not serve requests.
    Choke,
    /// The sender will serve requests.
    Unchoke,
    /// The sender wants pieces that the receiver has.
    Interested,
    /// The sender wants nothing.
    NotInterested,
    /// The sender now has this piece.
    Have(u32),
    /// The pieces that the sender has, one bit each; see [`Bitfield::from_bytes`](super::Bitfield::from_bytes).
    Bitfield(&'a [u8]),
    /// Asks for a block.
    Request(Request),
    /// The header of a block. `len` bytes of payload follow it on the stream, and are no part of this value.
    Piece {
        /// The piece.
        index: u32,
        /// Offset in the piece, bytes.
        begin: u32,
        /// Bytes of payload that follow.
        len: u32,
    },
    /// Takes a request back.
    Cancel(Request),
    /// UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// The sender would like the receiver to fetch this piece (BEP 6).
    Suggest(u32),
    /// Stands for a full bitfield (BEP 6).
    HaveAll,
    /// Stands for an empty bitfield (BEP 6).
    HaveNone,
    /// This request will not be served (BEP 6).
    Reject(Request),
    /// This piece is served even while choked (BEP 6).
    AllowedFast(u32),
    /// An extension message (BEP 10).
    Extended {
        /// 0 is the extension handshake; others are the numbers that the *receiver* of the message gave out.
        id: u8,
        /// What follows the inner id.
        payload: &'a [u8],
    },
    /// Asks for hashes of a v2 file (BEP 52).
    HashRequest(HashRequest),
    /// Hashes of a v2 file (BEP 52).
    Hashes(Hashes<'a>),
    /// These hashes will not be sent (BEP 52).
    HashReject(HashRequest),
    /// A message of an extension that is not known here.
    Unknown {
        /// The message's id.
        id: u8,
        /// Its body.
        payload: &'a [u8],
    },
}

/// A range of bytes within a piece, as asked for, taken back or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// The piece.
    pub index: u32,
    /// Offset in the piece, bytes.
    pub begin: u32,
    /// Length, bytes.
    pub len: u32,
}

impl<'a> Message<'a> {
    /// Reads the first message of `input`. A [`Piece`](Self::Piece) is complete at 13 bytes, with its payload not
    /// consumed. Lengths that are wrong or over the limits fail before the body came.
    pub fn parse(input: &'a [u8], limits: &Limits) -> Result<Decoded<Self>, Error> {
        let (value, consumed) = match Frame::read(input, limits)? {
            Frame::Needs(needed) => return Ok(Decoded::Incomplete { needed }),
            Frame::KeepAlive => (Self::KeepAlive, 4),
            Frame::Ready { id, body, payload } => {
                // Lengths were checked, so this cannot fail.
                let wrong = Error::Length { id: Some(id), expected: Expected::AtLeast(1), found: 0 };
                (Self::from_body(id, body, payload).ok_or(wrong)?, 5 + body.len())
            }
        };
        Ok(Decoded::Complete { value, consumed })
    }

    fn from_body(id: u8, body: &'a [u8], payload: u32) -> Option<Self> {
        Some(match id {
            id::CHOKE => Self::Choke,
            id::UNCHOKE => Self::Unchoke,
            id::INTERESTED => Self::Interested,
            id::NOT_INTERESTED => Self::NotInterested,
            id::HAVE => Self::Have(number(body)?),
            id::BITFIELD => Self::Bitfield(body),
            id::REQUEST => Self::Request(Request::parse(body)?),
            id::PIECE => {
                let [index, begin] = numbers(body)?;
                Self::Piece { index, begin, len: payload }
            }
            id::CANCEL => Self::Cancel(Request::parse(body)?),
            id::PORT => Self::Port(u16::from_be_bytes(*body.first_chunk()?)),
            id::SUGGEST => Self::Suggest(number(body)?),
            id::HAVE_ALL => Self::HaveAll,
            id::HAVE_NONE => Self::HaveNone,
            id::REJECT => Self::Reject(Request::parse(body)?),
            id::ALLOWED_FAST => Self::AllowedFast(number(body)?),
            id::EXTENDED => {
                let (&id, payload) = body.split_first()?;
                Self::Extended { id, payload }
            }
            id::HASH_REQUEST => Self::HashRequest(HashRequest::split(body)?.0),
            id::HASHES => {
                let (request, hashes) = HashRequest::split(body)?;
                Self::Hashes(Hashes { request, hashes: hashes.as_chunks().0 })
            }
            id::HASH_REJECT => Self::HashReject(HashRequest::split(body)?.0),
            id => Self::Unknown { id, payload: body },
        })
    }

    /// Appends the message to `out`; for a [`Piece`](Self::Piece), its 13-byte header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::KeepAlive => out.extend_from_slice(&[0; 4]),
            Self::Choke => bare(id::CHOKE, out),
            Self::Unchoke => bare(id::UNCHOKE, out),
            Self::Interested => bare(id::INTERESTED, out),
            Self::NotInterested => bare(id::NOT_INTERESTED, out),
            Self::Have(piece) => indexed(id::HAVE, piece, out),
            Self::Bitfield(bits) => with_body(id::BITFIELD, &[], bits, out),
            Self::Request(request) => request.encode(id::REQUEST, out),
            Self::Piece { index, begin, len } => {
                out.extend_from_slice(&piece_header(index, begin, len));
            }
            Self::Cancel(request) => request.encode(id::CANCEL, out),
            Self::Port(port) => with_body(id::PORT, &[], &port.to_be_bytes(), out),
            Self::Suggest(piece) => indexed(id::SUGGEST, piece, out),
            Self::HaveAll => bare(id::HAVE_ALL, out),
            Self::HaveNone => bare(id::HAVE_NONE, out),
            Self::Reject(request) => request.encode(id::REJECT, out),
            Self::AllowedFast(piece) => indexed(id::ALLOWED_FAST, piece, out),
            Self::Extended { id, payload } => with_body(id::EXTENDED, &[id], payload, out),
            Self::HashRequest(request) => {
                head(id::HASH_REQUEST, HashRequest::LEN, out);
                request.encode(out);
            }
            Self::Hashes(Hashes { request, hashes }) => {
                let hashes = hashes.as_flattened();
                head(id::HASHES, HashRequest::LEN + hashes.len(), out);
                request.encode(out);
                out.extend_from_slice(hashes);
            }
            Self::HashReject(request) => {
                head(id::HASH_REJECT, HashRequest::LEN, out);
                request.encode(out);
            }
            Self::Unknown { id, payload } => with_body(id, &[], payload, out),
        }
    }
}

impl Request {
    fn parse(body: &[u8]) -> Option<Self> {
        let [index, begin, len] = numbers(body)?;
        Some(Self { index, begin, len })
    }

    fn encode(self, id: u8, out: &mut Vec<u8>) {
        let mut bytes = [0, 0, 0, 13, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let [.., a, b, c, d, e, f, g, h, i, j, k, l] = &mut bytes;
        [*a, *b, *c, *d] = self.index.to_be_bytes();
        [*e, *f, *g, *h] = self.begin.to_be_bytes();
        [*i, *j, *k, *l] = self.len.to_be_bytes();
        out.extend_from_slice(&bytes);
    }
}

fn number(body: &[u8]) -> Option<u32> {
    numbers(body).map(|[number]| number)
}

/// The numbers that a body starts with.
fn numbers<const N: usize>(body: &[u8]) -> Option<[u32; N]> {
    Some(body.as_chunks().0.first_chunk::<N>()?.map(u32::from_be_bytes))
}

fn bare(id: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 1, id]);
}

fn indexed(id: u8, piece: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = piece.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 5, id, a, b, c, d]);
}

fn piece_header(index: u32, begin: u32, len: u32) -> [u8; 13] {
    // A block near 4 GiB has no length prefix; no receiver would take it either.
    let [l0, l1, l2, l3] = len.saturating_add(9).to_be_bytes();
    let [i0, i1, i2, i3] = index.to_be_bytes();
    let [b0, b1, b2, b3] = begin.to_be_bytes();
    [l0, l1, l2, l3, id::PIECE, i0, i1, i2, i3, b0, b1, b2, b3]
}

fn with_body(id: u8, first: &[u8], rest: &[u8], out: &mut Vec<u8>) {
    head(id, first.len() + rest.len(), out);
    out.extend_from_slice(first);
    out.extend_from_slice(rest);
}

fn head(id: u8, body: usize, out: &mut Vec<u8>) {
    out.reserve(5 + body);
    let [a, b, c, d] = u32::try_from(body + 1).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[a, b, c, d, id]);
}
