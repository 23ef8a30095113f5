//! Files that are in the place of a torrent's own: nothing is written over what is not known to be the torrent's.
//!
//! A file is the torrent's when its record says so: it was made for it, or held pieces of it, and is still the same file.
//! One that is not known is looked at: it is taken when a piece with bytes of it is right, as what another program has begun;
//! and it is somebody else's when it is too long, or has pieces of its own and none of them is right, or has none and another
//! length. A file without any byte but zeros is nobody's.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use metainfo::{Torrent, TorrentId};
use storage::record::{FileStamp, Key, PieceSet, Record, Store, Summary};
use storage::{FileStorage, Foreign};
use wire::peer::Bitfield;

use super::naming;
use crate::engine::picker::Priority;
use crate::session::options::{AddError, AddOptions, Check};

/// Longer than this after its last save a program that crashed has made no file: the first write is followed by a save at
/// once, and others by one in the next minute. In nanoseconds.
const OURS: u64 = 70_000_000_000;
/// How much later than a file's the time of a save may seem that came before it: they are counted by different clocks.
const CLOCKS: u64 = 1_000_000_000;

/// Files that are there, by index.
pub(super) struct Strangers {
    /// Not known to be the torrent's.
    unknown: Vec<usize>,
    /// The torrent's, and written to by somebody since they were recorded.
    changed: Vec<usize>,
}

impl Strangers {
    /// Those that this start would be the first to write to. None when the user has vouched for them.
    pub(super) fn find(
        options: &AddOptions,
        files: &FileStorage,
        record: Option<&Record>,
        stamps: &[Option<FileStamp>],
    ) -> Self {
        let meta = &options.torrent;
        let known = Known::new(record, files, meta);
        let is_stranger = |(index, stamp): (usize, &FileStamp)| {
            let is_new = || files.was_made(index) && !known.was_made(index);
            // What is kept in the part file is not there itself.
            !known.is_own(index, *stamp) && !is_new() && files.file_len(index).is_ok_and(|len| len > 0)
        };
        let there = stamps.iter().enumerate().filter_map(|(index, stamp)| Some((index, stamp.as_ref()?)));
        let strangers: Vec<usize> = there.filter(|at| is_stranger(*at)).map(|(index, _)| index).collect();
        // Even if they are taken, they were not made for it.
        strangers.iter().for_each(|index| files.disown(*index));
        if options.overwrite || options.check == Check::Never || !options.create {
            return Self { unknown: Vec::new(), changed: Vec::new() };
        }
        let recorded = record.map(|record| &record.state.stamps[..]).unwrap_or_default();
        let is_changed = |(then, now): (&Option<FileStamp>, &Option<FileStamp>)| {
            now.is_some_and(|now| !then.is_some_and(|then| then.is_same(&now)))
        };
        let looks = recorded.iter().zip(stamps).enumerate();
        let changed =
            looks.filter(|(index, look)| is_changed(*look) && strangers.binary_search(index).is_err());
        Self { changed: changed.map(|(index, _)| index).collect(), unknown: strangers }
    }

    /// The pieces that tell whose they are.
    pub(super) fn pieces<'a>(&'a self, meta: &'a Torrent) -> impl Iterator<Item = u32> + 'a {
        self.unknown.iter().flat_map(|index| meta.layout().file_pieces(*index)).flatten()
    }

    /// Refuses if anything would be written to a file that is somebody else's. `tried` are the pieces that were checked.
    pub(super) fn refuse(
        &self,
        store: Option<&dyn Store>,
        options: &AddOptions,
        files: &FileStorage,
        stamps: &[Option<FileStamp>],
        (have, tried): (&Bitfield, &PieceSet),
    ) -> Result<(), AddError> {
        let meta = &options.torrent;
        if self.unknown.is_empty() && self.changed.is_empty() {
            return Ok(());
        }
        let levels = options.files.pieces(meta).into_iter();
        let skipped: BTreeSet<u32> =
            levels.filter_map(|(piece, level)| (level == Priority::Skip).then_some(piece.get())).collect();
        let missing = |index: usize| {
            meta.layout().file_pieces(index).into_iter().flatten().filter(|piece| !have.get(*piece))
        };
        let is_written = |index: usize| missing(index).any(|piece| !skipped.contains(&piece));
        let all = self.unknown.iter().map(|index| (*index, false));
        let all = all.chain(self.changed.iter().map(|index| (*index, true)));
        if let Some(store) = store
            && let Some((index, owner)) =
                recorded_owner(store, options, files, stamps, all.filter(|(index, _)| is_written(*index)))
        {
            let by = owner.hashes.id();
            return Err(AddError::Recorded { path: files.file_path(index), by, name: owner.name });
        }
        for index in self.unknown.iter().copied().filter(|index| missing(*index).next().is_some()) {
            let Some(why) = foreign(meta, files, index, have, tried) else { continue };
            if !files.holds_bytes(index)? {
                continue;
            }
            if is_written(index) {
                return Err(files.foreign_error(index, why).into());
            }
            // It may come to be wanted while the torrent runs.
            files.forbid(index, why);
        }
        Ok(())
    }
}

