//! Torrents that are refused, and why.

use crate::support::*;
use metainfo::{Error, GeometryError, LayerError, MAX_COLLISIONS, Mismatch, Part, Torrent, path::MAX_DEPTH};

type Case = (&'static str, V, Error);

#[test]
fn bad_torrents_are_refused_for_the_right_reason() {
    for (name, torrent, error) in cases() {
        assert_eq!(Torrent::parse(&torrent.encode()).map(|_| ()), Err(error), "{name}");
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [names_and_lengths(), hashes_and_counts(), trees(), layers(), hybrids()].concat()
}

/// A case that differs from the usual folder of two files in one key of the info dictionary.
fn info(name: &'static str, key: &str, value: impl Into<V>, error: Error) -> Case {
    (name, torrent(foo_bar().with(key, value)), error)
}

fn names_and_lengths() -> Vec<Case> {
    let piece_length = |found| Error::PieceLength { found };
    let length = |found| Error::Length { found };
    let files = |files: Vec<V>| torrent(multi(files));
    vec![
        ("missing_piece_len", torrent(foo_bar().without("piece length")), piece_length(None)),
        info("invalid_piece_len", "piece length", "16384", piece_length(None)),
        info("negative_piece_len", "piece length", -16384, piece_length(Some(-16384))),
        ("no_name", torrent(foo_bar().without("name")), Error::MissingName),
        info("invalid_name", "name", 1348, Error::MissingName),
        // A name whose dictionary is cut short: what should be another key stands inside of it.
        ("bad_name", V::Raw(b"d4:infod6:lengthi1e4:name4:\0\0\0\0\0ee".to_vec()), bad_name()),
        (
            "missing_path_list",
            files(vec![file(425, &["x"]).without("path"), file(425, &["foo", "var.txt"])]),
            Error::MissingName,
        ),
        (
            "invalid_path_list",
            files(vec![file(425, &[]).with("path", vec![1242.into(), "foo".into(), "bar.txt".into()])]),
            Error::InvalidPath,
        ),
        (
            "invalid_symlink",
            files(vec![
                file(425, &["a"]),
                file(425, &["a"])
                    .with("attr", "l")
                    .with("path", vec!["b".into(), "symlink path".into(), list(&["foo", "bar"])]),
            ]),
            Error::InvalidPath,
        ),
        ("invalid_info", torrent("files".into()), Error::MissingInfo),
        ("string", "libtorrent".into(), Error::NotDictionary(Part::Root)),
        ("negative_size", torrent(single().with("length", -425)), length(Some(-425))),
        ("negative_file_size", files(vec![file(-45, &["foo"]), file(24124, &["var"])]), length(Some(-45))),
        ("invalid_file_size", files(vec![file(0, &["foo"]).with("length", vec![45.into()])]), length(None)),
        ("zero", torrent(single().with("length", 0).with("pieces", "")), Error::Empty),
        (
            "zero2",
            files(vec![file(0, &["a"]), file(0, &[".pad", "0"]).with("attr", "p"), file(0, &["b"])]),
            Error::Empty,
        ),
        ("no_files", files(vec![]), Error::NoFiles),
        (
            "duplicate_files2",
            files(vec![file(5, &["foo", "bar.txt"]); 118]),
            Error::DuplicateNames { max: MAX_COLLISIONS },
        ),
    ]
}

fn bad_name() -> Error {
    let broken = b"d4:infod6:lengthi1e4:name4:\0\0\0\0\0ee";
    let Err(error) = bencode::decode(broken) else { panic!("a byte that is no key") };
    Error::Bencode(error)
}

fn hashes_and_counts() -> Vec<Case> {
    let count = |n| Error::PieceCount(GeometryError::PieceCount(n));
    vec![
        info("invalid_pieces", "pieces", -23, Error::MissingPieces),
        info("unaligned_pieces", "pieces", [1; 24], Error::PieceHashes { expected: 20, found: 24 }),
        ("many_pieces", torrent(single().with("length", 1_759_218_597_889)), count(107_374_183)),
        (
            "v2_large_offset",
            torrent(tree(
                MIB,
                V::Dict((0..8u8).map(|i| (vec![b'1' + i], leaf((1 << 44) - 32768, [9; 32]))).collect()),
            )),
            count(((1 << 44) - 32768) / 1_048_576 + 1),
        ),
    ]
}

fn trees() -> Vec<Case> {
    let one = |length: i64, root: [u8; 32]| torrent(tree(65536, dict([("test1MB", leaf(length, root))])));
    let piece_length = |n| torrent(tree(n, dict([("test1MB", leaf(MIB, [9; 32]))])));
    let leaf_with = |key: &str, value: V| {
        let entry = dict([("length", MIB.into()), ("pieces root", [9; 32].into())]).with(key, value);
        torrent(tree(65536, dict([("test1MB", dict([("", entry)]))])))
    };
    let deep = (0..1500).fold(V::from(1), |inner, _| dict([("a", inner)]));
    let names = |first: &str, second: &str| {
        let file =
            |name: &str| format!("{}:{name}d0:d6:lengthi7e11:pieces root32:{}ee", name.len(), "r".repeat(32));
        V::Raw(format!("d{}{}e", file(first), file(second)).into())
    };
    let at = |torrent: &V, text: &str| {
        torrent.encode().windows(text.len()).position(|w| w == text.as_bytes()).unwrap()
    };
    let unordered = torrent(tree(16384, names("test2.txt", "test1.txt")));
    let overlong = torrent(tree(16384, names("a", "b")).with("piece length", V::Raw(b"i016384e".to_vec())));
    let not_canonical = |torrent: &V, text: &str| Error::NotCanonical { offset: at(torrent, text) };
    let (unordered_at, overlong_at) =
        (not_canonical(&unordered, "9:test1"), not_canonical(&overlong, "016384"));
    vec![
        ("v2_no_power2_piece", piece_length(32767), Error::PieceLength { found: Some(32767) }),
        ("v2_piece_size", piece_length(0x7fff_ffff), Error::PieceLength { found: Some(0x7fff_ffff) }),
        ("v2_large_file", one((1 << 44) - 16384, [9; 32]), Error::Length { found: Some((1 << 44) - 16384) }),
        ("v2_zero_root", one(MIB, [0; 32]), Error::PiecesRoot),
        ("v2_zero_root_small", one(32768, [0; 32]), Error::PiecesRoot),
        (
            "v2_missing_file_root_invalid_symlink",
            torrent(tree(
                MIB,
                dict([
                    ("a", dict([("", dict([("length", 1000.into())]))])),
                    ("b", dict([("", dict([("attr", "l".into()), ("length", 1000.into())]))])),
                ]),
            )),
            Error::PiecesRoot,
        ),
        ("v2_invalid_pad_file", leaf_with("attr", "p".into()), Error::PadFile),
        (
            "v2_invalid_file",
            torrent(tree(
                65536,
                dict([("test64K", dict([("length", 65536.into()), ("pieces root", [9; 32].into())]))]),
            )),
            Error::FileTree,
        ),
        (
            "v2_empty_filename",
            torrent(tree(65536, dict([("", leaf(MIB, [9; 32])), ("#", leaf(MIB, [9; 32]))]))),
            Error::FileTree,
        ),
        ("v2_deep_recursion", torrent(tree(65536, deep.clone())), too_deep(&torrent(tree(65536, deep)))),
        ("v2_unordered_files", unordered, unordered_at),
        ("v2_overlong_integer", overlong, overlong_at),
    ]
}

fn too_deep(torrent: &V) -> Error {
    let encoded = torrent.encode();
    let Err(error) = bencode::decode(&encoded) else { panic!("too deep") };
    assert!(matches!(error, bencode::Error::TooDeep { limit: MAX_DEPTH, .. }));
    Error::Bencode(error)
}

fn layers() -> Vec<Case> {
    let (root, hashes) = layer(16, 65536, 1);
    let (other, _) = layer(16, 65536, 2);
    let layer_error = Error::PieceLayer;
    let size = |found| layer_error(LayerError::Size { expected: 512, found });
    let changed: Vec<u8> = hashes.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 300)).collect();
    let wrong_root =
        map_info(v2_single(), |info| info.with("file tree", dict([("test1MB", leaf(MIB, other))])));
    let wrong_root = wrong_root.with("piece layers", V::Dict(vec![(other.into(), hashes.as_slice().into())]));
    let two =
        V::Dict(vec![(root.into(), hashes.as_slice().into()), (other.into(), hashes.as_slice().into())]);
    vec![
        (
            "v2_non_multiple_piece_layer",
            with_layer(&root, [b"a", &hashes[..]].concat().as_slice()),
            size(513),
        ),
        (
            "v2_piece_layer_invalid_file_hash",
            with_layer(&[b"a", &root[..]].concat(), hashes.as_slice()),
            layer_error(LayerError::Shape),
        ),
        ("v2_invalid_piece_layer", with_layer(&root, 512), layer_error(LayerError::Shape)),
        ("v2_invalid_piece_layer_root", with_layer(&root, changed.as_slice()), layer_error(LayerError::Root)),
        (
            "v2_unknown_piece_layer_entry",
            v2_single().with("piece layers", two),
            layer_error(LayerError::Unknown),
        ),
        (
            "v2_invalid_piece_layer_size",
            with_layer(&root, [&hashes[..], &hashes[..]].concat().as_slice()),
            size(1024),
        ),
        ("v2_invalid_root_hash", wrong_root, layer_error(LayerError::Root)),
    ]
}

