use alloc::vec::Vec;
use core::net::SocketAddr;

use bencode::{Encoder, Options};

use super::{Error, MAX_PACKET, MAX_TRANSACTION, Query, Refusal, Reply, address};

/// Bytes of the longest program version that is kept.
const MAX_VERSION: usize = 16;

/// A value of 1000 bytes has at most 500 tokens.
const OPTIONS: Options =
    Options { max_depth: 100, max_tokens: 600, max_size: MAX_PACKET, ..Options::lenient() };

/// A packet from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// `t`: chosen by who asks, and repeated in the answer.
    pub transaction: &'a [u8],
    /// What it says.
    pub body: Body<'a>,
    /// `ro`: the sender answers no queries and belongs in no routing table (BEP 43). Only queries say so.
    pub read_only: bool,
    /// `v`: the sender's program, usually two letters and a version in two bytes.
    pub version: Option<&'a [u8]>,
    /// `ip`: the receiver's address as the sender sees it (BEP 42).
    pub ip: Option<SocketAddr>,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Asks for something.
    Query(Query<'a>),
    /// Answers a query.
    Reply(Reply<'a>),
    /// Refuses a query.
    Error(Refusal<'a>),
}

impl<'a> Packet<'a> {
    /// A packet that says nothing of its sender.
    pub const fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self { transaction, body, read_only: false, version: None, ip: None }
    }

    /// Reads a packet. Careless bencode is forgiven, as are bytes behind the packet.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Error<'a>> {
        let document = OPTIONS.decode(packet).map_err(Error::Bencode)?;
        let dict = document.root().as_dict().ok_or(Error::NotADictionary)?;
        let transaction =
            dict.bytes("t").filter(|id| id.len() <= MAX_TRANSACTION).ok_or(Error::Transaction)?;
        let body = match dict.bytes("y").ok_or(Error::Kind)? {
            b"q" => {
                let query = Query::read(dict.bytes("q"), dict.dict("a"));
                Body::Query(query.map_err(|refusal| Error::Query { transaction, refusal })?)
            }
            b"r" => {
                let reply = dict.dict("r").and_then(Reply::read);
                Body::Reply(reply.ok_or(Error::Reply { transaction })?)
            }
            b"e" => Body::Error(Refusal::read(dict.get("e"))),
            _ => return Err(Error::Kind),
        };
        Ok(Self {
            transaction,
            read_only: matches!(body, Body::Query(_)) && dict.int("ro") == Some(1),
            body,
            version: dict.bytes("v").filter(|version| version.len() <= MAX_VERSION),
            ip: dict.bytes("ip").and_then(address::read),
        })
    }

    /// Appends the packet. It is not cut: whoever fills a reply keeps it short.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(None, out);
    }

    /// Appends the packet with a key that means nothing (`pad`), so that it has about `least` bytes or more: nodes that answer
    /// an address that may be forged with a few bytes for each that came from it have more to give.
    pub fn encode_padded(&self, least: usize, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write(None, out);
        let missing = least.saturating_sub(out.len().saturating_sub(begin)).min(MAX_PACKET);
        if missing > 0 {
            out.truncate(begin);
            self.write(Some(missing), out);
        }
    }

    fn write(&self, padding: Option<usize>, out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(out);
        encoder.dict(|packet| {
            if let Some(len) = padding {
                packet.bytes("pad", alloc::vec![b'0'; len]);
            }
            packet.bytes("t", self.transaction);
            if let Some(version) = self.version {
                packet.bytes("v", version);
            }
            if let Some(ip) = &self.ip {
                packet.bytes("ip", address::compact(ip));
            }
            match &self.body {
                Body::Query(query) => {
                    packet.bytes("y", b"q");
                    if self.read_only {
                        packet.int("ro", 1);
                    }
                    query.write(packet);
                }
                Body::Reply(reply) => {
                    packet.bytes("y", b"r");
                    packet.dict("r", |r| reply.write(r));
                }
                Body::Error(refusal) => {
                    packet.bytes("y", b"e");
                    refusal.write(packet);
                }
            }
        });
        // The keys above differ and all numbers fit, so there is nothing to fail.
        let _ = encoder.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn padding_makes_a_packet_longer_and_means_nothing() {
        let query = Query { id: [1; 20], method: Method::Ping };
        let packet = Packet::new(b"aa", Body::Query(query));
        let (mut plain, mut padded) = (Vec::new(), Vec::new());
        packet.encode(&mut plain);
        for least in [0, plain.len(), 100, 470] {
            padded.clear();
            packet.encode_padded(least, &mut padded);
            assert!(
                (least..=least.max(plain.len()) + 12).contains(&padded.len()),
                "{least}: {}",
                padded.len()
            );
            assert_eq!(Packet::parse(&padded), Ok(packet.clone()));
        }
    }
}
