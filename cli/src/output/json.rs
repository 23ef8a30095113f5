//! JSON for programs: what a torrent or magnet says. Sizes are in bytes, times in seconds since 1970.

use anyhow::Result;
use metainfo::{File, InfoHashes, Magnet, Torrent, TorrentId};
use serde::Serialize;

/// A value as one line with its end.
pub(crate) fn line(value: &impl Serialize) -> Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

/// The names of a torrent.
#[derive(Serialize)]
pub(crate) struct Hashes {
    /// The 20 bytes used on the network.
    info_hash: String,
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
}

impl Hashes {
    pub(crate) fn of(hashes: &InfoHashes) -> Self {
        Self {
            info_hash: TorrentId::to_hex(&hashes.id()),
            info_hash_v1: hashes.v1().map(|hash| hash.to_hex()),
            info_hash_v2: hashes.v2().map(|hash| hash.to_hex()),
        }
    }
}

/// A torrent file.
#[derive(Serialize)]
pub(crate) struct TorrentJson<'a> {
    kind: &'static str,
    name: &'a str,
    #[serde(flatten)]
    hashes: Hashes,
    version: &'static str,
    size: u64,
    piece_length: u32,
    pieces: u32,
    private: bool,
    source: Option<&'a str>,
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    creation_date: Option<u64>,
    encoding: Option<&'a str>,
    trackers: &'a [Vec<String>],
    web_seeds: &'a [String],
    http_seeds: &'a [String],
    nodes: Vec<String>,
    similar: Vec<String>,
    collections: &'a [String],
    magnet: String,
    files: Vec<FileJson<'a>>,
}

/// A file of a torrent.
#[derive(Serialize)]
pub(crate) struct FileJson<'a> {
    index: usize,
    path: &'a str,
    size: u64,
    executable: bool,
    hidden: bool,
    symlink: Option<&'a str>,
}

impl<'a> TorrentJson<'a> {
    pub(crate) fn of(torrent: &'a Torrent) -> Self {
        Self {
            kind: "torrent",
            name: torrent.name(),
            hashes: Hashes::of(torrent.info_hashes()),
            version: super::torrent::version(torrent.info_hashes()),
            size: torrent.layout().payload(),
            piece_length: torrent.geometry().piece_length(),
            pieces: torrent.geometry().piece_count(),
            private: torrent.private(),
            source: torrent.source(),
            comment: torrent.comment(),
            created_by: torrent.created_by(),
            creation_date: torrent.creation_date(),
            encoding: torrent.encoding(),
            trackers: torrent.trackers(),
            web_seeds: torrent.web_seeds(),
            http_seeds: torrent.http_seeds(),
            nodes: torrent.nodes().iter().map(super::torrent::host_port).collect(),
            similar: torrent.similar().iter().map(|hash| hash.to_hex()).collect(),
            collections: torrent.collections(),
            magnet: Magnet::of(torrent).to_string(),
            files: FileJson::all(torrent),
        }
    }
}

impl<'a> FileJson<'a> {
    /// The files of a torrent that are stored.
    pub(crate) fn all(torrent: &'a Torrent) -> Vec<Self> {
        stored_files(torrent).map(|(index, file)| Self::of(index, file)).collect()
    }

    fn of(index: usize, file: &'a File) -> Self {
        Self {
            index,
            path: file.path.as_str(),
            size: file.length,
            executable: file.attributes.executable,
            hidden: file.attributes.hidden,
            symlink: file.symlink.as_ref().map(|path| path.as_str()),
        }
    }
}

/// The files that are stored, with their indices in the torrent.
pub(crate) fn stored_files(torrent: &Torrent) -> impl Iterator<Item = (usize, &File)> {
    torrent.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad())
}

/// A magnet link.
#[derive(Serialize)]
pub(crate) struct MagnetJson<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    #[serde(flatten)]
    hashes: Hashes,
    size: Option<u64>,
    trackers: &'a [String],
    web_seeds: &'a [String],
    peers: Vec<String>,
    /// Ranges of file indices, both ends included.
    select: Vec<[u32; 2]>,
    magnet: String,
}

impl<'a> MagnetJson<'a> {
    pub(crate) fn of(magnet: &'a Magnet) -> Self {
        Self {
            kind: "magnet",
            name: magnet.name.as_deref(),
            hashes: Hashes::of(&magnet.info_hashes),
            size: magnet.length,
            trackers: &magnet.trackers,
            web_seeds: &magnet.web_seeds,
            peers: magnet.peers.iter().map(super::torrent::host_port).collect(),
            select: magnet.select.iter().map(|range| [*range.start(), *range.end()]).collect(),
            magnet: magnet.to_string(),
        }
    }
}
