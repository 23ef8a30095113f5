//! Odd v1 torrents that are accepted, and what is made of them.

use crate::support::*;
use metainfo::Torrent;

pub(crate) type Case = (&'static str, V, fn(&Torrent));

#[test]
fn odd_torrents_are_accepted_and_cleaned() {
    for (name, torrent, check) in cases() {
        match Torrent::parse(&torrent.encode()) {
            Ok(torrent) => check(&torrent),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [paths(), links_and_pads(), urls(), rest()].concat()
}

/// The paths of all files.
pub(crate) fn names(torrent: &Torrent) -> Vec<&str> {
    torrent.layout().files().iter().map(|file| file.path.as_str()).collect()
}

/// The targets of all links.
pub(crate) fn links(torrent: &Torrent) -> Vec<&str> {
    torrent
        .layout()
        .files()
        .iter()
        .filter_map(|file| file.symlink.as_ref())
        .map(|path| path.as_str())
        .collect()
}

fn one(path: &[&str]) -> V {
    torrent(multi(vec![file(425, path)]))
}

fn paths() -> Vec<Case> {
    let two = |first: &[&str], second: &[&str]| torrent(multi(vec![file(425, first), file(5, second)]));
    let named = |name: &str| torrent(foo_bar().with("name", name));
    let long = "abcdefghij0123456789".repeat(15) + ".pdf";
    vec![
        ("empty_path", one(&["", ""]), |t| assert_eq!(names(t), ["temp/_/_"])),
        (
            "empty_path_multi",
            torrent(multi(vec![file(425, &["abcde"]), file(3, &[""]), file(5, &[""])])),
            |t| assert_eq!(names(t), ["temp/abcde", "temp/_", "temp/_.1"]),
        ),
        ("parent_path", one(&["..", "..", "bar"]), |t| assert_eq!(names(t), ["temp/_/_/bar"])),
        ("hidden_parent_path", one(&["foo/../../../bar", "bar"]), |t| {
            assert_eq!(names(t), ["temp/foo......bar/bar"]);
        }),
        ("slash_path", one(&["/", "/", "bar"]), |t| assert_eq!(names(t), ["temp/_/_/bar"])),
        ("slash_path2", one(&["abc/../../def", "/", "bar"]), |t| {
            assert_eq!(names(t), ["temp/abc....def/_/bar"]);
        }),
        ("slash_path3", torrent(single().with("name", "temp/../../abc")), |t| {
            assert_eq!((names(t), t.name()), (vec!["temp....abc"], "temp....abc"));
        }),
        ("backslash_path", one(&["\\", "\\", "bar"]), |t| assert_eq!(names(t), ["temp/_/_/bar"])),
        ("absolute_filename", two(&["abcde"], &["/foobar"]), |t| {
            assert_eq!(names(t), ["temp/abcde", "temp/foobar"]);
        }),
        ("invalid_filename", two(&["f"], &["."]), |t| assert_eq!(names(t), ["temp/f", "temp/_"])),
        (
            "invalid_filename2",
            torrent(multi(vec![file(425, &["f"]), file(3, &[".", "."]), file(1, &["/", "."])])),
            |t| assert_eq!(names(t), ["temp/f", "temp/_/_", "temp/_/_.1"]),
        ),
        ("invalid_directory_name", two(&["/", "foo"], &["\\", "foo"]), |t| {
            assert_eq!(names(t), ["temp/_/foo", "temp/_/foo.1"]);
        }),
        ("invalid_name2", named(".."), |t| {
            assert_eq!(t.name(), t.id().to_hex());
            assert_eq!(names(t)[0], format!("{}/foo/bar.txt", t.id()));
        }),
        ("invalid_name3", named("foobar "), |t| assert_eq!(t.name(), "foobar")),
        ("long_name", torrent(single().with("name", long.as_str())), |t| {
            assert_eq!(t.name().len(), 255);
            assert!(
                t.name().starts_with("abcdefghij0123456789abc") && t.name().ends_with("hij0.pdf"),
                "{}",
                t.name()
            );
        }),
        ("duplicate_files", two(&["foo", "bar.txt"], &["foo", "bar.txt"]), |t| {
            assert_eq!(names(t), ["temp/foo/bar.txt", "temp/foo/bar.1.txt"]);
        }),
    ]
}

/// A link with a target.
fn link(path: &[&str], target: &[&str]) -> V {
    file(0, path).with("attr", "l").with("symlink path", list(target))
}

fn links_and_pads() -> Vec<Case> {
    let bar = || file(425, &["a", "b", "bar"]);
    let current = || link(&["Versions", "Current"], &["A"]);
    vec![
        (
            "symlink1",
            torrent(multi(vec![bar(), link(&["a", "b", "foo"], &["a", "b", "bar"]).with("length", 425)])),
            |t| {
                assert_eq!(links(t), ["temp/a/b/bar"]);
                assert_eq!(t.layout().files()[1].length, 0, "a link has no bytes");
            },
        ),
        (
            "symlink2",
            torrent(multi(vec![
                link(&["SDL2"], &["Versions", "A", "SDL2"]),
                file(2514, &["Versions", "A", "SDL2"]),
                current(),
            ])),
            |t| assert_eq!(links(t), ["temp/Versions/A/SDL2", "temp/Versions/A"]),
        ),
        (
            "symlink_zero_size",
            torrent(multi(vec![bar(), link(&["a", "b", "foo"], &["a", "b", "bar"]).without("length")])),
            |t| assert_eq!(links(t), ["temp/a/b/bar"]),
        ),
        (
            "symlink_filtered_path",
            torrent(multi(vec![file(32, &["a", "/", "bar"]), link(&["a", "/", "foo"], &["a", "/", "bar"])])),
            |t| {
                assert_eq!(names(t), ["temp/a/_/bar", "temp/a/_/foo"]);
                assert_eq!(links(t), ["temp/a/_/bar"]);
            },
        ),
        (
            "overlapping_symlinks",
            torrent(multi(vec![
                link(&["Headers"], &["Versions", "Current", "Headers"]),
                file(4731, &["Versions", "A", "Headers", "code.h"]),
                current(),
            ])),
            |t| assert_eq!(links(t), ["temp/Versions/Current/Headers", "temp/Versions/A"]),
        ),
        (
            "pad_file",
            torrent(multi(vec![file(45, &["foo", "bar.txt"]), file(2124, &["_____padding_file_"])])),
            |t| assert_eq!(pads(t), [false, true]),
        ),
        (
            "pad_file_no_path",
            torrent(multi(vec![
                file(45, &["foo", "bar.txt"]),
                file(2124, &[]).without("path").with("attr", "p"),
            ])),
            |t| {
                assert_eq!(pads(t), [false, true]);
                assert_eq!(names(t)[1], "temp/.pad/2124");
                assert_eq!(t.layout().payload(), 45);
            },
        ),
    ]
}

/// Which files are pad files.
pub(crate) fn pads(torrent: &Torrent) -> Vec<bool> {
    torrent.layout().files().iter().map(|file| file.is_pad()).collect()
}

fn urls() -> Vec<Case> {
    let with = |key: &str, value: V| torrent(single()).with(key, value);
    let folder = |url: V| torrent(foo_bar()).with("url-list", url);
    let spaced = "http://test.com/test file/foo bar";
    vec![
        ("url_list", with("url-list", list(&[""])), |t| assert!(t.web_seeds().is_empty())),
        ("url_list2", with("url-list", vec![list(&[""])].into()), |t| assert!(t.web_seeds().is_empty())),
        ("url_list3", with("url-list", vec![(-20).into()].into()), |t| assert!(t.web_seeds().is_empty())),
        ("url_seed", with("url-list", list(&["http://test.com/file"])), |t| {
            assert_eq!(t.web_seeds(), ["http://test.com/file"]);
        }),
        ("url_seed_multi", folder(list(&["http://test.com/file"])), |t| {
            assert_eq!(t.web_seeds(), ["http://test.com/file/"]);
        }),
        (
            "url_seed_multi_single_file",
            one(&["foo", "bar.txt"]).with("url-list", list(&["http://test.com/file/temp/foo/bar.txt"])),
            |t| assert_eq!(t.web_seeds(), ["http://test.com/file/temp/foo/bar.txt"]),
        ),
        ("url_seed_multi_space", folder(list(&[spaced])), |t| {
            assert_eq!(t.web_seeds(), ["http://test.com/test%20file/foo%20bar/"]);
        }),
        ("url_seed_multi_space_nolist", folder(spaced.into()), |t| {
            assert_eq!(t.web_seeds(), ["http://test.com/test%20file/foo%20bar/"]);
        }),
        ("httpseed", with("httpseeds", list(&["http://foobar.com/"])), |t| {
            assert_eq!(t.http_seeds(), ["http://foobar.com/"]);
        }),
        ("empty_httpseed", with("httpseeds", list(&[""])).with("url-list", list(&[""])), |t| {
            assert!(t.http_seeds().is_empty() && t.web_seeds().is_empty());
        }),
        (
            "duplicate_web_seeds",
            with("url-list", list(&["http://f/a", "http://f/a", "http://f/ab", "http://f/a", "http://f/b"])),
            |t| assert_eq!(t.web_seeds(), ["http://f/a", "http://f/ab", "http://f/b"]),
        ),
        ("whitespace_url", with("announce", "\t udp://test.com/announce".into()), |t| {
            assert_eq!(t.trackers(), [["udp://test.com/announce"]]);
        }),
    ]
}

fn rest() -> Vec<Case> {
    let with = |key: &str, value: V| torrent(single()).with(key, value);
    let inside = |key: &str, value: V| torrent(single().with(key, value));
    let unordered = format!("d4:name4:temp6:lengthi425e12:piece lengthi16384e6:pieces20:{}e", "p".repeat(20));
    let similar = || list(&["aaaaaaaaaaaaaaaaaaaa", "short"]);
    let nodes = vec![
        vec!["127.0.0.1".into(), 6881.into()].into(),
        vec!["192.168.1.1".into(), 6881.into()].into(),
        vec!["10.0.0.1".into(), 65536.into()].into(),
        list(&["10.0.0.1"]),
    ];
    let tiers = vec![
        list(&["udp://tracker.opentracker.com:80/announce", "http://b/"]),
        list(&["tracker.publicbt.com:80/announce"]),
        "http://not-in-a-tier/".into(),
        list(&["https://c/"]),
    ];
    let sample = torrent(multi(vec![
        file(25, &["text_file2.txt"]),
        file(16359, &[".____padding_file", "0"]).with("attr", "p"),
        file(20, &["text_file.txt"]).with("sha1", [9; 20]),
    ]));
    let sample = map_info(sample, |info| info.with("pieces", [1; 40]));
    let sample =
        sample.with("announce", "http://old/").with("announce-list", tiers).with("comment", "sample comment");
    vec![
        ("base", torrent(single()), |t| {
            assert_eq!((names(t), t.geometry().total(), t.layout().is_multi()), (vec!["temp"], 425, false));
        }),
        ("single_multi_file", one(&["foo", "bar"]), |t| {
            assert_eq!((names(t), t.layout().is_multi()), (vec!["temp/foo/bar"], true));
        }),
        ("unordered", torrent(V::Raw(unordered.into())), |t| assert_eq!(t.name(), "temp")),
        ("creation_date", with("creation date", 1_234_567.into()), |t| {
            assert_eq!(t.creation_date(), Some(1_234_567));
        }),
        ("no_creation_date", torrent(single()), |t| assert_eq!(t.creation_date(), None)),
        ("dht_nodes", with("nodes", nodes.into()), |t| {
            assert_eq!(t.nodes(), [("127.0.0.1".to_owned(), 6881), ("192.168.1.1".to_owned(), 6881)]);
        }),
        ("similar", with("similar", similar()), |t| assert_eq!(t.similar()[0].0, [b'a'; 20])),
        ("similar2", inside("similar", similar()), |t| assert_eq!(t.similar().len(), 1)),
        ("collection", with("collections", list(&["bar", "foo"])), |t| {
            assert_eq!(t.collections(), ["bar", "foo"]);
        }),
        ("collection2", inside("collections", list(&["bar", "foo"])), |t| {
            assert_eq!(t.collections(), ["bar", "foo"]);
        }),
        ("sample", sample, |t| {
            assert_eq!(pads(t), [false, true, false]);
            assert_eq!(
                t.trackers(),
                [
                    &["udp://tracker.opentracker.com:80/announce".to_owned(), "http://b/".to_owned()][..],
                    &["https://c/".to_owned()]
                ]
            );
            assert_eq!(t.comment(), Some("sample comment"));
        }),
        (
            "large",
            torrent(
                multi(vec![file(5_242_880_000, &["stress_test0"])])
                    .with("piece length", MIB)
                    .with("pieces", vec![3; 100_000].as_slice()),
            ),
            |t| assert_eq!(t.geometry().piece_count(), 5000),
        ),
        ("large_piece_size", torrent(single().with("piece length", 32767 * 16384)), |t| {
            assert_eq!(t.geometry().piece_length(), metainfo::MAX_PIECE_LENGTH);
        }),
    ]
}
