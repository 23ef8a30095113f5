//! What of a record cannot be found again on the disk: the torrent, its folder, and what its user chose.

use super::sheet;
use super::{Finishing, Flags, Folder, LinkTo, Outline, Record, State, Summary, Times, Totals, Tracker};

impl Record {
    /// The record without what the disk tells: it claims no piece, so that all that is there is found by a check.
    pub fn spare(&self) -> Self {
        Self { summary: self.summary.spare(), state: self.state.spare(), source: self.source.clone() }
    }
}

impl Summary {
    /// The part of a [`Record::spare`].
    pub fn spare(&self) -> Self {
        let Flags { paused, seed_only, private, no_metadata, .. } = self.flags;
        let bare = |tracker: &Tracker| Tracker { id: None, next: None, works: false, ..tracker.clone() };
        let outline = self.outline.as_ref().map(|outline| Outline {
            pieces_done: 0,
            trackers: outline.trackers.iter().map(|(tier, tracker)| (*tier, bare(tracker))).collect(),
            ..outline.clone()
        });
        Self {
            generation: 0,
            flags: Flags { paused, seed_only, private, no_metadata, ..Flags::default() },
            done: 0,
            times: Times { next_announce: None, ..self.times },
            outline,
            ..self.clone()
        }
    }

    /// Changes when a spare of it has to be written anew: not with what is moved, nor with time.
    pub fn spare_sum(&self) -> u32 {
        let same = Self {
            // The system numbers devices anew at each start.
            folder: self.folder.map(|folder| Folder { device: 0, ..folder }),
            totals: Totals::default(),
            times: Times { added: self.times.added, ..Times::default() },
            ..self.spare()
        };
        sheet::sum(&same.encode())
    }
}

impl State {
    /// The part of a [`Record::spare`].
    pub fn spare(&self) -> Self {
        let Self { choices, moving_to, goal, renaming, finishing, .. } = self;
        let link = finishing.link.as_ref().map(|link| LinkTo { done: 0, ..link.clone() });
        Self {
            choices: choices.clone(),
            moving_to: moving_to.clone(),
            goal: *goal,
            renaming: renaming.clone(),
            finishing: Finishing { link, ..finishing.clone() },
            ..Self::new(0)
        }
    }

    /// Changes when a spare of it has to be written anew.
    pub fn spare_sum(&self) -> u32 {
        sheet::sum(&self.spare().encode())
    }
}

#[cfg(test)]
mod tests {
    use super::super::PieceSet;
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_spare_keeps_what_was_chosen_and_claims_nothing() {
        let record = sample(1);
        let spare = record.spare();
        assert_eq!((&spare.source, &spare.state.choices), (&record.source, &record.state.choices));
        assert_eq!((&spare.summary.dir, spare.summary.folder), (&record.summary.dir, record.summary.folder));
        assert!(spare.summary.flags.paused && spare.summary.totals == record.summary.totals);
        assert!(
            spare.state.pieces.is_empty() && spare.claims_anything(),
            "what is there has to be looked at"
        );
        assert_eq!((spare.summary.done, &spare.state.stamps), (0, &Vec::new()));
        assert_eq!(spare.spare(), spare);
    }

    #[test]
    fn progress_asks_for_no_other_spare_and_a_choice_does() {
        let record = sample(1);
        let sums = |record: &Record| (record.summary.spare_sum(), record.state.spare_sum());
        let changed = |change: fn(&mut Record)| {
            let mut other = record.clone();
            change(&mut other);
            sums(&other) != sums(&record)
        };
        let moves: [fn(&mut Record); 7] = [
            |record| record.summary.generation += 1,
            |record| record.summary.done += 1,
            |record| record.summary.flags.complete = true,
            |record| record.summary.totals.uploaded -= 1,
            |record| record.summary.times.saved += 1,
            |record| record.state.pieces = PieceSet::all(1001),
            |record| record.state.created.clear(),
        ];
        let chooses: [fn(&mut Record); 7] = [
            |record| record.summary.dir = "/elsewhere".into(),
            |record| record.summary.flags.paused = false,
            |record| record.state.choices.priorities = vec![1, 1, 1, 1],
            |record| record.state.choices.names.clear(),
            |record| record.state.choices.trackers.clear(),
            |record| record.state.choices.up_limit = Some(5),
            |record| record.state.finishing.unfinished_in = Some("/incomplete".into()),
        ];
        assert_eq!(moves.map(changed), [false; 7]);
        assert_eq!(chooses.map(changed), [true; 7]);
    }
}
