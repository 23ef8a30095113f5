//! Which files are wanted of a torrent that is not known yet.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use metainfo::{Torrent, covers, merged};

use crate::engine::picker::Priority;
use crate::session::options::AddError;
use crate::session::selection::Selection;

/// Which files are wanted, decided when it is known which there are: before the first request goes out.
#[derive(Clone)]
pub struct Choice {
    base: Base,
    /// Files that are wanted otherwise.
    changes: BTreeMap<usize, Priority>,
}

#[derive(Clone)]
enum Base {
    /// Merged.
    Hinted(Arc<[RangeInclusive<u32>]>),
    Selection(Selection),
    Decided(Arc<Decide>),
}

type Decide = dyn Fn(&Torrent) -> Result<Selection, String> + Send + Sync;

/// A choice as it is recorded of a magnet: the files that its link hints at (`so`, BEP 53), and a number for each file up to the
/// last one that is not wanted as usual. With hints, only the numbers of files that are hinted at count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Noted {
    pub(in crate::session) select: Vec<RangeInclusive<u32>>,
    pub(in crate::session) priorities: Vec<u8>,
}

/// Most ranges of files that a link is recorded with: it is no longer than what is read again.
const MOST_RANGES: usize = 1000;

/// Files whose choice is recorded before it is known whether there are any. No torrent has as many.
pub(super) const MOST_NOTED: usize = 1 << 20;

impl Choice {
    /// Asks this when the torrent is known. An error is the reason why the torrent is refused. What a function would say of a
    /// torrent that is not known cannot be recorded: a magnet link that is [restored](crate::session::Session::restore)
    /// after such a choice wants no file but those that were chosen by its handle besides, until the program that restores it
    /// chooses again. So nothing is fetched that nobody asked for.
    pub fn new(decide: impl Fn(&Torrent) -> Result<Selection, String> + Send + Sync + 'static) -> Self {
        Base::Decided(Arc::new(decide)).into()
    }

    /// What a magnet hints at (`so`, BEP 53); everything when it hints at nothing. Indices that there are no files for count
    /// only if there are no others.
    pub fn hinted(ranges: &[RangeInclusive<u32>]) -> Self {
        Base::Hinted(merged(ranges).into()).into()
    }

    /// The same, but some files are wanted otherwise.
    pub(in crate::session) fn with(mut self, changes: Vec<(usize, Priority)>) -> Self {
        self.changes.extend(changes);
        self
    }

    pub(in crate::session) fn decide(&self, torrent: &Torrent) -> Result<Selection, AddError> {
        let files = torrent.layout().files().len();
        let selection = match &self.base {
            Base::Hinted(ranges) => hinted(ranges, files)?,
            Base::Selection(selection) => selection.clone(),
            Base::Decided(decide) => decide(torrent).map_err(AddError::Selection)?,
        };
        if let Some(index) = selection.unknown(torrent) {
            return Err(AddError::NoSuchFile { index, files });
        }
        if self.changes.is_empty() {
            return Ok(selection);
        }
        let mut priorities = selection.priorities(torrent);
        for (index, priority) in &self.changes {
            let known = priorities.get_mut(*index).ok_or(AddError::NoSuchFile { index: *index, files })?;
            *known = *priority;
        }
        Ok(Selection::Ranked(priorities))
    }

    /// As it is recorded.
    pub(in crate::session) fn noted(&self) -> Noted {
        let mut select: Vec<RangeInclusive<u32>> = Vec::new();
        let mut numbers: BTreeMap<usize, Priority> = BTreeMap::new();
        let mut is_chosen = true;
        let range = |file: &usize| u32::try_from(*file).ok().map(|file| file..=file);
        match &self.base {
            // Only the program can tell.
            Base::Decided(_) => {}
            Base::Hinted(ranges) => {
                select = ranges.to_vec();
                is_chosen = !ranges.is_empty();
            }
            Base::Selection(Selection::Files(files)) => select.extend(files.iter().filter_map(range)),
            Base::Selection(Selection::Ranked(priorities)) => {
                numbers.extend(priorities.iter().copied().enumerate());
                is_chosen = false;
            }
            Base::Selection(Selection::All) => is_chosen = false,
        }
        numbers.extend(&self.changes);
        numbers.retain(|file, _| *file < MOST_NOTED);
        if is_chosen {
            if select.is_empty() {
                // A link cannot say that it wants none.
                numbers.entry(0).or_insert(Priority::Skip);
            }
            select.extend(numbers.keys().filter_map(range));
        }
        select = merged(&select);
        if select.len() > MOST_RANGES {
            // One that spans them, and a number for each file between them.
            let ends = select.windows(2).map(|pair| (*pair[0].end() as usize + 1, *pair[1].start() as usize));
            let gaps = ends.flat_map(|(from, to)| from..to.min(MOST_NOTED));
            numbers.extend(gaps.map(|file| (file, Priority::Skip)));
            select = vec![*select[0].start()..=*select[select.len() - 1].end()];
        }
        numbers.retain(|_, priority| *priority != Priority::Normal);
        let mut priorities = vec![Priority::Normal as u8; numbers.keys().last().map_or(0, |last| last + 1)];
        for (file, priority) in numbers {
            if let Some(number) = priorities.get_mut(file) {
                *number = priority as u8;
            }
        }
        Noted { select, priorities }
    }

