//! What of a record is to be believed.
//!
//! A record says which pieces were right and durable when it was written, and how the files looked. Since then our own
//! program may have written more and crashed, and others may have changed what they like. The rules:
//!
//! - A file that looks as recorded holds what it held, if the program ended cleanly. If it crashed, and the file had just
//!   been written when the record was, pieces of it that are not recorded may be good: they are checked.
//! - After a crash, a file that was written later than the record was, but not much later, was written by us. We never
//!   write over a recorded piece, so those are believed, and the others are checked.
//! - Any other change was not ours, so every piece of that file is checked: the recorded ones may be bad, the others good.
//! - Of a file that is gone nothing is there, also when it was gone already when the record was written.
//! - A file that cannot be looked at may hold all that it held, and more: every piece of it is checked when it can be read.
//! - A file of which only something else was changed (a name, a right, or the bytes, and its time was set back) may hold other bytes:
//!   it is checked.
//! - After a crash of the system its clock may have gone back: what was written later than the record is not ours then.
//! - Pieces that the record doubts are checked, however the files look.

use super::pieces::PieceSet;
use super::state::{FileStamp, Partial};
use super::{Record, State};
use crate::{Operation, Storage, StorageError};
use metainfo::{PieceRange, Torrent};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut};
use std::ops::RangeInclusive;

/// Longer than this after its last save no write of ours can come: saves follow writes within seconds. In nanoseconds.
const OURS: u64 = 30_000_000_000;

/// A file system whose files have no lasting number counts time in steps as long as this, in nanoseconds.
const STEP: u64 = 2_000_000_000;

/// What a record is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Pieces that are there.
    pub have: PieceSet,
    /// Pieces that may be there: to be checked. None of them is in `have`.
    pub doubtful: PieceSet,
    /// Blocks of other pieces that are there; of doubtful ones if they turn out not to be whole.
    pub partial: Vec<Partial>,
    /// Files that differ from the record in a way that is not ours: index in the layout.
    pub changed: Vec<usize>,
    /// Files that were there and are gone: index in the layout.
    pub gone: Vec<usize>,
}

impl Judgement {
    /// Of a record that says nothing: everything is doubtful.
    pub fn doubt_all(torrent: &Torrent) -> Self {
        let pieces = torrent.geometry().piece_count();
        Self {
            have: PieceSet::none(pieces),
            doubtful: PieceSet::all(pieces),
            partial: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
        }
    }
}

/// Compares a record with the files as they are. `stamps` has one for each file of the torrent's layout, `None` where
/// there is none, and for those that could not be looked at: their indexes are `unseen`, in
/// order.
pub fn judge(
    record: &Record,
    torrent: &Torrent,
    stamps: &[Option<FileStamp>],
    unseen: &[usize],
) -> Judgement {
    let is_same_boot = record.state.boot.is_none_or(|then| super::boot().is_none_or(|now| then == now));
    judge_in(record, torrent, stamps, unseen, is_same_boot)
}

fn judge_in(
    record: &Record,
    torrent: &Torrent,
    stamps: &[Option<FileStamp>],
    unseen: &[usize],
    is_same_boot: bool,
) -> Judgement {
    let Record { summary, state, .. } = record;
    let pieces = torrent.geometry().piece_count();
    let files = torrent.layout().files();
    let fits =
        state.pieces.len() == pieces && state.doubtful.len() == pieces && state.stamps.len() == files.len();
    if !fits || stamps.len() != files.len() || summary.hashes != *torrent.info_hashes() {
        return Judgement::doubt_all(torrent);
    }
    let mut judgement = Judgement {
        have: state.pieces.clone(),
        doubtful: state.doubtful.clone(),
        ..Judgement::doubt_all(torrent)
    };
    judgement.doubtful.subtract(&state.pieces);
    let saved = summary.times.saved.saturating_mul(1_000_000);
    let until = if is_same_boot { saved.saturating_add(OURS) } else { saved };
    // A move or a new name that a crash cut short shows as a change of its own.
    let is_moving = state.moving_to.is_some() || !state.renaming.is_empty();
    let without = |stamp: &FileStamp| FileStamp { ctime: if is_moving { 0 } else { stamp.ctime }, ..*stamp };
    let looks = state.stamps.iter().zip(stamps).enumerate().map(|(file, (old, new))| match (old, new) {
        _ if unseen.binary_search(&file).is_ok() => Look::Unseen,
        (None, None) if claims(state, torrent, file) => Look::Gone,
        (old, new) => Look::of(old.as_ref().map(without), *new, saved..=until, summary.flags.clean),
    });
    let looks: Vec<Look> = looks.collect();
    // What is gone comes last, because a piece that reaches into such a file needs no check.
    for pass in [Look::Ours, Look::Unseen, Look::Touched, Look::Foreign, Look::Gone] {
        for (file, look) in looks.iter().enumerate().filter(|(_, look)| **look == pass) {
            if files.get(file).is_some_and(|file| file.is_pad()) {
                continue;
            }
            judgement.apply(*look, file, torrent);
        }
    }
    judgement.partial = kept(state, torrent, &looks);
    judgement
}

