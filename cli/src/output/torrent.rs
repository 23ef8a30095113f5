//! Text for people about torrents and magnets.

use std::fmt::Write;

use metainfo::{InfoHashes, Magnet, Torrent};

use super::human::{DIM, Fields, count, exact_size, moment, piece_size, plain, size};
use super::json::stored_files;

/// What kind of torrent has these hashes.
pub(crate) fn version(hashes: &InfoHashes) -> &'static str {
    match (hashes.v1(), hashes.v2()) {
        (Some(_), Some(_)) => "hybrid",
        (None, Some(_)) => "v2",
        _ => "v1",
    }
}

/// A host and a port as one word.
pub(crate) fn host_port((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What names a torrent and how large it is.
pub(crate) fn summary(fields: &mut Fields, torrent: &Torrent) {
    let files = stored_files(torrent).count() as u64;
    let (geometry, payload) = (torrent.geometry(), torrent.layout().payload());
    fields.add("name", torrent.name());
    hashes(fields, torrent.info_hashes());
    let holder =
        if torrent.layout().is_multi() { format!(" in {}", count(files, "file")) } else { String::new() };
    fields.add("size", exact_size(payload) + &holder);
    let (pieces, length) = (geometry.piece_count(), piece_size(geometry.piece_length()));
    fields.add("pieces", format!("{pieces} of {length}"));
}

/// Everything that a torrent file says, but for its files.
pub(crate) fn torrent(torrent: &Torrent) -> String {
    let mut fields = Fields::default();
    summary(&mut fields, torrent);
    if torrent.private() {
        fields.add("private", "yes, peers come from its trackers only");
    }
    fields.add_some("source", torrent.source());
    fields.add_some("comment", torrent.comment());
    fields.add_some("created by", torrent.created_by());
    fields.add_some("created", torrent.creation_date().map(moment));
    for tier in torrent.trackers() {
        fields.add("trackers", tier.join("  "));
    }
    list(&mut fields, "web seeds", torrent.web_seeds());
    list(&mut fields, "http seeds", torrent.http_seeds());
    list(&mut fields, "nodes", &torrent.nodes().iter().map(host_port).collect::<Vec<_>>());
    list(&mut fields, "similar", &torrent.similar().iter().map(|hash| hash.to_hex()).collect::<Vec<_>>());
    list(&mut fields, "collections", torrent.collections());
    fields.add("magnet", Magnet::of(torrent).to_string());
    fields.finish()
}

/// What a magnet link says.
pub(crate) fn magnet(magnet: &Magnet) -> String {
    let mut fields = Fields::default();
    fields.add_some("name", magnet.name.as_deref());
    hashes(&mut fields, &magnet.info_hashes);
    fields.add_some("size", magnet.length.map(exact_size));
    list(&mut fields, "trackers", &magnet.trackers);
    list(&mut fields, "web seeds", &magnet.web_seeds);
    list(&mut fields, "peers", &magnet.peers.iter().map(host_port).collect::<Vec<_>>());
    for range in &magnet.select {
        let (first, last) = (range.start(), range.end());
        fields.add("files", if first == last { first.to_string() } else { format!("{first} to {last}") });
    }
    fields.finish()
}

/// The files with their indices, sizes and paths. Those that are not chosen are marked.
pub(crate) fn files(torrent: &Torrent, is_chosen: impl Fn(usize) -> bool) -> String {
    let mut text = String::new();
    for (index, file) in stored_files(torrent) {
        let link = file.symlink.as_ref().map(|to| format!(" -> {}", plain(to.as_str()))).unwrap_or_default();
        let path = plain(file.path.as_str());
        // Writing to a string cannot fail.
        let skipped = if is_chosen(index) { "" } else { "  (skipped)" };
        let _ = writeln!(text, "{DIM}{index:>5}{DIM:#}  {:>10}  {path}{link}{skipped}", size(file.length));
    }
    text
}

fn hashes(fields: &mut Fields, hashes: &InfoHashes) {
    fields.add_some("info-hash", hashes.v1().map(|hash| hash.to_hex()));
    fields.add_some("info-hash v2", hashes.v2().map(|hash| hash.to_hex()));
}

fn list(fields: &mut Fields, label: &str, items: &[String]) {
    for item in items {
        fields.add(label, item);
    }
}
