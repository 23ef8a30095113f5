//! How the files were when their pieces were last known to be right.
//!
//! A record holds stamps of the files, and the next start believes a file that still looks so. A save must therefore not
//! take whatever is there for granted: somebody may have changed a file since the save before. A stamp is replaced only
//! where the storage wrote the file itself, and the file is the same one and not shorter. What else changed is doubted.
//!
//! When the storage and somebody else write to a file between two saves, this does not tell.

use super::state::FileStamp;
use crate::Touched;
use std::collections::BTreeSet;

/// The stamps to record, and the files that are not as they were left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    stamps: Vec<Option<FileStamp>>,
    /// Changed by others; what was in them is only known after a check.
    changed: BTreeSet<usize>,
    /// Not there just now.
    missing: BTreeSet<usize>,
}

impl Baseline {
    /// As the files were before their pieces were checked.
    pub fn new(stamps: Vec<Option<FileStamp>>) -> Self {
        Self { stamps, ..Self::default() }
    }

    /// Compares with the files as they are `now`. `touched` is what the storage said just before it looked; both have one
    /// for each file.
    pub fn update(&mut self, now: &[Option<FileStamp>], touched: &[Touched]) {
        self.missing.clear();
        for (file, ((stamp, now), touched)) in self.stamps.iter_mut().zip(now).zip(touched).enumerate() {
            match (*stamp, *now) {
                (None, None) => {}
                (Some(_), None) => {
                    self.missing.insert(file);
                }
                // What else somebody changed of it is not recorded, so that the next start checks the file.
                (Some(old), Some(new))
                    if old.is_same(&new) && !touched.made && *touched == Touched::default() => {}
                (Some(old), Some(new))
                    if old.is_same(&new) && !touched.made && !self.changed.contains(&file) =>
                {
                    *stamp = *now;
                }
                (old, Some(_)) if old == *now && !touched.made => {}
                (old, Some(new)) if !self.changed.contains(&file) && is_explained(old, new, *touched) => {
                    *stamp = *now;
                }
                (_, Some(_)) => {
                    self.changed.insert(file);
                }
            }
        }
    }

    /// What to record.
    pub fn stamps(&self) -> &[Option<FileStamp>] {
        &self.stamps
    }

    /// The files whose pieces are not to be believed, by index in the layout.
    pub fn doubted(&self) -> impl Iterator<Item = usize> {
        self.changed.union(&self.missing).copied()
    }
}

/// Whether what the storage did makes the one of the other.
fn is_explained(old: Option<FileStamp>, new: FileStamp, touched: Touched) -> bool {
    let Some(old) = old else { return touched.made || touched.written || touched.folded };
    let is_written = touched.written && !touched.made;
    let leads = |old: FileStamp, new: FileStamp| {
        let is_same_file = old.inode == new.inode || old.inode == 0 || new.inode == 0;
        is_same_file && ((old.len, old.mtime) == (new.len, new.mtime) || is_written && new.len >= old.len)
    };
    match touched.moved {
        _ if touched.folded => true,
        // What others did before, or while it was moved, is not what was moved.
        Some((from, to)) => leads(old, from.into()) && leads(to.into(), new),
        None => is_written && leads(old, new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(len: u64, mtime: u64, inode: u64) -> Option<FileStamp> {
        Some(FileStamp { len, mtime, inode, ctime: 0, attributes: 0 })
    }

    #[test]
    fn only_our_own_writes_make_a_new_stamp() {
        let nothing = Touched::default();
        let written = Touched { written: true, ..nothing };
        let made = Touched { made: true, ..written };
        let moved = |from: Option<FileStamp>, to: Option<FileStamp>| {
            let stamp = |stamp: FileStamp| {
                let mtime_ns = i64::try_from(stamp.mtime).unwrap();
                crate::Stamp {
                    len: stamp.len,
                    mtime_ns,
                    ctime_ns: 0,
                    attributes: 0,
                    inode: stamp.inode,
                    device: 1,
                }
            };
            Touched { moved: from.map(stamp).zip(to.map(stamp)), ..nothing }
        };
        let old = stamp(10, 5, 1);
        // before, now, what we did, recorded, doubted
        let table = [
            (old, old, nothing, old, false),
            (old, old, written, old, false),
            (old, stamp(10, 6, 1), written, stamp(10, 6, 1), false),
            (old, stamp(20, 6, 1), written, stamp(20, 6, 1), false),
            (None, stamp(20, 6, 1), made, stamp(20, 6, 1), false),
            (None, None, nothing, None, false),
            // Somebody wrote, cut, replaced, removed, or put one there.
            (old, stamp(10, 6, 1), nothing, old, true),
            (old, stamp(9, 6, 1), written, old, true),
            (old, stamp(10, 6, 2), written, old, true),
            (old, None, nothing, old, true),
            (old, None, written, old, true),
            (None, stamp(20, 6, 1), nothing, None, true),
            // It was gone and we made another, whose number may even be the same.
            (old, stamp(10, 6, 1), made, old, true),
            // To another disk.
            (old, stamp(10, 5, 7), moved(old, stamp(10, 5, 7)), stamp(10, 5, 7), false),
            // And written to by us before, or after.
            (
                old,
                stamp(10, 7, 7),
                Touched { written: true, ..moved(stamp(10, 6, 1), stamp(10, 5, 7)) },
                stamp(10, 7, 7),
                false,
            ),
            // Somebody wrote before that, or after, or put another in its place.
            (old, stamp(10, 5, 7), moved(stamp(10, 6, 1), stamp(10, 5, 7)), old, true),
            (old, stamp(10, 6, 7), moved(old, stamp(10, 5, 7)), old, true),
            (old, stamp(10, 5, 8), moved(old, stamp(10, 5, 7)), old, true),
        ];
        for (at, (before, now, touched, recorded, is_doubted)) in table.into_iter().enumerate() {
            let mut baseline = Baseline::new(vec![before]);
            baseline.update(&[now], &[touched]);
            assert_eq!(baseline.stamps(), [recorded], "line {at}");
            assert_eq!(baseline.doubted().next().is_some(), is_doubted, "line {at}");
        }
    }

    #[test]
    fn what_else_is_changed_of_a_file_is_recorded_if_it_was_ours() {
        let at = |ctime| stamp(10, 5, 1).map(|stamp| FileStamp { ctime, ..stamp });
        let nothing = Touched::default();
        let ours = [Touched { named: true, ..nothing }, Touched { written: true, ..nothing }];
        for (touched, recorded) in [(nothing, 6), (ours[0], 7), (ours[1], 7)] {
            let mut baseline = Baseline::new(vec![at(6)]);
            baseline.update(&[at(7)], &[touched]);
            assert_eq!((baseline.stamps(), baseline.doubted().count()), (&[at(recorded)][..], 0));
        }
    }

    #[test]
    fn a_changed_file_stays_doubted_and_one_that_comes_back_does_not() {
        let (old, written) = (stamp(10, 5, 1), Touched { written: true, ..Touched::default() });
        let mut baseline = Baseline::new(vec![old, old]);
        baseline.update(&[stamp(10, 6, 1), None], &[Touched::default(); 2]);
        assert_eq!(baseline.doubted().collect::<Vec<_>>(), [0, 1]);
        baseline.update(&[stamp(10, 7, 1), old], &[written, Touched::default()]);
        assert_eq!(baseline.doubted().collect::<Vec<_>>(), [0]);
        assert_eq!(baseline.stamps(), [old, old]);
    }
}