fn hybrids() -> Vec<Case> {
    let two = dict([("a", leaf(20000, [1; 32])), ("b", leaf(100, [2; 32]))]);
    let pad = |n: i64| file(n, &[".pad", "0"]).with("attr", "p");
    let files = |files: Vec<V>| tree(32768, two.clone()).with("files", files).with("pieces", [7; 40]);
    let moved = files(vec![file(20000, &["a"]), pad(12767), file(100, &["b"])]);
    let renamed = v2_single();
    let renamed = map_info(renamed, |info| {
        info.with("length", MIB)
            .with("pieces", [7; 320])
            .with("file tree", dict([("/est1MB", leaf(MIB, [9; 32]))]))
    });
    vec![
        ("v2_bad_file_alignment", torrent(moved), Error::Inconsistent(Mismatch::Offset(1))),
        ("v2_mismatching_metadata", renamed.without("piece layers"), Error::Inconsistent(Mismatch::Name(0))),
    ]
}

#[test]
fn the_sides_of_a_hybrid_must_agree_in_everything() {
    let two = dict([("a", leaf(20000, [1; 32])), ("b", leaf(100, [2; 32]))]);
    let pad = || file(12768, &[".pad", "12768"]).with("attr", "p");
    let parse = |files: Vec<V>, pieces: usize| {
        let info =
            tree(32768, two.clone()).with("files", files).with("pieces", vec![7; 20 * pieces].as_slice());
        Torrent::parse(&torrent(info).encode()).map(|_| ())
    };
    let differ = |mismatch| Err(Error::Inconsistent(mismatch));
    let (a, b) = (file(20000, &["a"]), file(100, &["b"]));
    assert_eq!(parse(vec![a.clone(), pad(), b.clone()], 2), Ok(()));
    assert_eq!(parse(vec![a.clone(), b.clone()], 1), differ(Mismatch::Offset(1)));
    assert_eq!(parse(vec![a.clone(), pad()], 1), differ(Mismatch::Count { v1: 1, v2: 2 }));
    assert_eq!(parse(vec![b.clone(), pad(), a.clone()], 2), differ(Mismatch::Name(0)));
    let longer = file(20001, &["a"]);
    assert_eq!(parse(vec![longer, pad(), b.clone()], 2), differ(Mismatch::Length(0)));
    let more = file(65536, &[".pad", "65536"]).with("attr", "p");
    assert_eq!(
        parse(vec![a.clone(), pad(), b.clone(), more.clone()], 4),
        differ(Mismatch::Pieces { v1: 4, v2: 2 })
    );
    assert_eq!(parse(vec![more, a, pad(), b], 4), differ(Mismatch::Offset(0)));
}

