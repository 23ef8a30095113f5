//! Names of files that the user chose.

use metainfo::Layout;
use metainfo::path::{MAX_DEPTH, clean_part};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// The files of a torrent that are kept under another path than the torrent says: index in the layout and path beneath the
/// torrent's folder, parts joined by `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileNames(BTreeMap<usize, String>);

impl FileNames {
    /// The path chosen for a file.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(&index).map(String::as_str)
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().map(|(index, path)| (*index, path.as_str()))
    }

    /// The path that a file has: the chosen one, or the torrent's.
    pub fn path<'a>(&'a self, layout: &'a Layout, index: usize) -> &'a str {
        self.get(index).or_else(|| layout.files().get(index).map(|file| file.path.as_str())).unwrap_or("")
    }

    /// What a path of the user's becomes: each part cleaned as those in torrents are, and not that of another file or
    /// folder of the torrent, whatever the file system thinks of case.
    ///
    /// # Errors
    /// `InvalidInput` when nothing usable is left of it, or it is too deep, or the file is none that is stored;
    /// `AlreadyExists` when it collides.
    pub fn usable(&self, layout: &Layout, index: usize, wanted: &str) -> io::Result<String> {
        let is_stored = |file: &metainfo::File| !file.is_pad() && !file.attributes.symlink;
        if !layout.files().get(index).is_some_and(is_stored) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "there is no such file in the torrent"));
        }
        let path = Self::cleaned(wanted)?;
        let folded = path.to_lowercase();
        let mut others =
            layout.files().iter().enumerate().filter(|(at, file)| *at != index && is_stored(file));
        let is_taken = others.any(|(at, _)| {
            let other = self.path(layout, at).to_lowercase();
            other == folded || is_inside(&other, &folded) || is_inside(&folded, &other)
        });
        if is_taken {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "another file of the torrent has that name",
            ));
        }
        Ok(path)
    }

    /// What is left of a path of the user's when each part is cleaned as those in torrents are.
    ///
    /// # Errors
    /// `InvalidInput` when nothing usable is left of it, or it is too deep.
    pub fn cleaned(wanted: &str) -> io::Result<String> {
        let parts: Vec<String> = wanted.split('/').filter_map(|part| clean_part(part.as_bytes())).collect();
        if parts.is_empty() || parts.len() > MAX_DEPTH {
            return Err(io::Error::new(ErrorKind::InvalidInput, "nothing usable is left of the name"));
        }
        Ok(parts.join("/"))
    }

    /// Whether a file or folder could be taken for an unfinished file, because its name ends as theirs do.
    pub(super) fn any_ends_in(&self, layout: &Layout, suffix: &str) -> bool {
        let mut stored = layout.files().iter().enumerate().filter(|(_, file)| !file.is_pad());
        stored.any(|(at, _)| has_part_ending_in(self.path(layout, at), suffix))
    }

    /// Sets the path of a file. It should be a [`FileNames::usable`] one; what is not is never opened.
    pub fn set(&mut self, layout: &Layout, index: usize, path: String) {
        if layout.files().get(index).is_some_and(|file| file.path.as_str() == path) {
            self.0.remove(&index);
        } else {
            self.0.insert(index, path);
        }
    }
}

impl FromIterator<(usize, String)> for FileNames {
    fn from_iter<I: IntoIterator<Item = (usize, String)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// Whether names of files can end so: it is not empty, and the rules for names in torrents leave it as it is.
pub fn is_suffix(suffix: &str) -> bool {
    let name = format!("a{suffix}");
    !suffix.is_empty() && clean_part(name.as_bytes()).is_some_and(|clean| clean == name)
}

/// Whether a part of the path ends so, whatever the file system thinks of case.
pub(super) fn has_part_ending_in(path: &str, suffix: &str) -> bool {
    let suffix = suffix.to_lowercase();
    path.to_lowercase().split('/').any(|part| part.ends_with(&suffix))
}

fn is_inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::Builder;

    #[test]
    fn names_of_the_user_are_cleaned_and_never_collide() {
        let draft = Builder::folder("t").file(["a"], 10).file(["b", "c"], 10).prepare().unwrap();
        let (layout, names) = (draft.layout(), FileNames::default());
        let usable = |wanted| names.usable(layout, 0, wanted).map_err(|error| error.kind());
        assert_eq!(usable("t/d.txt"), Ok("t/d.txt".into()));
        assert_eq!(usable("../../etc//./passwd"), Ok("etc/passwd".into()));
        assert_eq!(usable("t/nul"), Ok("t/_nul".into()));
        for empty in ["", "..", "///", "./."] {
            assert_eq!(usable(empty), Err(ErrorKind::InvalidInput), "{empty:?}");
        }
        for taken in ["T/B/C", "t/b", "t", "t/b/c/d"] {
            assert_eq!(usable(taken), Err(ErrorKind::AlreadyExists), "{taken:?}");
        }
        assert_eq!(names.usable(layout, 9, "x").unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn the_torrents_own_name_is_no_choice() {
        let draft = Builder::folder("t").file(["a"], 10).prepare().unwrap();
        let mut names = FileNames::default();
        names.set(draft.layout(), 0, "x".into());
        assert_eq!(names.path(draft.layout(), 0), "x");
        names.set(draft.layout(), 0, "t/a".into());
        assert_eq!((names.path(draft.layout(), 0), names.iter().count()), ("t/a", 0));
    }
}
