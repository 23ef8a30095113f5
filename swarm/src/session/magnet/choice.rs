//! Which files are wanted of a torrent that is not known yet.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use metainfo::Torrent;

use crate::engine::picker::Priority;
use crate::session::options::AddError;
use crate::session::selection::Selection;

/// Which files are wanted, decided when it is known which there are: before the first request goes out.
#[derive(Clone)]
pub struct Choice(Arc<Decide>);

type Decide = dyn Fn(&Torrent) -> Result<Selection, AddError> + Send + Sync;

impl Choice {
    /// Asks this when the torrent is known. An error is the reason why the torrent is refused.
    pub fn new(decide: impl Fn(&Torrent) -> Result<Selection, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |torrent| decide(torrent).map_err(AddError::Selection)))
    }

    /// What a magnet hints at (`so`, BEP 53); everything when it hints at nothing. Indices that there are no files for count
    /// only if there are no others.
    pub fn hinted(ranges: &[RangeInclusive<u32>]) -> Self {
        if ranges.is_empty() {
            return Self::default();
        }
        let ranges = ranges.to_vec();
        Self(Arc::new(move |torrent| {
            let files = torrent.layout().files().len();
            let is_hinted = |file: &usize| ranges.iter().any(|range| range.contains(&(*file as u32)));
            let wanted: Vec<usize> = (0..files).filter(is_hinted).collect();
            match ranges.first() {
                Some(first) if wanted.is_empty() => {
                    Err(AddError::NoSuchFile { index: *first.start() as usize, files })
                }
                _ => Ok(Selection::Files(wanted)),
            }
        }))
    }

    /// The same, but some files are wanted otherwise.
    pub(in crate::session) fn with(self, changes: Vec<(usize, Priority)>) -> Self {
        Self(Arc::new(move |torrent| {
            let mut priorities = self.decide(torrent)?.priorities(torrent);
            let files = priorities.len();
            for (index, priority) in changes.iter().copied() {
                let known = priorities.get_mut(index).ok_or(AddError::NoSuchFile { index, files })?;
                *known = priority;
            }
            Ok(Selection::Ranked(priorities))
        }))
    }

    pub(in crate::session) fn decide(&self, torrent: &Torrent) -> Result<Selection, AddError> {
        let selection = (self.0)(torrent)?;
        match selection.unknown(torrent) {
            Some(index) => Err(AddError::NoSuchFile { index, files: torrent.layout().files().len() }),
            None => Ok(selection),
        }
    }
}

impl Default for Choice {
    /// All files.
    fn default() -> Self {
        Selection::All.into()
    }
}

impl From<Selection> for Choice {
    fn from(selection: Selection) -> Self {
        Self(Arc::new(move |_| Ok(selection.clone())))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::Builder;

    fn torrent(files: u32) -> Torrent {
        let builder = (0..files).fold(Builder::folder("t"), |b, i| b.file([format!("{i}")], 3));
        let mut feed = builder.prepare().unwrap().feed();
        feed.update(&vec![7; 3 * files as usize]);
        Torrent::parse(&feed.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_magnet_hints_at_files_by_their_indices() {
        let files = |list: &[usize]| Ok(Selection::Files(list.to_vec()));
        let torrent = torrent(5);
        for (ranges, expected) in [
            (vec![], Ok(Selection::All)),
            (vec![0..=0, 2..=3], files(&[0, 2, 3])),
            (vec![3..=u32::MAX], files(&[3, 4])),
            (vec![1..=1, 9..=9], files(&[1])),
            (vec![9..=11], Err(AddError::NoSuchFile { index: 9, files: 5 })),
        ] {
            assert_eq!(Choice::hinted(&ranges).decide(&torrent), expected, "{ranges:?}");
        }
    }

    #[test]
    fn what_the_user_decides_is_checked() {
        let choice = Choice::new(|torrent| match torrent.layout().files().len() {
            2 => Ok(Selection::Files(vec![1])),
            3 => Ok(Selection::Files(vec![3])),
            _ => Err("no".into()),
        });
        assert_eq!(choice.decide(&torrent(2)), Ok(Selection::Files(vec![1])));
        assert_eq!(choice.decide(&torrent(3)), Err(AddError::NoSuchFile { index: 3, files: 3 }));
        assert_eq!(choice.decide(&torrent(4)), Err(AddError::Selection("no".into())));
    }
}
