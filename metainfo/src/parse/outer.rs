//! What lies around the info dictionary: trackers, seeds and remarks. What cannot be used is skipped.

use crate::ids::InfoHashV1;
use crate::text::{self, Charset};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bencode::{Dict, Value};

/// The part of a torrent that may change without changing its info-hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) web_seeds: Vec<String>,
    pub(crate) http_seeds: Vec<String>,
    pub(crate) nodes: Vec<(String, u16)>,
    pub(crate) comment: Option<String>,
    pub(crate) created_by: Option<String>,
    pub(crate) creation_date: Option<u64>,
    pub(crate) encoding: Option<String>,
    pub(crate) similar: Vec<InfoHashV1>,
    pub(crate) collections: Vec<String>,
}

impl Outer {
    /// `is_multi` says that a web seed is a folder, whose URL ends in a slash (BEP 19).
    pub(crate) fn parse(root: Dict<'_, '_>, is_multi: bool) -> Self {
        let charset = Charset::named(root.bytes("encoding"));
        let remark = |utf8: &str, plain: &str| {
            let bytes = root.bytes(utf8).filter(|b| !b.is_empty()).or_else(|| root.bytes(plain));
            bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| charset.decode(bytes))
        };
        Self {
            trackers: trackers(root),
            web_seeds: urls(root.get("url-list"), is_multi),
            http_seeds: urls(root.get("httpseeds"), false),
            nodes: nodes(root),
            comment: remark("comment.utf-8", "comment"),
            created_by: remark("created by.utf-8", "created by"),
            creation_date: root.int("creation date").and_then(|date| u64::try_from(date).ok()),
            encoding: root.bytes("encoding").map(text::decode),
            similar: similar(root),
            collections: collections(root),
        }
    }
}

/// `announce-list` as it is written; `announce` when it names no usable tracker (BEP 12).
fn trackers(root: Dict<'_, '_>) -> Vec<Vec<String>> {
    let mut tiers = Vec::new();
    for tier in root.list("announce-list").into_iter().flatten() {
        let urls: Vec<String> = tier.as_list().into_iter().flatten().filter_map(url).collect();
        if !urls.is_empty() {
            tiers.push(urls);
        }
    }
    if tiers.is_empty()
        && let Some(announce) = root.get("announce").and_then(url)
    {
        tiers.push(vec![announce]);
    }
    tiers
}

/// A URL or a list of URLs, each once (BEP 17, 19).
fn urls(value: Option<Value<'_, '_>>, folder: bool) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let found: Vec<String> = match value.as_list() {
        Some(list) => list.iter().filter_map(url).collect(),
        None => url(value).into_iter().collect(),
    };
    let mut seen = BTreeSet::new();
    let mut urls = Vec::new();
    for mut url in found {
        if folder && !url.ends_with('/') {
            url.push('/');
        }
        if seen.insert(url.clone()) {
            urls.push(url);
        }
    }
    urls
}

/// Text with a scheme, tidied.
fn url(value: Value<'_, '_>) -> Option<String> {
    text::checked_url(&text::decode(value.as_bytes()?))
}

/// DHT nodes as pairs of host and port (BEP 5).
fn nodes(root: Dict<'_, '_>) -> Vec<(String, u16)> {
    let node = |value: Value<'_, '_>| {
        let mut pair = value.as_list()?.iter();
        let host = pair.next()?.as_str().filter(|host| !host.is_empty())?;
        let port = u16::try_from(pair.next()?.as_int()?).ok().filter(|&port| port != 0)?;
        Some((String::from(host), port))
    };
    root.list("nodes").into_iter().flatten().filter_map(node).collect()
}

/// Torrents that may share files with this one (BEP 38).
pub(super) fn similar(dict: Dict<'_, '_>) -> Vec<InfoHashV1> {
    let hash = |value: Value<'_, '_>| Some(InfoHashV1(value.as_bytes()?.try_into().ok()?));
    dict.list("similar").into_iter().flatten().filter_map(hash).collect()
}

/// Names of collections this torrent is part of (BEP 38).
pub(super) fn collections(dict: Dict<'_, '_>) -> Vec<String> {
    dict.list("collections").into_iter().flatten().filter_map(|v| v.as_bytes()).map(text::decode).collect()
}
