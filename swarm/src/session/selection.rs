//! Which files of a torrent are wanted, and how much.

use metainfo::{PieceIndex, Torrent};

use crate::engine::file_priorities;
use crate::engine::picker::Priority;

/// Which files of a torrent are wanted, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those with these indices in the torrent's layout. A piece that they share with others is fetched whole.
    Files(Vec<usize>),
    /// How much each file of the torrent's layout is wanted; files beyond the end of the list as any other. A piece that
    /// several files share is wanted as much as that one of them that is wanted most.
    Ranked(Vec<Priority>),
}

impl Selection {
    /// Whether a file is wanted.
    pub fn has(&self, file: usize) -> bool {
        self.priority(file) != Priority::Skip
    }

    /// How much a file is wanted.
    pub fn priority(&self, file: usize) -> Priority {
        match self {
            Self::All => Priority::Normal,
            Self::Files(files) if files.contains(&file) => Priority::Normal,
            Self::Files(_) => Priority::Skip,
            Self::Ranked(priorities) => priorities.get(file).copied().unwrap_or_default(),
        }
    }

    /// How much each file is wanted.
    pub(super) fn priorities(&self, torrent: &Torrent) -> Vec<Priority> {
        let count = torrent.layout().files().len();
        let Self::Files(files) = self else { return (0..count).map(|file| self.priority(file)).collect() };
        let mut priorities = vec![Priority::Skip; count];
        for file in files {
            if let Some(priority) = priorities.get_mut(*file) {
                *priority = Priority::Normal;
            }
        }
        priorities
    }

    /// The files that are not wanted, by index.
    pub(super) fn left_out(&self, torrent: &Torrent) -> Vec<usize> {
        let priorities = self.priorities(torrent).into_iter().enumerate();
        priorities.filter(|(_, priority)| *priority == Priority::Skip).map(|(file, _)| file).collect()
    }

    /// The first index that the torrent has no file for.
    pub(super) fn unknown(&self, torrent: &Torrent) -> Option<usize> {
        let count = torrent.layout().files().len();
        match self {
            Self::All => None,
            Self::Files(files) => files.iter().copied().find(|index| *index >= count),
            Self::Ranked(priorities) => (priorities.len() > count).then_some(count),
        }
    }

    /// How much each piece is wanted.
    pub(super) fn pieces(&self, torrent: &Torrent) -> Vec<(PieceIndex, Priority)> {
        match self {
            Self::All => torrent.geometry().pieces().map(|piece| (piece, Priority::Normal)).collect(),
            _ => file_priorities(torrent, &self.priorities(torrent)),
        }
    }

    /// As it is recorded: a number for each file, none when they are all wanted alike.
    pub(super) fn encode(&self, torrent: &Torrent) -> Vec<u8> {
        let priorities = self.priorities(torrent);
        if priorities.iter().all(|priority| *priority == Priority::Normal) {
            return Vec::new();
        }
        priorities.into_iter().map(|priority| priority as u8).collect()
    }

    /// From what was recorded.
    pub(super) fn decode(recorded: &[u8]) -> Self {
        let priority = |number: &u8| match number {
            0 => Priority::Skip,
            1 => Priority::Low,
            3 => Priority::High,
            _ => Priority::Normal,
        };
        if recorded.is_empty() { Self::All } else { Self::Ranked(recorded.iter().map(priority).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::Builder;

    #[test]
    fn what_was_chosen_is_recorded_and_read_again() {
        use Priority::{High, Low, Normal, Skip};
        let builder = ["a", "b", "c"].iter().fold(Builder::folder("t"), |b, name| b.file([*name], 3));
        let mut feed = builder.prepare().unwrap().feed();
        feed.update(b"aaabbbccc");
        let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
        for (selection, recorded, left_out) in [
            (Selection::All, vec![], vec![]),
            (Selection::Ranked(vec![Normal]), vec![], vec![]),
            (Selection::Files(vec![1]), vec![0, 2, 0], vec![0, 2]),
            (Selection::Ranked(vec![Low, Skip, High]), vec![1, 0, 3], vec![1]),
        ] {
            assert_eq!(selection.encode(&torrent), recorded);
            assert_eq!(selection.left_out(&torrent), left_out);
            let read = Selection::decode(&recorded);
            assert_eq!(read.priorities(&torrent), selection.priorities(&torrent));
        }
    }
}
