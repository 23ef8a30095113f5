//! The names that files get, as they are recorded under rules of names number 1. Records keep no names but the user's: were one of
//! these another one, files would not be found after an upgrade, and be downloaded anew. Whoever changes a rule numbers it anew, and keeps
//! these for records of the old number.

use crate::support::Tree;
use metainfo::Torrent;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use storage::record::NAME_RULES;
use storage::{FileOptions, FileStorage, Storage};

fn text(bytes: &[u8]) -> Vec<u8> {
    [bytes.len().to_string().as_bytes(), b":", bytes].concat()
}

/// A torrent of this name, of files of one byte at these paths.
fn torrent(name: &[u8], paths: &[&[&[u8]]]) -> Arc<Torrent> {
    let file = |path: &&[&[u8]]| {
        let parts: Vec<u8> = path.iter().flat_map(|part| text(part)).collect();
        [b"d6:lengthi1e4:pathl".as_slice(), &parts, b"ee"].concat()
    };
    let files: Vec<u8> = paths.iter().flat_map(file).collect();
    let tail = b"12:piece lengthi16384e6:pieces20:01234567890123456789ee";
    let all = [b"d4:infod5:filesl".as_slice(), &files, b"e4:name", &text(name), tail].concat();
    Arc::new(Torrent::parse(&all).unwrap())
}

#[test]
fn odd_names_come_out_as_they_ever_did() {
    let long = [&b"x".repeat(300)[..], b".flac"].concat();
    let wide = [&"ж".repeat(130).into_bytes()[..], b".mkv"].concat();
    let cut_long = format!("{}.flac", "x".repeat(250));
    let cut_wide = format!("{}.mkv", "ж".repeat(125));
    let table: &[(&[&[u8]], &str)] = &[
        (&[b"plain.txt"], "plain.txt"),
        (&[b"..", b"up.txt"], "_/up.txt"),
        (&[b".", b"here.txt"], "_/here.txt"),
        (&[b"a/b\\c"], "abc"),
        (&[b"", b"empty"], "_/empty"),
        (&[b"dots..."], "dots"),
        (&[b"space "], "space"),
        (&[b".hidden"], ".hidden"),
        (&[b"tab\tnul\0"], "tab_nul_"),
        (&[b"c:drive"], "c_drive"),
        (&[b"<>\"|?*:"], "<>\"|?*:"),
        (&[b"CON"], "_CON"),
        (&[b"nul.txt"], "_nul.txt"),
        (&[b"com1"], "_com1"),
        (&[b"com10"], "com10"),
        (&["rtl\u{202e}gpj.exe".as_bytes()], "rtlgpj.exe"),
        (&["zero\u{200b}width".as_bytes()], "zerowidth"),
        (&[b"latin\xe9"], "latiné"),
        (&["composed \u{e9}".as_bytes()], "composed é"),
        (&["decomposed e\u{301}".as_bytes()], "decomposed e\u{301}"),
        (&[b"Case"], "Case"),
        (&[b"case"], "case.1"),
        (&[b"CASE"], "CASE.2"),
        (&[b"dup.tar.gz"], "dup.tar.gz"),
        (&[b"dup.tar.gz"], "dup.tar.1.gz"),
        (&[b"both", b"in"], "both/in"),
        (&[b"both"], "both.1"),
        (&[&long], &cut_long),
        (&[&wide], &cut_wide),
        (&[b"\\", b"..."], "_/_"),
    ];
    assert_eq!(NAME_RULES, 1, "keep this table for records of that number, and add one for the new rules");
    let paths: Vec<&[&[u8]]> = table.iter().map(|(path, _)| *path).collect();
    let torrent = torrent(b"..\\Al:b\xfcm ", &paths);
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(dir.path(), torrent.clone(), FileOptions::default()).unwrap();
    let geometry = torrent.geometry();
    let bytes: Vec<u8> = (1..=table.len()).map(|at| at as u8).collect();
    let whole = geometry.whole(geometry.pieces().next().unwrap());
    storage.write(whole, &[IoSlice::new(&bytes)]).unwrap();
    let got: Vec<&str> = torrent.layout().files().iter().map(|file| file.path.as_str()).collect();
    let expected: Vec<String> = table.iter().map(|(_, name)| format!("..Al:büm/{name}")).collect();
    assert_eq!(got, expected);
    for (path, byte) in expected.iter().zip(1..) {
        assert_eq!(std::fs::read(dir.path().join(path)).unwrap(), [byte], "{path}");
    }
    let names = Tree::of(dir.path()).names().len();
    // Besides, the folder of all, and two in it.
    assert_eq!(names, table.len() + 3);
    assert!(!Path::new(dir.path()).join("up.txt").exists());
}
