//! Torrents that are made, read again and compared with those of another program.

use crate::good::{names, pads};
use crate::support::bytes;
use metainfo::{Attributes, BuildError, Builder, PieceCheck, Torrent, Version, merkle, piece_length_for};
use sha1::{Digest, Sha1};

const VERSIONS: [Version; 3] = [Version::V1, Version::V2, Version::Hybrid];

/// Feeds files by the parts of their path joined by `/`.
pub(crate) fn build(builder: Builder, files: &[(&str, Vec<u8>)]) -> Torrent {
    let files_of = |builder: Builder| {
        files.iter().fold(builder, |b, (path, data)| b.file(path.split('/'), data.len() as u64))
    };
    let draft = files_of(builder).prepare().unwrap();
    let order: Vec<usize> = (0..draft.layout().files().len()).filter_map(|f| draft.source(f)).collect();
    let mut feed = draft.feed();
    for index in order {
        // Split in two, so that pieces and blocks are crossed inside and between calls.
        let (first, second) = files[index].1.split_at(files[index].1.len() / 3);
        feed.update(first);
        feed.update(second);
    }
    Torrent::parse(&feed.finish().unwrap()).unwrap()
}

fn hashes(torrent: &Torrent) -> (Option<String>, Option<String>) {
    (torrent.info_hashes().v1().map(|h| h.to_hex()), torrent.info_hashes().v2().map(|h| h.to_hex()))
}

/// The hashes were got from libtorrent 2.1.1, for the same names and bytes and pieces of 32 KiB.
#[test]
fn info_hashes_are_those_of_an_independent_program() {
    let single = |version| {
        let mut feed = Builder::single("one.bin", 150_000)
            .piece_length(32768)
            .version(version)
            .prepare()
            .unwrap()
            .feed();
        feed.update(&bytes(150_000, 5));
        hashes(&Torrent::parse(&feed.finish().unwrap()).unwrap())
    };
    let folder = |version| {
        let files = [
            ("b/two.bin", bytes(40000, 2)),
            ("b/empty", vec![]),
            ("c", bytes(16384, 3)),
            ("z/last", bytes(100, 4)),
            ("a.txt", bytes(70000, 1)),
        ];
        hashes(&build(Builder::folder("golden").piece_length(32768).version(version), &files))
    };
    let v1 = |hash: &str| Some(hash.to_owned());
    let v2 = v1;
    assert_eq!(single(Version::V1), (v1("a6c02fe321ac412532d9afb6019665194a5b44c5"), None));
    assert_eq!(folder(Version::V1), (v1("189ddd9df3f0f2f7d0ba77de0b7796f5d62d1fe8"), None));
    assert_eq!(
        single(Version::V2),
        (None, v2("32bcc6f8f49f50265de816ff26944ecb61e5818a4dbffa84b94556dbd40f5e4b"))
    );
    assert_eq!(
        folder(Version::V2),
        (None, v2("815f5a05c602b7ae7d4cf218c5f9d79f1c73514b7e82265b1c7e88747c534f94"))
    );
    assert_eq!(
        single(Version::Hybrid),
        (
            v1("2f10987ce82d36b9c832f6356c50fbb71967b80f"),
            v2("805df1bf7ab57a73afb20e936053ce08c71eedc2a53fede752d5a4d2d57d6e7c")
        )
    );
    assert_eq!(
        folder(Version::Hybrid),
        (
            v1("5c56102daa2b06cb5fb4d9c9482a9145d664e15c"),
            v2("0a779d13ad8f4b53c05598bdbc82a270f958507f26fca1321b4f4a5cd6a56080")
        )
    );
}

#[test]
fn everything_that_is_said_is_read_again() {
    for version in VERSIONS {
        let executable = Attributes { executable: true, hidden: true, pad: true, symlink: true };
        let tiers = vec![vec!["http://a/".to_owned(), "udp://b:1".to_owned()], vec!["https://c/".to_owned()]];
        let builder = Builder::folder("name")
            .version(version)
            .file(["deep", "er", "x"], 5)
            .file_with(["deep", "run"], 3, executable)
            .tracker_tiers(tiers.clone())
            .web_seed("http://w/")
            .node("router.example", 6881)
            .private(true)
            .source("SITE")
            .comment("a remark")
            .created_by("suite")
            .creation_date(1_700_000_000);
        let mut feed = builder.prepare().unwrap().feed();
        feed.update(b"12345123");
        let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
        let files: Vec<_> = torrent.layout().files().iter().filter(|f| !f.is_pad()).collect();
        assert_eq!(files[0].path.parts().collect::<Vec<_>>(), ["name", "deep", "er", "x"]);
        assert_eq!(
            files[1].attributes,
            Attributes { executable: true, hidden: true, ..Attributes::default() }
        );
        assert_eq!(torrent.trackers(), tiers);
        assert_eq!(torrent.web_seeds(), ["http://w/"]);
        assert_eq!(torrent.nodes(), [("router.example".to_owned(), 6881)]);
        assert_eq!((torrent.private(), torrent.source()), (true, Some("SITE")));
        assert_eq!((torrent.comment(), torrent.created_by()), (Some("a remark"), Some("suite")));
        assert_eq!(torrent.creation_date(), Some(1_700_000_000));
        assert_eq!(torrent.layout().payload(), 8);
    }
}