/// Why the file is somebody else's, if it is.
fn foreign(
    meta: &Torrent,
    files: &FileStorage,
    index: usize,
    have: &Bitfield,
    tried: &PieceSet,
) -> Option<Foreign> {
    let (layout, geometry) = (meta.layout(), meta.geometry());
    let (expected, got) = (layout.files().get(index)?.length, files.file_len(index).ok()?);
    if got > expected {
        return Some(Foreign::Longer { expected, got });
    }
    let pieces = layout.file_pieces(index)?;
    if pieces.clone().any(|piece| have.get(piece)) {
        return None;
    }
    let is_own_piece = |piece: &u32| {
        let Ok(piece) = geometry.piece(*piece) else { return false };
        layout.segments(geometry.whole(piece)).all(|segment| segment.pad || segment.file == index)
    };
    if pieces.clone().any(|piece| tried.contains(piece) && is_own_piece(&piece)) {
        let pieces = u32::try_from(pieces.count()).unwrap_or(u32::MAX);
        return Some(Foreign::OtherContent { pieces });
    }
    (got != expected).then_some(Foreign::OtherLength { expected, got })
}

/// Files that were made for a torrent by a program that was killed before it could record them are its to remove.
pub(super) fn own_just_made(
    record: Option<&Record>,
    files: &FileStorage,
    meta: &Torrent,
    stamps: &[Option<FileStamp>],
) {
    let known = Known::new(record, files, meta);
    let Some((before, born)) = record.and_then(|record| Some((&record.state.stamps, just_made(record)?)))
    else {
        return;
    };
    for (index, stamp) in stamps.iter().enumerate() {
        let was_there = before.get(index).is_none_or(Option::is_some) && !known.was_in_parts(index);
        let is_new = !was_there && !files.was_made(index);
        if let Some(stamp) = stamp.filter(|_| is_new)
            && known.was_just_made(index, stamp)
        {
            files.own_made(index, &born);
        }
    }
}

/// Files that were made for a torrent and are not what it left there any more are not its to remove. `changed` are those that
/// others wrote to since the record was written.
pub(super) fn disown_changed(
    record: &Record,
    files: &FileStorage,
    meta: &Torrent,
    stamps: &[Option<FileStamp>],
    changed: &[usize],
) {
    let known = Known::new(Some(record), files, meta);
    let made = (0..stamps.len()).filter(|index| files.was_made(*index));
    for index in made {
        let Some(Some(stamp)) = stamps.get(index) else { continue };
        let is_left = !changed.contains(&index) && known.is_own(index, *stamp);
        if !is_left && !known.was_just_made(index, *stamp) && !known.is_copy(index, *stamp) {
            files.disown(index);
        }
    }
}

/// What a record says of files.
struct Known<'a> {
    record: Option<&'a Record>,
    created: HashSet<&'a Path>,
    files: &'a FileStorage,
    meta: &'a Torrent,
}

impl<'a> Known<'a> {
    fn new(record: Option<&'a Record>, files: &'a FileStorage, meta: &'a Torrent) -> Self {
        let created = record.iter().flat_map(|record| &record.state.created);
        Self { record, created: created.map(PathBuf::as_path).collect(), files, meta }
    }

    /// Whether the file that is there now is the torrent's.
    fn is_own(&self, index: usize, now: FileStamp) -> bool {
        let Some(state) = self.record.map(|record| &record.state) else { return false };
        match state.stamps.get(index).copied().flatten() {
            Some(_) if self.was_in_parts(index) => self.was_just_made(index, now),
            Some(then) if self.is_claimed(index) => {
                let is_same = then.inode == now.inode && now.inode != 0;
                then.is_same(&now)
                    || is_same && is_birth(self.files, index, state.births.get(index))
                    || self.is_copy(index, now)
            }
            Some(_) => false,
            None => self.was_just_made(index, now),
        }
    }

    /// Whether it is a copy that a move made which was killed: it lies where that went and no more where it was, is no shorter
    /// than the file was, and was made since the move was recorded.
    fn is_copy(&self, index: usize, now: FileStamp) -> bool {
        let Some(Record { summary, state, .. }) = self.record else { return false };
        let then = state.stamps.get(index).copied().flatten();
        let since = summary.times.saved.saturating_mul(1_000_000).saturating_sub(CLOCKS);
        state.moving_to.is_some()
            && self.files.is_moved(index)
            && then.is_some_and(|then| then.len <= now.len)
            && self.made_at(index, now) >= since
    }