    /// From what was recorded.
    pub(in crate::session) fn of_noted(noted: &Noted) -> Self {
        let Noted { select, priorities } = noted;
        let select = merged(select);
        let counts =
            |file: &usize| select.is_empty() || covers(&select, u32::try_from(*file).unwrap_or(u32::MAX));
        let recorded = Selection::decode(priorities);
        let files = (0..priorities.len()).filter(counts).map(|file| (file, recorded.priority(file)));
        let changes = files.filter(|(_, priority)| *priority != Priority::Normal).collect();
        Self::hinted(&select).with(changes)
    }
}

/// The files that a magnet hints at.
fn hinted(ranges: &[RangeInclusive<u32>], files: usize) -> Result<Selection, AddError> {
    let (Some(first), Some(last)) = (ranges.first(), files.checked_sub(1)) else { return Ok(Selection::All) };
    let there = ranges.iter().map(|range| *range.start() as usize..=last.min(*range.end() as usize));
    let wanted: Vec<usize> = there.flatten().collect();
    if wanted.is_empty() {
        return Err(AddError::NoSuchFile { index: *first.start() as usize, files });
    }
    Ok(Selection::Files(wanted))
}

impl From<Base> for Choice {
    fn from(base: Base) -> Self {
        Self { base, changes: BTreeMap::new() }
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
        Base::Selection(selection).into()
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

    #[test]
    fn what_is_recorded_of_a_choice_means_the_same() {
        use Priority::{High, Low, Normal, Skip};
        let torrent = torrent(5);
        let all = || Choice::default();
        let files = |list: &[usize]| Choice::from(Selection::Files(list.to_vec()));
        for (choice, expected) in [
            (all(), [Normal; 5]),
            (all().with(vec![(3, High), (1, Skip)]), [Normal, Skip, Normal, High, Normal]),
            (Choice::hinted(&[1..=2]), [Skip, Normal, Normal, Skip, Skip]),
            (Choice::hinted(&[1..=u32::MAX]).with(vec![(2, Low)]), [Skip, Normal, Low, Normal, Normal]),
            (Choice::hinted(&[0..=0]).with(vec![(4, Normal), (0, Skip)]), [Skip, Skip, Skip, Skip, Normal]),
            (files(&[0, 3, 4]), [Normal, Skip, Skip, Normal, Normal]),
            (files(&[]), [Skip; 5]),
            (files(&[]).with(vec![(2, High)]), [Skip, Skip, High, Skip, Skip]),
            (files(&[2]).with(vec![(2, Skip)]), [Skip; 5]),
            (
                files(&[2]).with(vec![(2, Skip), (1, Low)]).with(vec![(2, High)]),
                [Skip, Low, High, Skip, Skip],
            ),
            (Selection::Ranked(vec![Low, Skip]).into(), [Low, Skip, Normal, Normal, Normal]),
            (
                Choice::from(Selection::Ranked(vec![Low, Skip])).with(vec![(1, Normal)]),
                [Low, Normal, Normal, Normal, Normal],
            ),
        ] {
            let decided = |choice: &Choice| choice.decide(&torrent).unwrap().priorities(&torrent);
            let noted = choice.noted();
            assert_eq!(decided(&choice), expected, "{noted:?}");
            assert_eq!(decided(&Choice::of_noted(&noted)), expected, "{noted:?}");
            assert_eq!(Choice::of_noted(&noted).noted(), noted);
        }
        let far = all().with(vec![(usize::MAX, High)]);
        assert_eq!(far.noted(), Noted::default(), "what there is no file for costs nothing");
    }

    #[test]
    fn of_a_choice_by_a_function_nothing_is_wanted_again_but_what_was_chosen_besides() {
        use Priority::{High, Skip};
        let (torrent, choice) = (torrent(3), Choice::new(|_| Ok(Selection::All)));
        for (choice, expected) in
            [(choice.clone(), [Skip; 3]), (choice.with(vec![(1, High)]), [Skip, High, Skip])]
        {
            let restored = Choice::of_noted(&choice.noted());
            assert_eq!(restored.decide(&torrent).unwrap().priorities(&torrent), expected);
        }
    }

    #[test]
    fn a_choice_of_many_files_apart_fits_a_link() {
        let torrent = torrent(6000);
        let files: Vec<_> = (0..6000).filter(|file| file % 3 != 1 && file % 7 != 5).collect();
        let choice =
            Choice::from(Selection::Files(files)).with(vec![(1, Priority::Low), (3, Priority::High)]);
        let noted = choice.noted();
        assert_eq!(noted.select.len(), 1);
        let decided = |choice: &Choice| choice.decide(&torrent).unwrap().priorities(&torrent);
        assert_eq!(decided(&Choice::of_noted(&noted)), decided(&choice));
    }

    #[test]
    fn a_link_of_many_ranges_costs_no_more_than_its_files() {
        let ranges: Vec<_> = (0..200_000).map(|n| (n % 3)..=u32::MAX - n % 5).collect();
        let torrent = torrent(4);
        assert_eq!(Choice::hinted(&ranges).noted().select, [0..=u32::MAX]);
        let chosen = Choice::hinted(&ranges).decide(&torrent);
        assert_eq!(chosen, Ok(Selection::Files(vec![0, 1, 2, 3])));
    }
}