/// How a file looks, compared with the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// As recorded, and nothing more can be in it.
    Same,
    /// As recorded or later, and if it was written, then by us.
    Ours,
    /// As recorded, but somebody changed something else of it, or hides that it was written to.
    Touched,
    /// Changed by somebody else.
    Foreign,
    /// It was there and is not any more.
    Gone,
    /// Nobody knows.
    Unseen,
}

impl Look {
    /// `ours` is from when the record was written until when we may have written to files.
    fn of(old: Option<FileStamp>, new: Option<FileStamp>, ours: RangeInclusive<u64>, is_clean: bool) -> Self {
        let (saved, until) = ours.into_inner();
        match (old, new) {
            (None, None) => Self::Same,
            (Some(_), None) => Self::Gone,
            (None, Some(_)) => Self::Foreign,
            (Some(old), Some(new)) => {
                let is_same_file = old.inode == new.inode || old.inode == 0 || new.inode == 0;
                let is_same = is_same_file && (old.len, old.mtime) == (new.len, new.mtime);
                let is_recent = new.mtime.saturating_add(OURS) >= saved;
                let may_be_ours = !is_clean
                    && is_same_file
                    && new.len >= old.len
                    && (old.mtime..=until).contains(&new.mtime);
                let is_touched = old.is_touched(&new) && (is_clean || new.ctime > until);
                // Somebody may have written to it after it was looked at, within the same step.
                let may_hide = (old.inode, new.inode) == (0, 0) && new.mtime.saturating_add(STEP) > saved;
                match (is_same && !may_hide, may_be_ours && is_recent) {
                    (true, _) if is_touched => Self::Touched,
                    (true, false) => Self::Same,
                    (_, true) => Self::Ours,
                    (false, false) => Self::Foreign,
                }
            }
        }
    }
}

impl Judgement {
    fn apply(&mut self, look: Look, file: usize, torrent: &Torrent) {
        match look {
            Look::Same | Look::Ours | Look::Unseen | Look::Touched => {}
            Look::Foreign => self.changed.push(file),
            Look::Gone => self.gone.push(file),
        }
        for piece in torrent.layout().file_pieces(file).into_iter().flatten() {
            match look {
                Look::Same => {}
                Look::Ours if self.have.contains(piece) => {}
                Look::Ours => self.doubtful.set(piece, true),
                Look::Foreign | Look::Unseen | Look::Touched => {
                    self.have.set(piece, false);
                    self.doubtful.set(piece, true);
                }
                Look::Gone => {
                    self.have.set(piece, false);
                    self.doubtful.set(piece, false);
                }
            }
        }
    }
}

/// Whether the record says that something of a file is there.
fn claims(state: &State, torrent: &Torrent, file: usize) -> bool {
    let is_claimed = |piece: u32| {
        let in_part = || state.partial.iter().any(|partial| partial.piece == piece);
        state.pieces.contains(piece) || state.doubtful.contains(piece) || in_part()
    };
    torrent.layout().file_pieces(file).into_iter().flatten().any(is_claimed)
}