    /// Whether something of the file was there, or it was made for the torrent.
    fn is_claimed(&self, index: usize) -> bool {
        let Some(state) = self.record.map(|record| &record.state) else { return false };
        let is_there = |piece: u32| {
            state.pieces.contains(piece) || state.partial.iter().any(|partial| partial.piece == piece)
        };
        let mut pieces = self.meta.layout().file_pieces(index).into_iter().flatten();
        self.was_made(index) || pieces.any(is_there)
    }

    fn was_made(&self, index: usize) -> bool {
        self.files.possible_names(index).iter().any(|name| self.created.contains(name.as_path()))
    }

    /// Whether the part file had what there was of the file when the record was written: what was recorded is how that looked.
    fn was_in_parts(&self, index: usize) -> bool {
        let then = self.record.and_then(|record| record.state.stamps.get(index).copied().flatten());
        let parts = self.files.parts_stamp().map(FileStamp::from);
        then.zip(parts).is_some_and(|(then, parts)| then.inode == parts.inode && parts.inode != 0)
    }

    /// Whether the file was not there when the record was written, and was made by the program that wrote it before that
    /// crashed.
    fn was_just_made(&self, index: usize, now: FileStamp) -> bool {
        let made_at = self.made_at(index, now);
        self.record.and_then(just_made).is_some_and(|times| times.contains(&made_at))
    }

    /// When the file that is there was made, or, where that is not known, written last; in nanoseconds of Unix time.
    fn made_at(&self, index: usize, now: FileStamp) -> u64 {
        match self.files.file_birth(index) {
            0 => now.mtime,
            born => born,
        }
    }
}

/// When what was made was made by the program that wrote the record and crashed, in nanoseconds of Unix time.
fn just_made(record: &Record) -> Option<RangeInclusive<u64>> {
    let Record { summary: Summary { flags, times, .. }, state, .. } = record;
    if flags.clean || flags.seed_only || state.stamps.is_empty() {
        return None;
    }
    let saved = times.saved.saturating_mul(1_000_000);
    Some(saved.saturating_sub(CLOCKS)..=saved.saturating_add(OURS))
}

/// Whether the file is of this birth, as far as that is known.
fn is_birth(files: &FileStorage, index: usize, then: Option<&u64>) -> bool {
    let Some(then) = then.filter(|then| **then != 0) else { return true };
    let now = files.file_birth(index);
    now == 0 || now == *then
}

/// The first of these files that is another torrent's by its record, and that one. A file that is known, and was written to
/// since, is only if it is just as that record says.
fn recorded_owner(
    store: &dyn Store,
    options: &AddOptions,
    files: &FileStorage,
    stamps: &[Option<FileStamp>],
    asked: impl Iterator<Item = (usize, bool)>,
) -> Option<(usize, Summary)> {
    let stamp = |(index, is_known)| Some((index, is_known, (*stamps.get(index)?)?));
    let asked: Vec<(usize, bool, FileStamp)> = asked.filter_map(stamp).filter(|at| at.2.inode != 0).collect();
    if asked.is_empty() {
        return None;
    }
    let homes = [naming::place(&files.root()).ok(), naming::place(&options.dir).ok()];
    let own: TorrentId = options.torrent.id();
    let is_other =
        |other: &Summary| other.hashes.id() != own && homes.iter().flatten().any(|home| *home == other.dir);
    let others = store.list().ok()?.summaries.into_iter().filter(is_other);
    for other in others {
        let Ok(Some(Record { state, .. })) =
            store.load(&Key { id: other.hashes.id(), dir: other.dir.clone() })
        else {
            continue;
        };
        if state.pieces.is_none() && state.partial.is_empty() && state.created.is_empty() {
            continue;
        }
        let inodes =
            state.stamps.iter().enumerate().filter_map(|(at, then)| Some((then.as_ref()?.inode, at)));
        let inodes: HashMap<u64, usize> = inodes.collect();
        let is_its = |(index, is_known, now): &&(usize, bool, FileStamp)| {
            inodes.get(&now.inode).is_some_and(|at| {
                (!is_known || state.stamps.get(*at).copied().flatten().is_some_and(|then| then.is_same(now)))
                    && is_birth(files, *index, state.births.get(*at))
            })
        };
        if let Some((index, ..)) = asked.iter().find(is_its) {
            return Some((*index, other));
        }
    }
    None
}

/// When the files were made that look like this. What is known of a file stays known as long as `is_same` says that it is the
/// same one.
pub(super) fn births(
    files: &FileStorage,
    (old, births): (&[Option<FileStamp>], &[u64]),
    now: &[Option<FileStamp>],
    is_same: impl Fn(&FileStamp, &FileStamp) -> bool,
) -> Vec<u64> {
    let birth = |(index, stamp): (usize, &Option<FileStamp>)| {
        let Some(stamp) = stamp else { return 0 };
        let then = old.get(index).copied().flatten().filter(|then| is_same(then, stamp));
        let known = then.and(births.get(index).copied()).filter(|birth| *birth != 0);
        known.unwrap_or_else(|| files.file_birth(index))
    };
    now.iter().enumerate().map(birth).collect()
}