#[test]
fn digests_make_the_same_torrent_as_bytes() {
    let data = bytes(100_000, 1);
    for version in VERSIONS {
        let builder = || Builder::single("f", 100_000).piece_length(32768).version(version);
        let mut feed = builder().prepare().unwrap().feed();
        feed.update(&data);
        let mut draft = builder().prepare().unwrap();
        for piece in draft.geometry().clone().pieces() {
            let bytes = data.chunks(32768).nth(piece.as_usize()).unwrap();
            if version != Version::V2 {
                draft.set_v1(piece, Sha1::digest(bytes).into()).unwrap();
            } else {
                assert_eq!(draft.set_v1(piece, [0; 20]), Err(BuildError::NoSuchPiece(piece.get())));
            }
            if let Some(shape) = draft.v2_shape(piece) {
                let leaves: Vec<merkle::Hash> = bytes.chunks(16384).map(merkle::leaf).collect();
                assert_eq!((shape.leaves as usize, shape.data as usize), (leaves.len(), bytes.len()));
                draft.set_v2_leaves(piece, &leaves).unwrap();
            } else {
                assert_eq!(draft.set_v2(piece, [0; 32]), Err(BuildError::NoSuchPiece(piece.get())));
            }
        }
        assert_eq!(draft.finish(), feed.finish());
    }
}

#[test]
fn files_of_equal_content_share_a_piece_layer() {
    let data = bytes(50_000, 9);
    let files = [("a", data.clone()), ("b", data)];
    let torrent = build(Builder::folder("twins").piece_length(16384).version(Version::V2), &files);
    assert_eq!(torrent.piece_layer(0), torrent.piece_layer(1));
    assert!(torrent.has_piece_layers());
}

#[test]
fn a_folder_of_one_file_is_read_as_one() {
    for version in VERSIONS {
        for (folder, path) in [("t", "t/a"), ("a", if version == Version::V2 { "a" } else { "a/a" })] {
            let builder = Builder::folder(folder).version(version);
            let draft = builder.clone().file(["a"], 5).prepare().unwrap();
            assert_eq!(draft.layout().files()[0].path.as_str(), path);
            assert_eq!(names(&build(builder, &[("a", bytes(5, 1))]))[0], path);
        }
    }
}

#[test]
fn what_makes_no_torrent_is_refused() {
    let error = |builder: Builder| builder.prepare().map(|_| ()).unwrap_err();
    let folder = || Builder::folder("t");
    let name = |name: &str| BuildError::Name(name.into());
    for bad in ["", ".", "..", "a/b", "a\\b", "nul", "x ", "c:", "a\u{202e}b", "\n"] {
        assert_eq!(error(folder().file([bad], 1)), name(bad));
        assert_eq!(error(Builder::single(bad, 1)), name(bad));
    }
    assert_eq!(error(folder().file(Vec::<String>::new(), 1)), BuildError::Depth { parts: 0 });
    assert_eq!(error(folder().file(vec!["a"; 100], 1)), BuildError::Depth { parts: 100 });
    assert_eq!(error(folder()), BuildError::Empty);
    assert_eq!(error(folder().file(["a"], 0)), BuildError::Empty);
    assert_eq!(error(folder().file(["a"], 1 << 50)), BuildError::FileLength(1 << 50));
    assert!(matches!(error(folder().file(["a"], 1 << 40).piece_length(16384)), BuildError::Geometry(_)));
    for length in [0, 1 << 30] {
        assert_eq!(error(folder().file(["a"], 1).piece_length(length)), BuildError::PieceLength(length));
    }
    assert!(folder().file(["a"], 1).piece_length(1000).prepare().is_ok());
    for length in [1000, 8192, 49152] {
        let v2 = folder().file(["a"], 1).piece_length(length).version(Version::V2);
        assert_eq!(error(v2), BuildError::PieceLength(length));
    }
    let duplicate = |path: &str| BuildError::Duplicate(path.into());
    assert_eq!(error(folder().file(["a"], 1).file(["a"], 1).allow_any_names(true)), duplicate("t/a"));
    assert_eq!(error(folder().file(["a"], 1).file(["a", "b"], 1).allow_any_names(true)), duplicate("t/a"));
    let cases = || folder().file(["README"], 1).file(["readme"], 1);
    assert_eq!(error(cases()), duplicate("t/readme"));
    assert!(cases().allow_any_names(true).prepare().is_ok());
}

