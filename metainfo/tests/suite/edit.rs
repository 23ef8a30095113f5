//! Torrents whose outer dictionary is changed.

use crate::support::*;
use metainfo::{Edit, Error, Magnet, Torrent};

#[test]
fn what_is_not_touched_stays_byte_for_byte() {
    let odd_info = format!("d4:name4:temp6:lengthi0425e12:piece lengthi16384e6:pieces20:{}e", "p".repeat(20));
    let odd = torrent(V::Raw(odd_info.into())).with("x-unknown", vec![dict([("k", 1.into())]), "v".into()]);
    for file in
        [odd, v2_single().with("announce", "http://a/"), torrent(foo_bar()).with("azureus", list(&["z"]))]
    {
        assert_eq!(Edit::new(&file.encode()).unwrap().finish().unwrap(), file.encode());
    }
}

#[test]
fn changes_leave_the_info_hash_alone() {
    let file = v2_single()
        .with("announce", "http://old/")
        .with("comment.utf-8", "old")
        .with("x-unknown", 7)
        .encode();
    let before = Torrent::parse(&file).unwrap();
    let mut edit = Edit::new(&file).unwrap();
    let tiers = [vec!["http://a/".to_owned()], vec![], vec!["http://b/".to_owned(), "http://c/".to_owned()]];
    edit.set_trackers(&tiers);
    edit.set_web_seeds(&["http://w/".into()]);
    edit.set_http_seeds(&["http://h/".into()]);
    edit.set_nodes(&[("n.example".into(), 1)]);
    edit.set_comment(Some("new"));
    edit.set_created_by(Some("suite"));
    edit.set_creation_date(Some(5));
    edit.remove("x-unknown");
    edit.remove("info");
    let edited = edit.finish().unwrap();
    let after = Torrent::parse(&edited).unwrap();
    assert_eq!((after.info_hashes(), after.info_bytes()), (before.info_hashes(), before.info_bytes()));
    assert_eq!(after.piece_layer(0), before.piece_layer(0));
    assert_eq!(after.trackers(), [&tiers[0][..], &tiers[2][..]]);
    assert_eq!(
        (after.web_seeds(), after.http_seeds()),
        (&["http://w/".to_owned()][..], &["http://h/".to_owned()][..])
    );
    assert_eq!(after.nodes(), [("n.example".to_owned(), 1)]);
    assert_eq!(
        (after.comment(), after.created_by(), after.creation_date()),
        (Some("new"), Some("suite"), Some(5))
    );
    assert!(bencode::decode(&edited).unwrap().root().as_dict().unwrap().get("x-unknown").is_none());

    let mut clear = Edit::new(&edited).unwrap();
    clear.set_trackers(&[]);
    clear.set_web_seeds(&[]);
    clear.set_http_seeds(&[]);
    clear.set_nodes(&[]);
    clear.set_comment(None);
    clear.set_created_by(None);
    clear.set_creation_date(None);
    let plain = v2_single().without("created by").encode();
    assert_eq!(clear.finish().unwrap(), plain);
}

#[test]
fn an_info_dictionary_and_a_magnet_make_a_torrent_file() {
    let info = single().encode();
    let hash = Torrent::from_info(&info).unwrap().id();
    let magnet: Magnet =
        format!("magnet:?xt=urn:btih:{hash}&tr=http%3A%2F%2Fa%2F&ws=http%3A%2F%2Fw%2F").parse().unwrap();
    let mut edit = Edit::from_info(&info).unwrap();
    edit.set_from_magnet(&magnet);
    let torrent = Torrent::parse(&edit.finish().unwrap()).unwrap();
    assert_eq!(torrent.id(), hash);
    let back = Magnet::of(&torrent);
    assert_eq!(
        (back.info_hashes, back.trackers, back.web_seeds),
        (magnet.info_hashes, magnet.trackers, magnet.web_seeds)
    );
    assert_eq!((back.name.as_deref(), back.length), (Some("temp"), Some(425)));
}

#[test]
fn what_is_no_torrent_cannot_be_edited() {
    assert!(matches!(Edit::new(b"d3:fooi1ee"), Err(Error::MissingInfo)));
    assert!(matches!(Edit::from_info(b"de"), Err(Error::PieceLength { found: None })));
}
