//! Piece layers that are given to others, and taken from them.

use crate::build::build;
use crate::support::bytes;
use metainfo::merkle::Span;
use metainfo::{Builder, Edit, Torrent, Version};

/// Two equal long files, one that fits a piece, and one of two pieces of 16 KiB.
fn torrent() -> Torrent {
    let long = bytes(16384 * 700 + 5, 1);
    let files = [("copy", long.clone()), ("long", long), ("short", bytes(9, 2)), ("two", bytes(20000, 3))];
    build(Builder::folder("f").version(Version::V2).piece_length(16384), &files)
}

#[test]
fn layers_that_one_side_gives_make_the_other_side_whole() {
    let whole = torrent();
    assert_eq!(whole.lacking_layers(), []);
    assert_eq!(whole.layer_hashes(), 701 + 2);
    let bare = Torrent::from_info(whole.info_bytes()).unwrap();
    let lacking = bare.lacking_layers();
    let mut pieces: Vec<u32> = lacking.iter().map(|layer| layer.pieces).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [2, 701]);
    let mut layers = Vec::new();
    for layer in &lacking {
        let mut hashes = Vec::new();
        while hashes.len() < layer.pieces as usize {
            let left = layer.pieces - hashes.len() as u32;
            let length = left.next_power_of_two().clamp(2, 512);
            let span = Span::proven(layer.tree, layer.base, hashes.len() as u32, length).unwrap();
            let answer =
                whole.tree_hashes(&layer.root, span.base(), span.index(), span.length(), span.proof_layers());
            let answer = answer.unwrap();
            assert!(span.proves(&answer, &layer.root));
            hashes.extend(answer.into_iter().take(length.min(left) as usize));
        }
        layers.push((layer.root, hashes));
    }
    let mut edit = Edit::from_info(bare.info_bytes()).unwrap();
    edit.set_piece_layers(layers.iter().map(|(root, layer)| (root, &layer[..])));
    let fetched = Torrent::parse(&edit.finish().unwrap()).unwrap();
    assert!(fetched.has_piece_layers());
    for file in 0..4 {
        assert_eq!(fetched.piece_layer(file), whole.piece_layer(file));
    }
}

#[test]
fn only_what_is_in_a_known_tree_is_given() {
    let whole = torrent();
    let root = *whole.layout().files()[0].root.clone().unwrap();
    let small = *whole.layout().files()[2].root.clone().unwrap();
    assert!(whole.tree_hashes(&root, 0, 0, 512, 9).is_some());
    assert_eq!(whole.tree_hashes(&[7; 32], 0, 0, 512, 9), None, "no file");
    assert_eq!(whole.tree_hashes(&small, 0, 0, 2, 0), None, "a file without a layer");
    assert_eq!(whole.tree_hashes(&root, 0, 0, 512, 10), None, "more proofs than layers");
    assert_eq!(whole.tree_hashes(&root, 0, 1024, 512, 9), None, "outside");
    let bare = Torrent::from_info(whole.info_bytes()).unwrap();
    assert_eq!(bare.tree_hashes(&root, 0, 0, 512, 9), None, "no layers");
}