/// Partial pieces whose files are as we left them.
fn kept(state: &State, torrent: &Torrent, looks: &[Look]) -> Vec<Partial> {
    let geometry = torrent.geometry();
    let is_kept = |partial: &&Partial| {
        let Ok(piece) = geometry.piece(partial.piece) else { return false };
        let blocks = geometry.piece_len(piece).div_ceil(metainfo::BLOCK);
        let ours = |file: usize| {
            matches!(looks.get(file), Some(Look::Same | Look::Ours | Look::Unseen | Look::Touched))
        };
        let mut segments = torrent.layout().segments(geometry.whole(piece));
        let is_there = segments.all(|segment| segment.pad || ours(segment.file));
        is_there && blocks == partial.blocks.len() && !state.pieces.contains(partial.piece)
    };
    state.partial.iter().filter(is_kept).cloned().collect()
}

/// A storage of which only some pieces are shown: others are not there. For a [`recheck`](crate::recheck) of these alone.
pub struct Shown<'a> {
    /// All of it.
    pub storage: &'a dyn Storage,
    /// What is shown.
    pub pieces: &'a PieceSet,
}

impl Storage for Shown<'_> {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        if !self.pieces.contains(range.piece().get()) {
            return Err(StorageError::new(Operation::Read, "", None, Error::from(ErrorKind::NotFound)));
        }
        self.storage.read(range, into)
    }

    fn write(&self, _: PieceRange, _: &[IoSlice<'_>]) -> Result<(), StorageError> {
        Err(StorageError::new(Operation::Write, "", None, Error::from(ErrorKind::PermissionDenied)))
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Flags, Source, Summary, Times, Totals};
    use metainfo::Builder;

    const SAVED_MS: u64 = 1_700_000_000_000;
    const SAVED: u64 = SAVED_MS * 1_000_000;
    const SECOND: u64 = 1_000_000_000;

    type Stamps = [Option<FileStamp>; 3];

    /// Three files of two pieces each.
    fn torrent() -> Torrent {
        let builder = ["a", "b", "c"]
            .iter()
            .fold(Builder::folder("t").piece_length(32768), |builder, name| builder.file([*name], 65536));
        let mut feed = builder.prepare().unwrap().feed();
        feed.update(&[7; 3 * 65536]);
        Torrent::parse(&feed.finish().unwrap()).unwrap()
    }

    fn stamp(mtime: u64) -> Option<FileStamp> {
        Some(FileStamp { len: 65536, mtime, inode: 9, ctime: 0, attributes: 0 })
    }

    /// Pieces as a picture: `#` is in the set.
    fn set(picture: &str) -> PieceSet {
        let mut set = PieceSet::none(6);
        picture.bytes().zip(0..).for_each(|(c, piece)| set.set(piece, c == b'#'));
        set
    }

    fn record(pieces: &str, stamps: [Option<FileStamp>; 3], is_clean: bool) -> Record {
        let torrent = torrent();
        let summary = Summary {
            generation: 1,
            hashes: *torrent.info_hashes(),
            name: "t".into(),
            dir: "/d".into(),
            folder: None,
            flags: Flags { clean: is_clean, ..Flags::default() },
            size: 3 * 65536,
            done: 0,
            totals: Totals::default(),
            times: Times { saved: SAVED_MS, ..Times::default() },
            name_rules: 1,
            outline: None,
        };
        let partial = vec![Partial { piece: 5, blocks: PieceSet::from_bits(&[0x80], 2).unwrap() }];
        let state = State { pieces: set(pieces), stamps: stamps.to_vec(), partial, ..State::new(6) };
        Record { summary, state, source: None::<Source> }
    }

    #[test]
    fn a_record_is_believed_as_far_as_the_files_are_as_they_were() {
        let old = SAVED - 100 * SECOND;
        let same = [stamp(old), stamp(old), stamp(old)];
        let other = |mtime| [stamp(old), stamp(mtime), stamp(old)];
        let shorter = [
            stamp(old),
            Some(FileStamp { len: 1, mtime: old + 1, inode: 9, ctime: 0, attributes: 0 }),
            stamp(old),
        ];
        let replaced = [
            stamp(old),
            Some(FileStamp { len: 65536, mtime: old, inode: 8, ctime: 0, attributes: 0 }),
            stamp(old),
        ];
        let gone = [stamp(old), None, stamp(old)];
        // recorded, files as recorded, clean, files now, had, doubtful
        let table: &[(&str, Stamps, bool, Stamps, &str, &str)] = &[
            // Nothing changed.
            ("##.#..", same, true, same, "##.#..", "......"),
            ("##.#..", same, false, same, "##.#..", "......"),
            // Not written for long when the record was; ended cleanly; written meanwhile, whoever it was.
            ("##.#..", same, true, other(SAVED + SECOND), "##....", "..##.."),
            // Crashed; we wrote on for a second.
            ("##.#..", same, false, other(SAVED + SECOND), "##.#..", "..#..."),
            // Crashed; it was just being written when the record was.
            ("##.#..", other(SAVED - SECOND), false, other(SAVED - SECOND), "##.#..", "..#..."),
            ("##.#..", other(SAVED - SECOND), true, other(SAVED - SECOND), "##.#..", "......"),
            // Crashed; somebody wrote an hour later.
            ("##.#..", same, false, other(SAVED + 3600 * SECOND), "##....", "..##.."),
            // Times that go back, files that shrink, and other files of the same name are not ours.
            ("##.#..", same, false, other(old - 1), "##....", "..##.."),
            ("##.#..", same, false, shorter, "##....", "..##.."),
            ("##.#..", same, false, replaced, "##....", "..##.."),
            // Gone; and there anew.
            ("##.#..", same, true, gone, "##....", "......"),
            ("##....", gone, true, same, "##....", "..##.."),
            ("##....", gone, false, other(SAVED), "##....", "..##.."),
            // It was gone already when the record was written, and it still is, or is there anew.
            ("##.#..", gone, true, gone, "##....", "......"),
            ("##.#..", gone, false, other(SAVED), "##....", "..##.."),
        ];
        for (at, (recorded, then, is_clean, now, had, doubtful)) in table.iter().enumerate() {
            let found = judge(&record(recorded, *then, *is_clean), &torrent(), now, &[]);
            assert_eq!((&found.have, &found.doubtful), (&set(had), &set(doubtful)), "line {at}");
            assert_eq!(found.partial.len(), 1, "line {at}");
        }
    }

    #[test]
    fn a_file_of_which_only_something_else_changed_is_checked() {
        let old = SAVED - 100 * SECOND;
        let changed = |ctime| {
            [stamp(old), stamp(old).map(|stamp| FileStamp { ctime, attributes: 7, ..stamp }), stamp(old)]
        };
        // recorded, clean, now, had, doubtful
        let table = [
            (old, true, old, "##.#..", "......"),
            (old, true, old + 1, "##....", "..##.."),
            (old, true, old - 1, "##....", "..##.."),
            // By us, or not.
            (old, false, SAVED + SECOND, "##.#..", "......"),
            (old, false, SAVED + 3600 * SECOND, "##....", "..##.."),
            // Not known then, or now.
            (0, true, old, "##.#..", "......"),
            (old, true, 0, "##.#..", "......"),
        ];
        for (at, (then, is_clean, now, had, doubtful)) in table.into_iter().enumerate() {
            let found = judge(&record("##.#..", changed(then), is_clean), &torrent(), &changed(now), &[]);
            assert_eq!((&found.have, &found.doubtful), (&set(had), &set(doubtful)), "line {at}");
            assert_eq!((found.partial.len(), found.changed.len()), (1, 0), "line {at}");
        }
        // Another name or right explains it, as far as it is known.
        for (then, now, had) in [(7, 8, "##.#.."), (7, 7, "##...."), (0, 8, "##...."), (7, 0, "##....")] {
            let with = |attributes, ctime| {
                let [first, second, third] = changed(ctime);
                [first, second.map(|stamp| FileStamp { attributes, ..stamp }), third]
            };
            let found = judge(&record("##.#..", with(then, old), true), &torrent(), &with(now, old + 1), &[]);
            assert_eq!(found.have, set(had), "{then} {now}");
        }
        // We may have moved it just before a crash.
        let mut moving = record("##.#..", changed(old), true);
        moving.state.moving_to = Some("/elsewhere".into());
        assert!(judge(&moving, &torrent(), &changed(old + 1), &[]).doubtful.is_none());
    }

    #[test]
    fn what_was_written_after_the_record_and_before_another_start_of_the_system_is_checked() {
        let old = stamp(SAVED - 100 * SECOND);
        for (mtime, is_same_boot, had, doubtful) in [
            (SAVED + SECOND, true, "##.#..", "..#..."),
            (SAVED + SECOND, false, "##....", "..##.."),
            (SAVED - SECOND, false, "##.#..", "..#..."),
        ] {
            let now = [old, stamp(mtime), old];
            let found = judge_in(&record("##.#..", [old; 3], false), &torrent(), &now, &[], is_same_boot);
            assert_eq!((&found.have, &found.doubtful), (&set(had), &set(doubtful)));
        }
        let mut record = record("##.#..", [old; 3], false);
        let now = [old, stamp(SAVED + SECOND), old];
        for (boot, had) in [(super::super::boot(), "##.#.."), (Some([7; 16]), "##....")] {
            record.state.boot = boot;
            let had = if super::super::boot().is_some() { had } else { "##.#.." };
            assert_eq!(judge(&record, &torrent(), &now, &[]).have, set(had));
        }
    }

    #[test]
    fn where_times_are_coarse_a_file_that_was_just_written_is_checked() {
        let coarse = |mtime| Some(FileStamp { len: 65536, mtime, inode: 0, ctime: 0, attributes: 0 });
        let old = coarse(SAVED - 100 * SECOND);
        let stamps = [old, coarse(SAVED - SECOND), old];
        let found = judge(&record("##.#..", stamps, true), &torrent(), &stamps, &[]);
        assert_eq!((&found.have, &found.doubtful), (&set("##...."), &set("..##..")));
    }

    #[test]
    fn what_the_record_doubts_is_checked_however_the_files_look() {
        let old = SAVED - 100 * SECOND;
        let same = [stamp(old); 3];
        let mut record = record("##.#..", same, true);
        record.state.doubtful = set("#.#.#.");
        let found = judge(&record, &torrent(), &same, &[]);
        assert_eq!((&found.have, &found.doubtful), (&set("##.#.."), &set("..#.#.")));
        let found = judge(&record, &torrent(), &[stamp(old), None, stamp(old)], &[]);
        assert_eq!((&found.have, &found.doubtful), (&set("##...."), &set("....#.")), "nothing is there");
        record.state.doubtful = PieceSet::none(7);
        assert_eq!(judge(&record, &torrent(), &same, &[]), Judgement::doubt_all(&torrent()));
    }

    #[test]
    fn what_cannot_be_looked_at_is_doubted_and_not_taken_for_gone() {
        let old = stamp(SAVED - 100 * SECOND);
        for then in [old, None] {
            let record = record("##.#..", [old, then, old], true);
            let found = judge(&record, &torrent(), &[old, None, old], &[1]);
            assert_eq!((&found.have, &found.doubtful), (&set("##...."), &set("..##..")));
            assert_eq!((found.partial.len(), found.changed, found.gone), (1, vec![], vec![]));
        }
        // A file that is gone says of a piece that it shares what one that cannot be seen does not.
        let found = judge(&record("######", [old; 3], true), &torrent(), &[None, None, old], &[0]);
        assert_eq!((&found.have, &found.doubtful), (&set("....##"), &set("##....")));
    }

    #[test]
    fn partial_pieces_go_with_their_file() {
        let old = SAVED - 100 * SECOND;
        let then = [stamp(old); 3];
        let now = [stamp(old), stamp(old), stamp(SAVED + 3600 * SECOND)];
        let found = judge(&record("##.#..", then, true), &torrent(), &now, &[]);
        assert_eq!((found.partial, found.changed), (vec![], vec![2]));
        let found = judge(&record("##.#..", then, true), &torrent(), &[stamp(old), stamp(old), None], &[]);
        assert_eq!((found.partial, found.gone), (vec![], vec![2]));
    }

    #[test]
    fn a_record_of_something_else_is_worth_nothing() {
        let old = stamp(SAVED - 100 * SECOND);
        let all = Judgement::doubt_all(&torrent());
        let mut record = record("######", [old; 3], true);
        assert_eq!(judge(&record, &torrent(), &[old; 2], &[]), all);
        record.state.pieces = PieceSet::all(7);
        assert_eq!(judge(&record, &torrent(), &[old; 3], &[]), all);
    }
}
