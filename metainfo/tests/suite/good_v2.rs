//! Odd v2 and hybrid torrents that are accepted, and what is made of them.

use crate::good::{Case, links, names, pads};
use crate::support::*;
use metainfo::{PieceCheck, Torrent};

#[test]
fn odd_v2_torrents_are_accepted() {
    for (name, torrent, check) in cases() {
        match Torrent::parse(&torrent.encode()) {
            Ok(torrent) => check(&torrent),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [single_files(), folders(), padded(), empty_files()].concat()
}

/// Whether the torrent has a v1 and a v2 info-hash.
fn sides(torrent: &Torrent) -> (bool, bool) {
    (torrent.info_hashes().v1().is_some(), torrent.info_hashes().v2().is_some())
}

fn single_files() -> Vec<Case> {
    let small = tree(65536, dict([("test64K", leaf(65536, [9; 32]))])).with("name", "test64K");
    let hybrid = |info: V, length: i64, pieces: usize| {
        info.with("length", length).with("pieces", vec![7; 20 * pieces].as_slice())
    };
    vec![
        ("v2", torrent(hybrid(small, 65536, 1)).with("piece layers", dict([])), |t| {
            assert_eq!((sides(t), names(t)), ((true, true), vec!["test64K"]));
            let PieceCheck::Both(v1, v2) = t.piece_check(t.geometry().piece(0).unwrap()) else {
                panic!("both")
            };
            assert_eq!((v1, v2.root, v2.data, v2.leaves, v2.width), (&[7; 20], Some(&[9; 32]), 65536, 4, 4));
        }),
        ("v2_multipiece_file", map_info(v2_single(), |info| hybrid(info, MIB, 16)), |t| {
            assert_eq!((sides(t), t.geometry().piece_count()), ((true, true), 16));
            assert!(t.has_piece_layers());
        }),
        ("v2_only", v2_single(), |t| {
            assert_eq!((sides(t), names(t)), ((false, true), vec!["test1MB"]));
            let last = t.piece_check(t.geometry().piece(15).unwrap()).v2().unwrap();
            assert_eq!(last.root, Some(&t.piece_layer(0).unwrap()[15]));
        }),
        ("v2_no_piece_layers", v2_single().without("piece layers"), |t| {
            assert_eq!((sides(t), t.has_piece_layers()), ((false, true), false));
            let first = t.piece_check(t.geometry().piece(0).unwrap()).v2().unwrap();
            assert_eq!((first.root, first.width), (None, 4));
        }),
        (
            "v2_invalid_filename",
            torrent(
                tree(65536, V::Dict(vec![(b"\x82est/MB".to_vec(), leaf(9, [9; 32]))]))
                    .with("name", &b"\x82est/MB"[..]),
            ),
            |t| assert_eq!(names(t), ["_estMB"]),
        ),
    ]
}

fn folders() -> Vec<Case> {
    let piece = 1 << 20;
    let (a, a_layer) = layer(1000, piece, 1);
    let (b, b_layer) = layer(1001, piece, 2);
    let files = dict([
        ("a", leaf(1_048_576_000, a)),
        ("b", leaf(1_048_576_200, b)),
        ("c", leaf(5, [3; 32])),
        ("d", dict([("e", leaf(1_048_576_000, a))])),
    ]);
    let layers = |layers: Vec<(&[u8; 32], &Vec<u8>)>| {
        V::Dict(layers.into_iter().map(|(root, layer)| (root.to_vec(), layer.as_slice().into())).collect())
    };
    let many = torrent(tree(i64::from(piece), files));
    let names_with =
        dict([("//", leaf(9, [1; 32])), ("\\", leaf(9, [2; 32])), ("stress_test2", leaf(9, [3; 32]))]);
    let link = |target: &[&str]| {
        dict([("", dict([("attr", "xl".into()), ("length", 0.into()), ("symlink path", list(target))]))])
    };
    let framework = dict([
        ("Headers", link(&["Versions", "Current", "Headers"])),
        ("Out", link(&["..", "..", "etc", "passwd"])),
        ("Versions", dict([("Current", dict([("Headers", dict([("SDL.h", leaf(4210, [1; 32]))]))]))])),
    ]);
    vec![
        (
            "v2_multiple_files",
            many.clone().with("piece layers", layers(vec![(&a, &a_layer), (&b, &b_layer)])),
            |t| {
                assert_eq!(names(t), ["test/a", "test/b", "test/c", "test/d/e"]);
                assert!(t.has_piece_layers(), "files of equal content share a layer");
                assert_eq!(t.geometry().piece_count(), 3002);
                let short = t.geometry().piece(2000).unwrap();
                assert_eq!(t.geometry().piece_len(short), 200);
                let check = t.piece_check(short).v2().unwrap();
                assert_eq!((check.data, check.leaves, check.width), (200, 1, 64));
                let alone = t.piece_check(t.geometry().piece(2001).unwrap()).v2().unwrap();
                assert_eq!((alone.root, alone.width), (Some(&[3; 32]), 1));
                assert_eq!(t.piece_layer(0), t.piece_layer(3));
                let last = t.piece_check(t.geometry().piece(3001).unwrap()).v2().unwrap();
                assert_eq!(last.root, Some(&t.piece_layer(0).unwrap()[999]));
            },
        ),
        ("v2_incomplete_piece_layer", many.with("piece layers", layers(vec![(&b, &b_layer)])), |t| {
            assert!(!t.has_piece_layers());
            let check = |n| t.piece_check(t.geometry().piece(n).unwrap()).v2().unwrap().root.is_some();
            assert_eq!([check(0), check(1000), check(2001), check(2002)], [false, true, true, false]);
        }),
        ("v2_invalid_filename2", torrent(tree(MIB, names_with)), |t| {
            assert_eq!(names(t), ["test/_", "test/_.1", "test/stress_test2"]);
        }),
        ("v2_symlinks", torrent(tree(16384, framework)), |t| {
            assert_eq!(names(t)[2], "test/Versions/Current/Headers/SDL.h");
            assert_eq!(links(t), ["test/Versions/Current/Headers", "test/etc/passwd"]);
            assert!(t.layout().files()[0].attributes.executable);
        }),
    ]
}

fn pad(length: i64) -> V {
    file(length, &[".pad", &length.to_string()]).with("attr", "p")
}

fn padded() -> Vec<Case> {
    let hybrid = |files: Vec<V>, pieces: usize| {
        let tree = tree(
            16384,
            dict([("a", leaf(10000, [1; 32])), ("b", leaf(16384, [2; 32])), ("c", leaf(1, [3; 32]))]),
        );
        torrent(tree.with("files", files).with("pieces", vec![7; 20 * pieces].as_slice()))
    };
    let files = || vec![file(10000, &["a"]), pad(6384), file(16384, &["b"]), file(1, &["c"])];
    let with_tail = [files(), vec![pad(16383)]].concat();
    let empty = dict([
        ("file1", leaf(16384, [1; 32])),
        ("file2", dict([("", dict([("length", 0.into())]))])),
        ("file3", leaf(16384, [2; 32])),
    ]);
    let empty = tree(16384, empty)
        .with("files", vec![file(16384, &["file1"]), file(0, &["file2"]), file(16384, &["file3"])])
        .with("pieces", [7; 40]);
    vec![
        ("v2_hybrid", hybrid(with_tail, 3), |t| {
            assert_eq!(pads(t), [false, true, false, false, true]);
            let last = t.geometry().piece(2).unwrap();
            assert_eq!(t.geometry().piece_len(last), 16384, "the pad is part of the v1 piece");
            assert_eq!(t.piece_check(last).v2().map(|v2| (v2.data, v2.width)), Some((1, 1)));
        }),
        ("v2_hybrid-missing-tailpad", hybrid(files(), 3), |t| {
            let last = t.geometry().piece(2).unwrap();
            assert_eq!(t.geometry().piece_len(last), 1);
            assert_eq!(t.layout().files()[3].root.as_deref(), Some(&[3; 32]));
        }),
        ("v2_empty_file", torrent(empty), |t| {
            assert_eq!(names(t), ["test/file1", "test/file2", "test/file3"]);
            assert_eq!(t.layout().files()[1].root, None);
        }),
    ]
}

/// Hybrid torrents of a large and a small file among empty ones, named by size in order.
fn empty_files() -> Vec<Case> {
    type Sizes = (&'static str, [i64; 6], fn(&Torrent));
    let sizes: [Sizes; 5] = [
        ("empty-files-1", [0, 512, 51200, 0, 0, 0], |t| assert_eq!(t.layout().file_pieces(3), Some(1..=4))),
        ("empty-files-2", [512, 0, 51200, 0, 0, 0], |t| assert_eq!(t.layout().file_pieces(0), Some(0..=0))),
        ("empty-files-3", [512, 51200, 0, 0, 0, 0], |t| assert_eq!(t.layout().file_pieces(2), Some(1..=4))),
        ("empty-files-4", [0, 0, 0, 0, 51200, 512], |t| assert_eq!(t.layout().file_pieces(4), Some(0..=3))),
        ("empty-files-5", [0, 0, 0, 0, 512, 51200], |t| assert_eq!(t.layout().file_pieces(6), Some(1..=4))),
    ];
    let (large, layer) = layer(4, 16384, 5);
    let case = |(name, sizes, check): Sizes| {
        let mut entries = Vec::new();
        let mut files = Vec::new();
        let mut at = 0;
        for (index, size) in sizes.into_iter().enumerate() {
            let path = format!("{}-file", index + 1);
            // As older programs did it: the pad stands before the next file that is not empty.
            if size > 0 && at % 16384 != 0 {
                files.push(pad(16384 - at % 16384));
                at += 16384 - at % 16384;
            }
            at += size;
            files.push(file(size, &[&path]));
            let root: V = if size > 16384 { large.into() } else { [8; 32].into() };
            let empty = dict([("", dict([("length", 0.into())]))]);
            entries.push((path.into_bytes(), if size > 0 { leaf(size, root) } else { empty }));
        }
        let info = tree(16384, V::Dict(entries)).with("files", files);
        let pieces = usize::try_from((at + 16383) / 16384).unwrap();
        let info = info.with("pieces", vec![7; 20 * pieces].as_slice());
        let layers = V::Dict(vec![(large.into(), layer.as_slice().into())]);
        (name, torrent(info).with("piece layers", layers), check)
    };
    sizes.into_iter().map(case).collect()
}
