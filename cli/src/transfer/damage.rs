//! A file that cannot be read as it should be, for a person.

use std::path::PathBuf;

use metainfo::Torrent;
use storage::{StorageError, Trouble};
use swarm::engine::TorrentStatus;

use crate::output::human::count;

/// What is wrong with the file, and how many pieces it costs. Looks at the file, on a thread that may wait for its disk.
pub(super) async fn tell(
    error: &StorageError,
    torrent: Option<&Torrent>,
    status: &TorrentStatus,
) -> (String, u32) {
    let layout = torrent.map(Torrent::layout);
    let mut files = layout.map(|layout| layout.files()).unwrap_or_default().iter();
    let index = files.position(|file| error.path.ends_with(file.path.as_str()));
    let path = error.path.display();
    let (what, pieces) = match (error.trouble(), torrent.zip(index)) {
        (Trouble::Short, Some((torrent, index))) => {
            let (found, length) = (length(error.path.clone()).await, torrent.layout().files()[index].length);
            let what = format!("file {path} is shorter than the torrent says: {found} of {length} bytes");
            (what, pieces_behind(torrent, index, found))
        }
        (Trouble::Missing, Some((torrent, index))) => {
            (format!("file {path} is not there"), pieces_behind(torrent, index, 0))
        }
        _ => (super::start::advised(error), status.unreadable),
    };
    let are = if pieces == 1 { "is" } else { "are" };
    (format!("{what}; {} {are} not served", count(pieces.into(), "piece")), pieces)
}

async fn length(path: PathBuf) -> u64 {
    let look = move || std::fs::metadata(path).map_or(0, |found| found.len());
    tokio::task::spawn_blocking(look).await.unwrap_or(0)
}

/// Pieces with bytes of a file from this one on.
fn pieces_behind(torrent: &Torrent, index: usize, from: u64) -> u32 {
    let (layout, geometry) = (torrent.layout(), torrent.geometry());
    let start = layout.files()[index].offset.saturating_add(from);
    let pieces = layout.file_pieces(index).into_iter().flatten().filter_map(|at| geometry.piece(at).ok());
    let behind =
        pieces.filter(|piece| geometry.piece_start(*piece) + u64::from(geometry.piece_len(*piece)) > start);
    behind.count() as u32
}
