use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use bencode::{Dict, Encoder, Options, Value};

use super::ReplyError;
use crate::lenient;
use crate::tracker::compact::{keep, read_v4, read_v6, write_v4, write_v6};
use crate::tracker::{AnnounceReply, Failure, RetryIn};

/// Characters kept of a reason or a warning.
const MAX_TEXT: usize = 512;

/// Bytes of the longest tracker id that is kept.
const MAX_TRACKER_ID: usize = 1024;

/// Enough for 20,000 peers in dictionary form; a token costs 16 bytes of memory.
const OPTIONS: Options = Options { max_tokens: 200_000, max_size: 2 << 20, ..Options::lenient() };

/// How a reply lists peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerForm {
    /// 6 bytes for a peer in `peers` (BEP 23), 18 in `peers6` (BEP 7).
    #[default]
    Compact,
    /// A dictionary for each, without peer id (BEP 3).
    Dictionaries,
}

/// Reads the body of a reply to an announce: at most 2 MiB. Values of wrong types count as missing.
pub fn parse_announce_reply(body: &[u8]) -> Result<AnnounceReply, ReplyError> {
    let document = OPTIONS.decode(body)?;
    let dict = answer(document.root())?;
    let mut peers = Vec::new();
    if let Some(value) = dict.get("peers") {
        read_peers(value, read_v4, &mut peers);
    }
    if let Some(value) = dict.get("peers6") {
        read_peers(value, read_v6, &mut peers);
    }
    let count = |key: &str| dict.get(key).and_then(lenient::count);
    let reply = AnnounceReply {
        interval: count("interval"),
        min_interval: count("min interval"),
        seeders: count("complete"),
        leechers: count("incomplete"),
        downloaded: count("downloaded"),
        peers,
        warning: dict.bytes("warning message").map(|text| lenient::text(text, MAX_TEXT)),
        tracker_id: dict.bytes("tracker id").filter(|id| id.len() <= MAX_TRACKER_ID).map(<[u8]>::to_vec),
        external_ip: dict.bytes("external ip").and_then(lenient::address),
    };
    if reply == AnnounceReply::default() && dict.get("peers").or_else(|| dict.get("peers6")).is_none() {
        return Err(ReplyError::NotAnAnswer);
    }
    Ok(reply)
}

/// Appends the body of a reply to an announce.
pub fn encode_announce_reply(reply: &AnnounceReply, form: PeerForm, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(out);
    encoder.dict(|d| {
        let numbers = [
            ("interval", reply.interval),
            ("min interval", reply.min_interval),
            ("complete", reply.seeders),
            ("incomplete", reply.leechers),
            ("downloaded", reply.downloaded),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                d.int(key, number);
            }
        }
        match form {
            PeerForm::Compact => {
                let mut bytes = Vec::new();
                write_v4(&reply.peers, &mut bytes);
                d.bytes("peers", &bytes);
                bytes.clear();
                write_v6(&reply.peers, &mut bytes);
                if !bytes.is_empty() {
                    d.bytes("peers6", &bytes);
                }
            }
            PeerForm::Dictionaries => d.list("peers", |list| {
                for peer in &reply.peers {
                    list.dict(|d| {
                        d.bytes("ip", alloc::format!("{}", peer.ip()));
                        d.int("port", peer.port());
                    });
                }
            }),
        }
        if let Some(warning) = &reply.warning {
            d.bytes("warning message", warning);
        }
        if let Some(id) = &reply.tracker_id {
            d.bytes("tracker id", id);
        }
        match reply.external_ip {
            Some(IpAddr::V4(ip)) => d.bytes("external ip", ip.octets()),
            Some(IpAddr::V6(ip)) => d.bytes("external ip", ip.octets()),
            None => {}
        }
    });
    // The keys above differ and all numbers fit, so there is nothing to fail.
    let _ = encoder.finish();
}

/// Appends the body that refuses an announce or a scrape.
pub fn encode_failure(failure: &Failure, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(out);
    encoder.dict(|d| {
        d.bytes("failure reason", &failure.reason);
        match failure.retry_in {
            Some(RetryIn::Minutes(minutes)) => d.int("retry in", minutes),
            Some(RetryIn::Never) => d.bytes("retry in", "never"),
            None => {}
        }
    });
    let _ = encoder.finish();
}

/// The dictionary of a reply that is no refusal.
pub(super) fn answer<'d, 'a>(root: Value<'d, 'a>) -> Result<Dict<'d, 'a>, ReplyError> {
    let dict = root.as_dict().ok_or(ReplyError::NotADictionary)?;
    let Some(reason) = dict.get("failure reason") else {
        return Ok(dict);
    };
    let reason = lenient::text(reason.as_bytes().unwrap_or_default(), MAX_TEXT);
    Err(ReplyError::Failure(Failure { reason, retry_in: dict.get("retry in").and_then(retry_in) }))
}

fn retry_in(value: Value<'_, '_>) -> Option<RetryIn> {
    match value.as_bytes() {
        Some(b"never") => Some(RetryIn::Never),
        _ => lenient::count(value).map(RetryIn::Minutes),
    }
}

fn read_peers(value: Value<'_, '_>, compact: fn(&[u8], &mut Vec<SocketAddr>), peers: &mut Vec<SocketAddr>) {
    if let Some(bytes) = value.as_bytes() {
        compact(bytes, peers);
    } else if let Some(list) = value.as_list() {
        keep(peers, list.iter().filter_map(peer));
    }
}

fn peer(value: Value<'_, '_>) -> Option<SocketAddr> {
    let dict = value.as_dict()?;
    let ip = dict.str("ip")?;
    // Some trackers write IPv6 addresses as URLs do.
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    Some((ip.parse::<IpAddr>().ok()?, lenient::port(dict.get("port")?)?).into())
}
