use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bencode::{Encoder, Options};

use super::percent::{escape, pairs, start_query};
use super::query::MAX_QUERY;
use super::reply::answer;
use super::{QueryError, ReplyError};
use crate::lenient;
use crate::tracker::ScrapeCounts;

/// Torrents kept from one reply.
const MAX_TORRENTS: usize = 10_000;

const OPTIONS: Options = Options { max_tokens: 200_000, max_size: 2 << 20, ..Options::lenient() };

/// Where to scrape the tracker of an announce URL: the same URL, with `announce` at the start of the last part of
/// its path replaced by `scrape`. A tracker whose URL has no such part cannot be scraped (BEP 48).
pub fn scrape_url(announce: &str) -> Option<String> {
    let host = announce.find("://")? + 3;
    let path_end = announce.find(['?', '#']).unwrap_or(announce.len());
    let last = announce.get(host..path_end)?.rfind('/')? + host + 1;
    let (before, part) = announce.split_at_checked(last)?;
    let rest = part.strip_prefix("announce")?;
    Some(alloc::format!("{before}scrape{rest}"))
}

/// The URL to fetch: a scrape URL, and the torrents asked about.
pub fn scrape_request_url(scrape: &str, info_hashes: &[[u8; 20]]) -> String {
    let mut url = start_query(scrape);
    for (i, hash) in info_hashes.iter().enumerate() {
        url.push_str(if i == 0 { "info_hash=" } else { "&info_hash=" });
        escape(hash, &mut url);
    }
    url
}

/// Reads the query of a scrape, as a tracker gets it.
pub fn parse_scrape_query(query: &[u8]) -> Result<Vec<[u8; 20]>, QueryError> {
    if query.len() > MAX_QUERY {
        return Err(QueryError::TooLong { limit: MAX_QUERY, found: query.len() });
    }
    let hashes = pairs(query).filter(|(key, _)| **key == *b"info_hash");
    hashes
        .map(|(_, hash)| <[u8; 20]>::try_from(&*hash).map_err(|_| QueryError::Invalid("info_hash")))
        .collect()
}

/// Reads the body of a reply to a scrape: at most 2 MiB and 10,000 torrents.
pub fn parse_scrape_reply(body: &[u8]) -> Result<BTreeMap<[u8; 20], ScrapeCounts>, ReplyError> {
    let document = OPTIONS.decode(body)?;
    let files = answer(document.root())?.dict("files").ok_or(ReplyError::NotAnAnswer)?;
    let counts = files.iter().filter_map(|(hash, value)| {
        let dict = value.as_dict()?;
        let count = |key: &str| dict.get(key).and_then(lenient::count).unwrap_or(0);
        let counts = ScrapeCounts {
            seeders: count("complete"),
            downloaded: count("downloaded"),
            leechers: count("incomplete"),
        };
        Some((hash.try_into().ok()?, counts))
    });
    Ok(counts.take(MAX_TORRENTS).collect())
}

/// Appends the body of a reply to a scrape.
pub fn encode_scrape_reply(files: &BTreeMap<[u8; 20], ScrapeCounts>, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(out);
    encoder.dict(|d| {
        d.dict("files", |d| {
            for (hash, counts) in files {
                d.dict(hash, |d| {
                    d.int("complete", counts.seeders);
                    d.int("downloaded", counts.downloaded);
                    d.int("incomplete", counts.leechers);
                });
            }
        });
    });
    // Keys of a map differ, so there is nothing to fail.
    let _ = encoder.finish();
}