#[test]
fn unfinished_torrents_are_refused() {
    let draft = Builder::single("f", 20000).piece_length(16384).prepare().unwrap();
    assert_eq!(draft.clone().finish(), Err(BuildError::MissingDigest(0)));
    let mut feed = draft.feed();
    feed.update(&[1; 19999]);
    let bytes = |found| Err(BuildError::Bytes { expected: 20000, found });
    assert_eq!(feed.clone().finish(), bytes(19999));
    feed.update(&[1; 2]);
    assert_eq!(feed.finish(), bytes(20001));
}

#[test]
fn pieces_are_between_16_kib_and_16_mib_and_about_1000_to_2000() {
    let mib = 1 << 20;
    let table = [(0, 16384), (1, 16384), (30 * mib, 16384), (100 * mib, 65536), (1024 * mib, 1 << 20)];
    for (total, length) in table {
        assert_eq!(piece_length_for(total), length, "{total}");
    }
    for total in [17 * mib, 333 * mib, 5000 * mib, 31_000 * mib] {
        let pieces = total.div_ceil(u64::from(piece_length_for(total)));
        assert!((1000..=2000).contains(&pieces), "{total}: {pieces}");
    }
    assert_eq!(piece_length_for(u64::MAX), 16 << 20);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read_and_checks(
        version in 0usize..3,
        piece in 0u32..3,
        sizes in proptest::collection::btree_map("[a-c]{1,2}(/[d-f]{1,2}){0,2}", 0usize..90_000, 1..7),
    ) {
        let version = VERSIONS[version];
        let piece_length = 16384 << piece;
        let files: Vec<(&str, Vec<u8>)> =
            sizes.iter().enumerate().map(|(seed, (path, &size))| (path.as_str(), bytes(size, seed))).collect();
        let is_tree = files.iter().all(|(a, _)| !files.iter().any(|(b, _)| b.starts_with(&format!("{a}/"))));
        proptest::prop_assume!(is_tree && sizes.values().any(|&size| size > 0));
        let torrent = build(Builder::folder("t").version(version).piece_length(piece_length), &files);
        let mut expected: Vec<String> = files.iter().map(|(path, _)| format!("t/{path}")).collect();
        let mut found: Vec<String> = names(&torrent).into_iter().zip(pads(&torrent)).filter(|f| !f.1).map(|f| f.0.into()).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert!(torrent.has_piece_layers());
        for piece in torrent.geometry().pieces() {
            check_piece(&torrent, piece, &files);
        }
    }
}

/// Collects a piece by the layout and hashes it in the plainest way.
fn check_piece(torrent: &Torrent, piece: metainfo::PieceIndex, files: &[(&str, Vec<u8>)]) {
    let mut whole = Vec::new();
    for segment in torrent.layout().segments(torrent.geometry().whole(piece)) {
        let file = &torrent.layout().files()[segment.file];
        if segment.pad {
            whole.resize(whole.len() + segment.len as usize, 0);
        } else {
            let (_, data) = files.iter().find(|(path, _)| format!("t/{path}") == file.path.as_str()).unwrap();
            whole.extend_from_slice(&data[segment.offset as usize..][..segment.len as usize]);
        }
    }
    let check = torrent.piece_check(piece);
    if let Some(v1) = check.v1() {
        assert_eq!(<[u8; 20]>::from(Sha1::digest(&whole)), *v1);
    }
    if let Some(v2) = check.v2() {
        let leaves: Vec<merkle::Hash> = whole[..v2.data as usize].chunks(16384).map(merkle::leaf).collect();
        assert_eq!(v2.matches(&leaves), Some(true));
        assert_eq!(v2.matches(&leaves[1..]), Some(false));
    }
    assert!(!matches!(check, PieceCheck::V2(v2) if v2.root.is_none()));
}
