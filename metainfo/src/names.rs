//! Paths that collide, made different.
//!
//! Two files of a torrent must never share a place on disk, whatever the file system thinks of case. The
//! first file keeps its name, later ones get a number before the extension: `bar.txt`, `bar.1.txt`. A file
//! gives way to a folder of the same name. Folders that differ only in case stay as they are: no file is lost
//! when a system merges them, because the files in them are compared by their whole folded path.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use crate::error::Error;
use crate::layout::{File, FilePath};
use crate::path::numbered;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Names tried in vain before a torrent is refused. Honest torrents have few duplicates; the bound keeps a
/// hostile one from costing quadratic time.
pub const MAX_COLLISIONS: u32 = 500;

/// Renames files until no two paths are equal when case is ignored. Pad files have no place on disk and are
/// left out.
pub(crate) fn resolve(files: &mut [File]) -> Result<(), Error> {
    let folded: Vec<(usize, String)> = files
        .iter()
        .enumerate()
        .filter(|(_, file)| !file.is_pad())
        .map(|(index, file)| (index, fold(file.path.as_str())))
        .collect();
    let mut sorted: Vec<&str> = folded.iter().map(|(_, path)| path.as_str()).collect();
    if clash(&mut sorted).is_some() { rename(files, folded) } else { Ok(()) }
}

/// Sorts paths and finds one that is there twice, or that is the folder of another.
pub(crate) fn clash<'a>(paths: &mut [&'a str]) -> Option<&'a str> {
    paths.sort_unstable_by(|a, b| by_parts(a, b));
    paths.windows(2).find_map(|pair| match pair {
        [a, b] if a == b || is_inside(b, a) => Some(*a),
        _ => None,
    })
}

fn rename(files: &mut [File], folded: Vec<(usize, String)>) -> Result<(), Error> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (_, path) in &folded {
        for (at, _) in path.match_indices('/') {
            let folder = path.get(..at).unwrap_or(path);
            if !taken.contains(folder) {
                taken.insert(folder.into());
            }
        }
    }
    let mut collisions = 0;
    for (index, path) in folded {
        let Some(file) = files.get_mut(index) else { continue };
        if taken.insert(path) {
            continue;
        }
        let (folder, name) = match file.path.as_str().rfind('/') {
            Some(at) => file.path.as_str().split_at(at + 1),
            None => ("", file.path.as_str()),
        };
        let mut number = 1;
        let free = loop {
            let mut candidate = String::from(folder);
            candidate.push_str(&numbered(name, number));
            if taken.insert(fold(&candidate)) {
                break candidate;
            }
            number += 1;
            collisions += 1;
            if collisions > MAX_COLLISIONS {
                return Err(Error::DuplicateNames { max: MAX_COLLISIONS });
            }
        };
        file.path = FilePath::new(free);
    }
    Ok(())
}

/// Text that is equal for names that differ only in case.
fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Whether `path` lies in the folder `folder`.
fn is_inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Orders paths so that a folder is followed at once by what is in it.
fn by_parts(a: &str, b: &str) -> core::cmp::Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Attributes;
    use alloc::format;
    use alloc::vec;

    fn file(path: &str) -> File {
        File {
            path: FilePath::new(path.into()),
            length: 1,
            offset: 0,
            attributes: Attributes::default(),
            symlink: None,
            root: None,
        }
    }

    fn resolved(paths: &[&str]) -> Vec<String> {
        let mut files: Vec<File> = paths.iter().map(|p| file(p)).collect();
        resolve(&mut files).unwrap();
        files.iter().map(|f| f.path.as_str().into()).collect()
    }

    #[test]
    fn later_files_give_way() {
        let table: &[(&[&str], &[&str])] = &[
            (&["t/a", "t/b"], &["t/a", "t/b"]),
            (&["t/foo/bar.txt", "t/foo/bar.txt"], &["t/foo/bar.txt", "t/foo/bar.1.txt"]),
            (&["t/x", "t/x", "t/x"], &["t/x", "t/x.1", "t/x.2"]),
            (&["t/README", "t/readme"], &["t/README", "t/readme.1"]),
            (&["t/STRASSE", "t/stra\u{df}e"], &["t/STRASSE", "t/stra\u{df}e.1"]),
            (&["t/\u{c9}", "t/\u{e9}"], &["t/\u{c9}", "t/\u{e9}.1"]),
            (&["t/a", "t/a/b"], &["t/a.1", "t/a/b"]),
            (&["t/a/b", "t/A"], &["t/a/b", "t/A.1"]),
            (&["t/a", "t/a.x", "t/a/b"], &["t/a.1", "t/a.x", "t/a/b"]),
            (&["t/D/f", "t/d/f"], &["t/D/f", "t/d/f.1"]),
            (&["t/a", "t/a", "t/a.1"], &["t/a", "t/a.1", "t/a.1.1"]),
        ];
        for (paths, expected) in table {
            assert_eq!(resolved(paths), *expected);
        }
    }

    #[test]
    fn pad_files_may_share_a_name() {
        let mut files = vec![file("t/.pad/5"), file("t/.pad/5")];
        for file in &mut files {
            file.attributes.pad = true;
        }
        let before = files.clone();
        resolve(&mut files).unwrap();
        assert_eq!(files, before);
    }

    #[test]
    fn floods_of_duplicates_are_refused() {
        let mut files = vec![file("t/foo/bar.txt"); 120];
        assert_eq!(resolve(&mut files), Err(Error::DuplicateNames { max: MAX_COLLISIONS }));
        let mut pairs: Vec<File> = (0..2000).map(|i| file(&format!("t/{}", i / 2))).collect();
        assert_eq!(resolve(&mut pairs), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn resolved_paths_are_all_different(paths in proptest::collection::vec("t(/[aAbB.1\u{df}s]{1,3}){1,3}", 0..25)) {
            let mut files: Vec<File> = paths.iter().map(|p| file(p)).collect();
            if resolve(&mut files).is_ok() {
                let names: BTreeSet<String> = files.iter().map(|f| fold(f.path.as_str())).collect();
                assert_eq!(names.len(), files.len());
                for a in &names {
                    assert!(!names.iter().any(|b| is_inside(b, a)), "{a}");
                }
            }
        }
    }
}
