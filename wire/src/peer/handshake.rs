use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::map_opt;

use super::{Error, PeerId, Reserved};
use crate::Decoded;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The first 68 bytes that each side sends (BEP 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What the sender speaks.
    pub reserved: Reserved,
    /// The v1 info-hash, or the v2 one cut to 20 bytes.
    pub info_hash: [u8; 20],
    /// The sender.
    pub peer_id: PeerId,
}

/// The first 48 bytes of a handshake. The answering side may speak once it has them: some peers send their id
/// only after they saw an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeHead {
    /// What the sender speaks.
    pub reserved: Reserved,
    /// The v1 info-hash, or the v2 one cut to 20 bytes.
    pub info_hash: [u8; 20],
}

impl Handshake {
    /// Bytes on the wire.
    pub const LEN: usize = 68;

    /// Reads a handshake at the start of `input`. Bytes that cannot become one fail as soon as they differ.
    pub fn parse(input: &[u8]) -> Result<Decoded<Self>, Error> {
        let Decoded::Complete { value: head, consumed } = HandshakeHead::parse(input)? else {
            return Ok(Decoded::Incomplete { needed: Self::LEN });
        };
        Ok(match input.get(consumed..).and_then(|rest| rest.first_chunk()) {
            Some(id) => Decoded::Complete { value: head.with_peer_id(PeerId(*id)), consumed: Self::LEN },
            None => Decoded::Incomplete { needed: Self::LEN },
        })
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let fields = PROTOCOL.iter().chain(&self.reserved.0).chain(&self.info_hash).chain(&self.peer_id.0);
        let mut out = [0; Self::LEN];
        for (to, from) in out.iter_mut().zip(fields) {
            *to = *from;
        }
        out
    }

    /// All but the peer id.
    pub fn head(&self) -> HandshakeHead {
        HandshakeHead { reserved: self.reserved, info_hash: self.info_hash }
    }
}

impl HandshakeHead {
    /// Bytes on the wire.
    pub const LEN: usize = 48;

    /// Reads the part of a handshake before the peer id.
    pub fn parse(input: &[u8]) -> Result<Decoded<Self>, Error> {
        if input.iter().zip(PROTOCOL).any(|(got, expected)| got != expected) {
            return Err(Error::NotBitTorrent);
        }
        Ok(match fields(input) {
            Ok((_, value)) => Decoded::Complete { value, consumed: Self::LEN },
            Err(_) => Decoded::Incomplete { needed: Self::LEN },
        })
    }

    /// The whole handshake, once the peer id came.
    pub fn with_peer_id(self, peer_id: PeerId) -> Handshake {
        Handshake { reserved: self.reserved, info_hash: self.info_hash, peer_id }
    }
}

fn fields(input: &[u8]) -> nom::IResult<&[u8], HandshakeHead> {
    let reserved = map_opt(take(8usize), |b: &[u8]| b.first_chunk().copied().map(Reserved));
    let info_hash = map_opt(take(20usize), |b: &[u8]| b.first_chunk().copied());
    (tag(&PROTOCOL[..]), reserved, info_hash)
        .map(|(_, reserved, info_hash)| HandshakeHead { reserved, info_hash })
        .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Handshake {
        Handshake {
            reserved: Reserved::NONE.with_fast().with_extended(),
            info_hash: core::array::from_fn(|i| i as u8),
            peer_id: PeerId(*b"-UC0100-abcdefghijkl"),
        }
    }

    #[test]
    fn what_is_encoded_is_parsed_back() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..20], b"\x13BitTorrent protocol");
        assert_eq!(Handshake::parse(&bytes), Ok(Decoded::Complete { value: sample(), consumed: 68 }));
    }

    #[test]
    fn every_prefix_is_incomplete_and_the_head_is_there_at_48() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert_eq!(Handshake::parse(&bytes[..end]), Ok(Decoded::Incomplete { needed: 68 }), "{end}");
            let head = HandshakeHead::parse(&bytes[..end]).unwrap();
            assert_eq!(head.complete(), (end >= 48).then(|| sample().head()), "{end}");
        }
    }

    #[test]
    fn another_protocol_fails_at_its_first_wrong_byte() {
        assert_eq!(Handshake::parse(b"G"), Err(Error::NotBitTorrent));
        assert_eq!(Handshake::parse(b"\x13BitTorrent protocoL"), Err(Error::NotBitTorrent));
        let mut bytes = sample().encode();
        bytes[7] ^= 1;
        assert_eq!(Handshake::parse(&bytes), Err(Error::NotBitTorrent));
    }
}
