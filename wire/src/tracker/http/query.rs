use alloc::string::String;
use core::fmt::Write as _;
use core::net::IpAddr;

use super::QueryError;
use super::percent::{escape, pairs, start_query};
use crate::peer::PeerId;
use crate::tracker::{AnnounceRequest, Event};

/// Bytes of the longest query that is read.
pub(super) const MAX_QUERY: usize = 8 << 10;

/// Bytes of the longest tracker id that is told back.
const MAX_TRACKER_ID: usize = 1024;

/// The URL to fetch: `announce` with its own query kept, and the request appended.
pub fn announce_url(announce: &str, request: &AnnounceRequest) -> String {
    let mut url = start_query(announce);
    url.push_str("info_hash=");
    escape(&request.info_hash, &mut url);
    url.push_str("&peer_id=");
    escape(&request.peer_id.0, &mut url);
    let AnnounceRequest { port, uploaded, downloaded, left, key, .. } = request;
    let compact = u8::from(request.compact);
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        url,
        "&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}&key={key:08X}&compact={compact}"
    );
    if request.no_peer_id {
        url.push_str("&no_peer_id=1");
    }
    if let Some(event) = event_name(request.event) {
        let _ = write!(url, "&event={event}");
    }
    if let Some(count) = request.num_want {
        let _ = write!(url, "&numwant={count}");
    }
    let ipv4 = request.ipv4.map(|ip| ("ipv4", IpAddr::V4(ip)));
    let ipv6 = request.ipv6.map(|ip| ("ipv6", IpAddr::V6(ip)));
    for (name, ip) in [request.ip.map(|ip| ("ip", ip)), ipv4, ipv6].into_iter().flatten() {
        let _ = write!(url, "&{name}=");
        escape(alloc::format!("{ip}").as_bytes(), &mut url);
    }
    if let Some(id) = &request.tracker_id {
        url.push_str("&trackerid=");
        escape(id, &mut url);
    }
    url
}

/// Reads the query of an announce, as a tracker gets it. The first value of a repeated key counts; unknown keys, and
/// optional ones with values that make no sense, are ignored.
pub fn parse_announce_query(query: &[u8]) -> Result<AnnounceRequest, QueryError> {
    if query.len() > MAX_QUERY {
        return Err(QueryError::TooLong { limit: MAX_QUERY, found: query.len() });
    }
    let first =
        |key: &str| pairs(query).find(|(found, _)| **found == *key.as_bytes()).map(|(_, value)| value);
    let hash = |key: &'static str| {
        let value = first(key).ok_or(QueryError::Missing(key))?;
        <[u8; 20]>::try_from(&*value).map_err(|_| QueryError::Invalid(key))
    };
    let amount = |key: &'static str| match first(key) {
        None => Ok(0),
        Some(value) => parse::<u64>(&value).ok_or(QueryError::Invalid(key)),
    };
    let port = first("port").ok_or(QueryError::Missing("port"))?;
    Ok(AnnounceRequest {
        info_hash: hash("info_hash")?,
        peer_id: PeerId(hash("peer_id")?),
        port: parse(&port).ok_or(QueryError::Invalid("port"))?,
        uploaded: amount("uploaded")?,
        downloaded: amount("downloaded")?,
        left: amount("left")?,
        event: first("event").map_or(Event::None, |name| event_of(&name)),
        key: first("key").and_then(|key| parse_key(&key)).unwrap_or(0),
        num_want: first("numwant").and_then(|count| parse(&count)),
        compact: first("compact").is_some_and(|value| *value == *b"1"),
        no_peer_id: first("no_peer_id").is_some_and(|value| *value == *b"1"),
        ip: first("ip").and_then(|ip| parse(&ip)),
        ipv4: first("ipv4").and_then(|ip| parse(&ip)),
        ipv6: first("ipv6").and_then(|ip| parse(&ip)),
        tracker_id: first("trackerid").filter(|id| id.len() <= MAX_TRACKER_ID).map(|id| id.into_owned()),
    })
}

fn event_name(event: Event) -> Option<&'static str> {
    match event {
        Event::None => None,
        Event::Started => Some("started"),
        Event::Completed => Some("completed"),
        Event::Stopped => Some("stopped"),
        Event::Paused => Some("paused"),
    }
}

fn event_of(name: &[u8]) -> Event {
    match name {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        b"paused" => Event::Paused,
        _ => Event::None,
    }
}

fn parse<T: core::str::FromStr>(value: &[u8]) -> Option<T> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

/// Keys are opaque; those of most clients are up to 8 hex digits.
fn parse_key(value: &[u8]) -> Option<u32> {
    u32::from_str_radix(core::str::from_utf8(value).ok()?, 16).ok()
}
