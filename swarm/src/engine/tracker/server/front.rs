//! The two ways of asking: HTTP targets and UDP packets.

use std::net::{IpAddr, SocketAddr};

use wire::tracker::http::{
    PeerForm, QueryError, encode_announce_reply, encode_failure, encode_scrape_reply, parse_announce_query,
    parse_scrape_query,
};
use wire::tracker::udp::{Reply, Request};
use wire::tracker::{AnnounceReply, Failure};

use super::store::Server;
use crate::engine::time::Time;
use crate::engine::tracker::Family;
use crate::engine::tracker::udp::MAX_SCRAPE;

/// An HTTP answer: status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 200, or 404 for a path that is neither `/announce` nor `/scrape`.
    pub status: u16,
    /// Bencode, also when it refuses; empty with 404.
    pub body: Vec<u8>,
}

impl Server {
    /// Answers a GET of `target` (path and query) by a client at `from`.
    pub fn http(&mut self, now: Time, from: IpAddr, target: &str) -> HttpAnswer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut body = Vec::new();
        let result = match path {
            "/announce" => self.http_announce(now, from, query.as_bytes(), &mut body),
            "/scrape" => self.http_scrape(now, query.as_bytes(), &mut body),
            _ => return HttpAnswer { status: 404, body },
        };
        if let Err(failure) = result {
            encode_failure(&failure, &mut body);
        }
        HttpAnswer { status: 200, body }
    }

    fn http_announce(
        &mut self,
        now: Time,
        from: IpAddr,
        query: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let request = parse_announce_query(query).map_err(refusal)?;
        let reply = self.announce(now, from, &request)?;
        let form = if request.compact { PeerForm::Compact } else { PeerForm::Dictionaries };
        encode_announce_reply(&reply, form, body);
        Ok(())
    }

    fn http_scrape(&mut self, now: Time, query: &[u8], body: &mut Vec<u8>) -> Result<(), Failure> {
        let mut hashes = parse_scrape_query(query).map_err(refusal)?;
        hashes.truncate(MAX_SCRAPE);
        encode_scrape_reply(&self.scrape(now, &hashes), body);
        Ok(())
    }

    /// Answers a datagram: appends the answer to `out`, and returns whether there is one. An answer to an address that
    /// was not proven by a connection id is never longer than the question.
    pub fn udp(&mut self, now: Time, from: SocketAddr, packet: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(request) = Request::parse(packet) else { return false };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let reply = match request {
            Request::Connect { transaction } => {
                Reply::Connect { transaction, connection: self.connections.id(now, from) }
            }
            Request::Announce { connection, .. } | Request::Scrape { connection, .. }
                if !self.connections.is_valid(now, from, connection) =>
            {
                return false;
            }
            Request::Announce { transaction, announce, .. } => {
                match self.announce_for(now, from.ip(), &announce, |ip| ip.is_ipv4() == from.is_ipv4()) {
                    Ok(reply) => Reply::Announce { transaction, reply: whole(reply) },
                    Err(failure) => Reply::Error { transaction, message: failure.reason },
                }
            }
            Request::Scrape { transaction, hashes, .. } => {
                let hashes = hashes.get(..MAX_SCRAPE).unwrap_or(&hashes);
                let found = self.scrape(now, hashes);
                let counts = hashes.iter().map(|hash| found.get(hash).copied().unwrap_or_default());
                Reply::Scrape { transaction, counts: counts.collect() }
            }
        };
        reply.encode(Family::of(from.ip()).into(), out);
        true
    }
}

/// Keeps an answer within one packet that no link splits: the IPv6 form has 18 bytes for a peer.
fn whole(mut reply: AnnounceReply) -> AnnounceReply {
    const FITS: usize = (1232 - 20) / 18;
    if reply.peers.first().is_some_and(SocketAddr::is_ipv6) {
        reply.peers.truncate(FITS);
    }
    reply
}

fn refusal(error: QueryError) -> Failure {
    Failure { reason: error.to_string(), retry_in: None }
}