#[test]
fn a_hybrid_needs_both_sides_whole() {
    let info = map_info(v2_single(), |info| info.with("length", MIB));
    assert_eq!(Torrent::parse(&info.encode()).map(|_| ()), Err(Error::MissingPieces));
    let no_tree = map_info(v2_single(), |info| info.without("file tree"));
    assert_eq!(Torrent::parse(&no_tree.encode()).map(|_| ()), Err(Error::MissingFileTree));
    for version in [1, 3, -2] {
        let other = map_info(v2_single(), |info| info.with("meta version", version));
        let error = Error::MetaVersion { found: Some(version) };
        assert_eq!(Torrent::parse(&other.encode()).map(|_| ()), Err(error));
    }
}

#[test]
fn a_key_given_twice_is_refused_in_the_info_dictionary_only() {
    let inside =
        b"d4:infod6:lengthi1e6:lengthi2e4:name1:a12:piece lengthi1e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    assert_eq!(Torrent::parse(inside).map(|_| ()), Err(Error::NotCanonical { offset: 19 }));
    let outside = b"d7:comment1:x7:comment1:y4:infod6:lengthi1e4:name1:a12:piece lengthi1e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    assert_eq!(Torrent::parse(outside).unwrap().comment(), Some("x"));
}

#[test]
fn a_small_tree_of_very_long_paths_is_refused() {
    let files = V::Dict((0..6000u32).map(|i| (i.to_string().into_bytes(), leaf(1, [9; 32]))).collect());
    let deep =
        |depth: usize| (0..depth).fold(files.clone(), |inner, _| V::Dict(vec![(vec![b'n'; 200], inner)]));
    let parse = |depth| Torrent::parse(&torrent(tree(16384, deep(depth))).encode()).map(|_| ());
    assert_eq!(parse(20), Ok(()));
    assert_eq!(parse(80), Err(Error::PathsTooLong { max: 64 << 20 }));
}

#[test]
fn absurd_sizes_are_refused() {
    let error = Torrent::parse(&vec![b'd'; metainfo::MAX_SIZE + 1]);
    assert_eq!(error, Err(Error::TooLarge { size: metainfo::MAX_SIZE + 1, max: metainfo::MAX_SIZE }));
    for n in [0, 1 << 31, 1 << 32, (1 << 32) + 1, i64::MAX, i64::MIN, 536_854_529] {
        let torrent = torrent(single().with("piece length", n)).encode();
        assert_eq!(Torrent::parse(&torrent), Err(Error::PieceLength { found: Some(n) }));
    }
    let path: Vec<&str> = vec!["a"; 100];
    let deep = torrent(multi(vec![file(425, &path)])).encode();
    assert_eq!(Torrent::parse(&deep), Err(Error::TooDeep { max: MAX_DEPTH }));
    let sum = torrent(multi(vec![file((1 << 44) - 16385, &["a"]); 200])).encode();
    assert!(matches!(Torrent::parse(&sum), Err(Error::PieceCount(_))));
}
