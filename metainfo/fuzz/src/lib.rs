//! What has to hold for any input. The fuzz targets look for inputs that break it; a test replays the
//! corpora.

use metainfo::merkle::{Height, Span};
use metainfo::path::{MAX_DEPTH, MAX_PART, clean_part_or_underscore};
use metainfo::{BLOCK, Edit, Magnet, Torrent};
use std::collections::BTreeSet;

/// A file that is accepted describes content that can be laid out and checked, and can be edited without
/// changing it.
pub fn torrent(data: &[u8]) {
    // The info dictionary alone is the other way in.
    let _ = Torrent::from_info(data);
    let Ok(torrent) = Torrent::parse(data) else { return };
    files(&torrent);
    pieces(&torrent);
    trees(&torrent);
    let edited = Edit::new(data).and_then(Edit::finish).expect("what is accepted can be edited");
    let mut again = Torrent::parse(&edited).expect("what is edited is accepted");
    assert_eq!(again, torrent);
    again = Torrent::from_info(torrent.info_bytes()).expect("the info dictionary is accepted alone");
    assert_eq!(again.info_hashes(), torrent.info_hashes());
    assert_eq!(again.layout(), torrent.layout());
    assert_eq!(Magnet::of(&torrent).info_hashes, *torrent.info_hashes());
}

/// Every file has a path of its own below the download folder.
fn files(torrent: &Torrent) {
    let mut seen = BTreeSet::new();
    let mut end = 0;
    for file in torrent.layout().files() {
        safe_path(file.path.parts());
        assert!(file.path.parts().count() <= MAX_DEPTH);
        assert!(file.is_pad() || seen.insert(file.path.as_str().to_ascii_lowercase()), "{}", file.path);
        if let Some(target) = &file.symlink {
            safe_path(target.parts());
            assert_eq!(file.length, 0);
        }
        assert!(file.offset >= end || file.length == 0);
        end = end.max(file.end());
    }
    safe_path([torrent.name()].into_iter());
}

/// Every piece is covered by files exactly, and says how it is checked. Of many pieces only some are looked
/// at.
fn pieces(torrent: &Torrent) {
    let geometry = torrent.geometry();
    for piece in geometry.pieces().step_by(geometry.piece_count() as usize / 1000 + 1) {
        let covered: u64 = torrent.layout().segments(geometry.whole(piece)).map(|s| u64::from(s.len)).sum();
        assert_eq!(covered, u64::from(geometry.piece_len(piece)));
        let check = torrent.piece_check(piece);
        assert_eq!(check.v1().is_some(), torrent.info_hashes().v1().is_some());
        assert_eq!(check.v2().is_some(), torrent.info_hashes().v2().is_some());
        if let Some(v2) = check.v2() {
            assert!(v2.width.is_power_of_two() && v2.leaves <= v2.width);
            assert!(v2.data > 0 && v2.data <= geometry.piece_len(piece));
        }
    }
}

/// What is known of a file's tree is proven by its root, and by no other; what is lacking can be asked for.
fn trees(torrent: &Torrent) {
    for (at, file) in torrent.layout().files().iter().enumerate().take(100) {
        let (Some(root), Some(layer)) = (&file.root, torrent.piece_layer(at)) else { continue };
        let base = torrent.geometry().piece_length().ilog2() - BLOCK.ilog2();
        let tree = Height::of_file(file.length);
        let length = (layer.len() as u32).next_power_of_two().min(512);
        let last = (layer.len() as u32 - 1) / length * length;
        let span = Span::proven(tree, base, last, length).expect("it lies in the tree");
        let answer = torrent.tree_hashes(root, base, last, length, span.proof_layers());
        let answer = answer.expect("a layer that is known is given");
        assert!(span.proves(&answer, root));
        assert!(!span.proves(&answer, &[1; 32]));
        assert_eq!(answer.first(), layer.get(last as usize));
    }
    for layer in torrent.lacking_layers() {
        assert!(layer.pieces >= 2 && Span::proven(layer.tree, layer.base, 0, 2).is_some());
    }
}

/// A magnet that is accepted is printed and read as the same.
pub fn magnet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(magnet) = Magnet::parse(text) {
        assert_eq!(Magnet::parse(&magnet.to_string()).as_ref(), Ok(&magnet), "{magnet}");
    }
}

/// Any bytes make a safe part of a path, and cleaning is done when it was done once.
pub fn path(data: &[u8]) {
    let part = clean_part_or_underscore(data);
    safe_path([part.as_str()].into_iter());
    assert_eq!(clean_part_or_underscore(part.as_bytes()), part);
}

fn safe_path<'a>(parts: impl Iterator<Item = &'a str>) {
    let mut count = 0;
    for part in parts {
        assert!(!part.is_empty() && part.len() <= MAX_PART && part != "." && part != "..", "{part:?}");
        assert!(!part.contains(['/', '\\']) && !part.chars().any(char::is_control), "{part:?}");
        assert!(!part.ends_with(['.', ' ']), "{part:?}");
        count += 1;
    }
    assert!(count > 0);
}
