//! What is read from torrents that are in order.

use crate::good::names;
use crate::support::*;
use metainfo::{Error, InfoHashV1, PieceCheck, Torrent};
use sha1::{Digest, Sha1};

#[test]
fn the_info_hash_is_of_the_raw_bytes() {
    let raw = format!("d4:name4:temp6:lengthi0425e12:piece lengthi16384e6:pieces20:{}e", "p".repeat(20));
    let file = torrent(V::Raw(raw.clone().into())).encode();
    let torrent = Torrent::parse(&file).unwrap();
    assert_eq!(torrent.info_hashes().v1(), Some(InfoHashV1(Sha1::digest(&raw).into())));
    assert_eq!(torrent.info_bytes(), raw.as_bytes());
}

#[test]
fn text_with_a_utf8_twin_is_read_from_it() {
    let entry = file(425, &["x"]).with("path", vec![b"gr\xfcn"[..].into()]);
    let twin = entry.clone().with("path.utf-8", list(&["gr\u{fc}n!"]));
    let info = multi(vec![entry, twin]).with("name", &b"\xe4"[..]).with("name.utf-8", "\u{e4}!");
    let outer = torrent(info.clone()).with("comment", &b"\xff"[..]).with("comment.utf-8", "remark");
    let parsed = Torrent::parse(&outer.encode()).unwrap();
    assert_eq!(names(&parsed), ["\u{e4}!/gr\u{fc}n", "\u{e4}!/gr\u{fc}n!"]);
    assert_eq!(parsed.comment(), Some("remark"));
    let latin = Torrent::parse(&torrent(info.without("name.utf-8")).encode()).unwrap();
    assert_eq!(latin.name(), "\u{e4}");
}

#[test]
fn marks_of_the_info_dictionary_are_read() {
    let parsed =
        Torrent::parse(&torrent(single().with("private", 1).with("source", "SITE")).encode()).unwrap();
    assert_eq!((parsed.private(), parsed.source()), (true, Some("SITE")));
    let public = Torrent::parse(&torrent(single().with("private", 0)).encode()).unwrap();
    assert_eq!((public.private(), public.source()), (false, None));
    assert_eq!(public.created_by(), Some("suite"));
    let attr = torrent(multi(vec![file(425, &["run"]).with("attr", "?xh")]));
    let attributes = Torrent::parse(&attr.encode()).unwrap().layout().files()[0].attributes;
    assert!(attributes.executable && attributes.hidden && !attributes.pad && !attributes.symlink);
}

#[test]
fn bytes_after_the_file_are_ignored_but_not_after_an_info_dictionary() {
    let file = [torrent(single()).encode(), b"\n".to_vec()].concat();
    assert!(Torrent::parse(&file).is_ok());
    let info = single().encode();
    let alone = Torrent::from_info(&info).unwrap();
    assert_eq!(alone.id(), Torrent::parse(&file).unwrap().id());
    assert!(alone.trackers().is_empty());
    let longer = [&info[..], b"\n"].concat();
    assert_eq!(Torrent::from_info(&longer), Err(Error::NotCanonical { offset: info.len() }));
}

#[test]
fn v1_hashes_are_found_in_the_info_dictionary() {
    let pieces: Vec<u8> = (0..60).collect();
    let info = single().with("length", 3 * 16384 - 5).with("pieces", pieces.as_slice());
    let torrent = Torrent::parse(&torrent(info).encode()).unwrap();
    for piece in torrent.geometry().pieces() {
        let at = piece.as_usize() * 20;
        let expected: [u8; 20] = pieces[at..at + 20].try_into().unwrap();
        assert_eq!(torrent.piece_check(piece), PieceCheck::V1(&expected));
    }
}

#[test]
fn a_tracker_list_without_usable_urls_gives_way_to_the_single_one() {
    let outer =
        torrent(single()).with("announce", "http://one/").with("announce-list", vec![list(&["", "x"])]);
    assert_eq!(Torrent::parse(&outer.encode()).unwrap().trackers(), [["http://one/"]]);
    let none = torrent(single()).with("announce", "nothing");
    assert!(Torrent::parse(&none.encode()).unwrap().trackers().is_empty());
}

#[test]
fn piece_layers_of_v1_torrents_are_not_looked_at() {
    let outer = torrent(single()).with("piece layers", "nonsense");
    assert!(Torrent::parse(&outer.encode()).unwrap().has_piece_layers());
}

proptest::proptest! {
    #[test]
    fn mutated_torrents_do_no_harm(which in 0usize..4, changes in proptest::collection::vec((0usize..2000, 0u8..), 1..6)) {
        let (root, _) = layer(16, 65536, 1);
        let hybrid = map_info(v2_single(), |info| {
            info.with("length", MIB).with("pieces", [7; 320]).with("file tree", dict([("test1MB", leaf(MIB, root))]))
        });
        let mut bytes = [torrent(foo_bar()), torrent(single()), v2_single(), hybrid][which].encode();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(torrent) = Torrent::parse(&bytes) {
            for piece in torrent.geometry().pieces() {
                torrent.piece_check(piece);
                let whole = torrent.geometry().whole(piece);
                let covered: u64 = torrent.layout().segments(whole).map(|s| u64::from(s.len)).sum();
                assert_eq!(covered, u64::from(whole.len()));
            }
        }
    }
}
