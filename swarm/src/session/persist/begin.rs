//! Before a torrent runs: what its record says, and what of it is true.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use storage::record::resume::{Judgement, Shown, judge};
use storage::record::{
    FileStamp, Finishing, Flags, Key, Lease, NAME_RULES, Partial, PieceSet, Record, Source, State, Store,
    StoreError, Summary, Times, Totals, boot,
};
use storage::{
    FileStorage, Operation, Progress, RootId, ScanOptions, Storage, StorageError, Verdict, recheck,
};
use wire::peer::Bitfield;

use super::choices;
use super::durable::make_durable;
use super::foreign::{self, Strangers};
use super::kept::Kept;
use super::naming::{self, lease_names, lease_with_names};
use super::opening::{forget_files, open, was_deleted};
use super::outline::{outline, take_over};
use super::placing;
use super::room;
use super::source::torrent_file;
use super::translate;
use crate::engine::picker::Priority;
use crate::engine::{PartialPiece, TrackerMemo, Unseen};
use crate::session::event::Event;
use crate::session::finishing::Finish;
use crate::session::link::Link;
use crate::session::options::{AddError, AddOptions, Check};

/// Files that are open, and what is in them.
pub(in crate::session) struct Begun {
    pub(in crate::session) files: Arc<FileStorage>,
    pub(in crate::session) have: Bitfield,
    /// Whether some of `have` were not checked.
    pub(in crate::session) unverified: bool,
    /// Pieces that may be there and could not be read.
    pub(in crate::session) unseen: Option<Unseen>,
    /// Blocks of other pieces that are there.
    pub(in crate::session) partial: Vec<PartialPiece>,
    /// Peers that were worth dialling in an earlier run.
    pub(in crate::session) peers: Vec<std::net::SocketAddr>,
    /// How its trackers stood.
    pub(in crate::session) trackers: Vec<TrackerMemo>,
    pub(in crate::session) kept: Option<Arc<Kept>>,
    /// What is to be done with complete files.
    pub(in crate::session) finish: Option<Arc<Finish>>,
    /// The options, with what was chosen before where nobody chose now.
    pub(in crate::session) options: AddOptions,
}

/// What is there.
struct There {
    have: Bitfield,
    /// The pieces of `have` that are known to be right.
    right: PieceSet,
    unseen: Option<Unseen>,
    partial: Vec<Partial>,
    /// The pieces that were read and checked.
    tried: PieceSet,
}

/// The sole right to a record, and the record if there is one.
struct Prior {
    store: Arc<dyn Store>,
    lease: Lease,
    /// Of the same torrent in the folder of unfinished files.
    away: Option<Lease>,
    key: Key,
    record: Option<Record>,
}

/// Reads the record, opens the files, and checks what is doubtful. Blocks.
///
/// `claim` is called between opening and checking.
pub(in crate::session) fn begin(
    link: &Arc<Link>,
    options: &AddOptions,
    cancel: &AtomicBool,
    claim: impl FnOnce(&FileStorage) -> Result<(), AddError>,
) -> Result<Begun, AddError> {
    let mut prior = match link.store.as_ref().map(|store| Prior::find(link, store, options)).transpose() {
        // What can be seeded is, also where nothing can be recorded.
        Err(AddError::Store(error @ (StoreError::Io { .. } | StoreError::Database { .. })))
            if !options.create =>
        {
            link.tell(Event::RecordFailed { torrent: options.torrent.id(), error });
            None
        }
        found => found?,
    };
    let mut record = prior.as_mut().and_then(|prior| prior.record.take());
    let (chosen, recalled) = choices::recall(options, record.as_ref());
    let (options, meta) = (&chosen, &chosen.torrent);
    if let Some(choices) = recalled {
        link.tell(Event::Recalled { torrent: meta.id(), choices });
    }
    let (files, rules) = match (open(&link.open_files, options, record.as_mut(), false), &mut record) {
        (Err(error), Some(record)) if options.create && was_deleted(options, record, &error) => {
            link.tell(Event::Anew { torrent: meta.id(), dir: error.path });
            forget_files(&mut record.state);
            open(&link.open_files, options, Some(record), false)?
        }
        (opened, _) => opened?,
    };
    let files = Arc::new(files);
    if let Some(prior) = &mut prior {
        prior.lease_files(options, &files, rules.unfinished_in.as_deref())?;
    }
    claim(&files)?;
    files.hold(options.create)?;
    placing::take_in(link, options, &files, cancel);
    // Before the check, which may take an hour: what changes meanwhile is noticed by the first save.
    // What was done until now is in what it compares with.
    files.take_touched();
    let looks = Looks::at(&files, record.as_ref());
    nothing_in_the_way(link, &files, options, &looks.stamps)?;
    if options.create {
        foreign::own_just_made(record.as_ref(), &files, meta, &looks.stamps);
    }
    let strangers = Strangers::find(options, &files, record.as_ref(), &looks.stamps);
    let there = there(link, options, &files, record.as_ref(), &looks, &strangers, cancel)?;
    strangers.refuse(
        link.store.as_deref(),
        options,
        &files,
        &looks.stamps,
        (&there.claimed(), &there.tried),
    )?;
    let unverified = there.right != translate::pieces(&there.have);
    if let Some(reserve) = options.min_free.filter(|_| options.create) {
        room::look(options, &files, &there.claimed(), &rules, reserve)?;
    }
    if there.have.is_full() && options.create {
        // Nothing will be written that could make files of length 0 on its way.
        files.prepare()?;
    }
    let peers = record.as_ref().map(|record| record.state.peers.clone()).unwrap_or_default();
    let now = translate::now_ms();
    let trackers = record.iter().flat_map(|record| &record.state.trackers);
    let trackers = trackers.map(|tracker| translate::memo(tracker, now)).collect();
    let home = naming::place(&options.dir)
        .map_err(|cause| StorageError::new(Operation::Open, &options.dir, None, cause))?;
    let finish = (options.create && rules != Finishing::default()).then(|| Finish::new(home, rules.clone()));
    let kept = prior
        .map(|prior| keep(link, options, &files, prior, record, &there, looks.kept, rules))
        .transpose()?;
    let There { have, partial, unseen, .. } = there;
    let partial = partial.iter().filter_map(|partial| translate::partial_piece(meta, partial)).collect();
    Ok(Begun { files, have, unverified, unseen, partial, peers, trackers, kept, finish, options: chosen })
}

impl There {
    /// What is there, and what may be.
    fn claimed(&self) -> Bitfield {
        let mut claimed = self.have.clone();
        self.unseen.iter().for_each(|unseen| claimed.or(&unseen.pieces));
        claimed
    }
}

/// How the files look.
pub(super) struct Looks {
    /// Nothing for those that are not there, or could not be looked at.
    pub(super) stamps: Vec<Option<FileStamp>>,
    /// Those that could not be, by index, in order.
    pub(super) unseen: Vec<usize>,
    /// What to record: of those that could not be looked at, what is known of them.
    pub(super) kept: Vec<Option<FileStamp>>,
}

impl Looks {
    pub(super) fn at(files: &FileStorage, record: Option<&Record>) -> Self {
        let (stamps, unseen) = files.file_looks();
        let stamps: Vec<_> = stamps.into_iter().map(|stamp| stamp.map(FileStamp::from)).collect();
        let mut kept = stamps.clone();
        for (index, error) in &unseen {
            tracing::warn!(%error, "a file cannot be looked at");
            let known = record.and_then(|record| record.state.stamps.get(*index).copied().flatten());
            if let Some(stamp) = kept.get_mut(*index) {
                *stamp = known;
            }
        }
        Self { stamps, unseen: unseen.into_iter().map(|(index, _)| index).collect(), kept }
    }
}

impl Prior {
    fn find(link: &Link, store: &Arc<dyn Store>, options: &AddOptions) -> Result<Self, AddError> {
        let dir = &options.dir;
        let place =
            naming::place(dir).map_err(|cause| StorageError::new(Operation::Open, dir, None, cause))?;
        let key = Key { id: options.torrent.id(), dir: place };
        let lease = store.lease(&key)?;
        let record = load(link, &**store, &key)?;
        // A magnet until now, or another torrent whose id was made the same.
        let hashes = options.torrent.info_hashes();
        let record =
            record.filter(|record| !record.summary.flags.no_metadata && record.summary.hashes == *hashes);
        Ok(Self { store: store.clone(), lease, away: None, key, record })
    }

    /// Keeps others from downloading the torrent to the folder that it lies in while it is not complete, and from downloading
    /// others over its files.
    fn lease_files(
        &mut self,
        options: &AddOptions,
        files: &FileStorage,
        away: Option<&Path>,
    ) -> Result<(), StoreError> {
        if let Some(away) = away {
            let key = Key { dir: away.to_owned(), ..self.key.clone() };
            self.away = Some(lease_with_names(&*self.store, &key, Some(files), &options.torrent)?);
        }
        if options.create {
            let names = lease_names(&*self.store, &self.key, Some(files), &options.torrent)?;
            self.lease = Lease::new((std::mem::replace(&mut self.lease, Lease::free()), names));
        }
        Ok(())
    }
}

/// Reads a record. Of one that is damaged, what is left: what is on the disk says the rest. Blocks.
pub(in crate::session) fn load(
    link: &Link,
    store: &dyn Store,
    key: &Key,
) -> Result<Option<Record>, StoreError> {
    // Its state and its source may both be.
    for _ in 0..2 {
        match store.load(key) {
            Err(error @ StoreError::Damaged { aside: Some(_), .. }) => {
                link.tell(Event::RecordFailed { torrent: key.id, error });
            }
            loaded => return Ok(loaded?.map(take_over)),
        }
    }
    Ok(store.load(key)?.map(take_over))
}

/// The pieces that are there, and what is there of others.
fn there(
    link: &Arc<Link>,
    options: &AddOptions,
    files: &Arc<FileStorage>,
    record: Option<&Record>,
    looks: &Looks,
    strangers: &Strangers,
    cancel: &AtomicBool,
) -> Result<There, AddError> {
    let meta = &options.torrent;
    let count = meta.geometry().piece_count();
    let judge = |record: &Record| judge(record, meta, &looks.stamps, &looks.unseen);
    let mut known = match (options.check, record) {
        (Check::Never, _) if options.create => {
            Judgement { doubtful: PieceSet::none(count), ..Judgement::doubt_all(meta) }
        }
        (Check::Never, _) => {
            let have = trusted(files, meta);
            let mut right = record.map_or(PieceSet::none(count), |record| judge(record).have);
            (0..count).filter(|piece| !have.get(*piece)).for_each(|piece| right.set(piece, false));
            let tried = PieceSet::none(count);
            return Ok(There { have, right, unseen: None, partial: Vec::new(), tried });
        }
        (Check::Auto, Some(record)) => judge(record),
        (Check::Auto, None) if !anything(files, meta) => {
            Judgement { doubtful: PieceSet::none(count), ..Judgement::doubt_all(meta) }
        }
        (Check::Auto, None) | (Check::Always, _) => Judgement::doubt_all(meta),
    };
    let mut have = translate::bitfield(&known.have);
    let (mut tried, mut unseen) = (PieceSet::none(count), None);
    strangers
        .pieces(meta)
        .filter(|piece| !have.get(*piece))
        .for_each(|piece| known.doubtful.set(piece, true));
    if known.doubtful.count() > 0 {
        let found;
        (found, tried, unseen) = checked(link, files, options, &known.doubtful, cancel)?;
        have.or(&found);
        if link.store.is_some() {
            make_durable(files, meta, &found, &mut have, &mut unseen)?;
        }
    }
    let partial = known.partial.into_iter().filter(|partial| !have.get(partial.piece)).collect();
    Ok(There { right: translate::pieces(&have), have, unseen, partial, tried })
}

/// Makes the record that says that the torrent runs.
fn keep(
    link: &Arc<Link>,
    options: &AddOptions,
    files: &Arc<FileStorage>,
    prior: Prior,
    record: Option<Record>,
    there: &There,
    stamps: Vec<Option<FileStamp>>,
    rules: Finishing,
) -> Result<Arc<Kept>, AddError> {
    let meta = &options.torrent;
    let now = translate::now_ms();
    let Prior { store, lease, away, key, .. } = prior;
    let is_known = record.as_ref().is_some_and(|record| record.source.is_some());
    let was_chosen = record.is_some();
    let mut record = record.unwrap_or_else(|| fresh(options, key.dir.clone(), now));
    record.source = if is_known { None } else { torrent_file(meta).ok().map(Source::Torrent) };
    let Record { summary, state, .. } = &mut record;
    state.pieces = there.right.clone();
    state.doubtful = translate::pieces(&there.claimed());
    state.doubtful.subtract(&there.right);
    state.boot = boot();
    state.births = foreign::births(files, (&state.stamps, &state.births), &stamps, PartialEq::eq);
    state.stamps = stamps;
    state.partial.clone_from(&there.partial);
    if options.create {
        naming::mark(files, summary.folder);
    }
    state.created = files.created();
    state.moving_to = files.moving_to();
    let goal = state.moving_to.as_deref().and_then(|to| RootId::of(to).ok());
    state.goal = goal.map(Into::into);
    state.renaming.clear();
    state.finishing = match options.create {
        true => rules,
        // Where they lie now, and what is to be done with them as it was.
        false => Finishing { unfinished_in: rules.unfinished_in, ..state.finishing.clone() },
    };
    state.choices.names = naming::names(files);
    choices::write(options, was_chosen, &mut state.choices);
    state.generation += 1;
    summary.generation = state.generation;
    // A folder that cannot be looked at is noticed when it is used.
    summary.folder = files.root_id().ok().map(Into::into);
    summary.dir = key.dir;
    summary.done = translate::bytes(meta, &state.pieces);
    summary.times.saved = now;
    summary.flags.complete = state.pieces.is_full();
    summary.flags.seed_only = !options.create;
    summary.flags.clean = summary.flags.complete || summary.flags.seed_only;
    outline(&mut record, meta, Some(files));
    let kept = Kept::new(store, files.clone(), meta.clone(), record, [Some(lease), away]);
    let (news, id) = (Arc::downgrade(link), meta.id());
    files.when_written(move || {
        if let Some(link) = news.upgrade() {
            link.saver.changed(id);
        }
    });
    if let Err(error) = kept.begin() {
        // The old record stays, and does not fit the files any more once they are written to: it is doubted then.
        link.tell(Event::RecordFailed { torrent: meta.id(), error });
    }
    Ok(Arc::new(kept))
}

fn fresh(options: &AddOptions, dir: PathBuf, now: u64) -> Record {
    let meta = &options.torrent;
    let summary = Summary {
        generation: 0,
        hashes: *meta.info_hashes(),
        name: meta.name().to_owned(),
        dir,
        folder: None,
        flags: Flags { private: meta.private(), ..Flags::default() },
        size: meta.layout().payload(),
        done: 0,
        totals: Totals::default(),
        times: Times { added: now, ..Times::default() },
        name_rules: NAME_RULES,
        outline: None,
    };
    Record { summary, state: State::new(meta.geometry().piece_count()), source: None }
}

/// That there is no folder in the place of a file that is wanted, nor a file in the place of a folder.
fn nothing_in_the_way(
    link: &Link,
    files: &FileStorage,
    options: &AddOptions,
    stamps: &[Option<FileStamp>],
) -> Result<(), StorageError> {
    let wanted = options.files.priorities(&options.torrent);
    let layout = options.torrent.layout().files().iter().zip(stamps).zip(wanted).enumerate();
    let unseen = layout.filter(|(_, ((file, stamp), wanted))| {
        stamp.is_none() && !file.is_pad() && !file.attributes.symlink && *wanted != Priority::Skip
    });
    for (index, _) in unseen {
        let Err(error) = files.file_len(index) else { continue };
        match error.cause.kind() {
            ErrorKind::IsADirectory => return Err(error),
            // Such as a link, through which nothing is written.
            ErrorKind::InvalidInput if options.create || stamps.iter().all(Option::is_none) => {
                return Err(error);
            }
            // What is there of other files is served.
            ErrorKind::InvalidInput => {
                link.tell(Event::StorageFailed { torrent: options.torrent.id(), error });
            }
            ErrorKind::NotADirectory => {
                let cause =
                    std::io::Error::new(ErrorKind::AlreadyExists, "a file is in the place of its folder");
                return Err(StorageError::new(error.operation, error.path, None, cause));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether any file of the torrent is there. What cannot be looked at counts.
pub(super) fn anything(files: &FileStorage, meta: &metainfo::Torrent) -> bool {
    let stored = (0..meta.layout().files().len()).filter(|i| !meta.layout().files()[*i].is_pad());
    stored.map(|index| files.file_len(index)).any(|len| match len {
        Ok(len) => len > 0,
        Err(error) => error.cause.kind() != ErrorKind::NotFound,
    })
}

/// The pieces whose files are all there in full length.
fn trusted(files: &FileStorage, meta: &metainfo::Torrent) -> Bitfield {
    let mut have = Bitfield::with_all(meta.geometry().piece_count());
    for (index, file) in meta.layout().files().iter().enumerate() {
        let is_there = file.is_pad() || files.file_len(index).is_ok_and(|len| len >= file.length);
        for piece in meta.layout().file_pieces(index).into_iter().flatten().filter(|_| !is_there) {
            have.clear(piece);
        }
    }
    have
}

/// Those of some pieces that match their hashes, those that could be read, and those that could not.
fn checked(
    link: &Arc<Link>,
    files: &Arc<FileStorage>,
    options: &AddOptions,
    pieces: &PieceSet,
    cancel: &AtomicBool,
) -> Result<(Bitfield, PieceSet, Option<Unseen>), AddError> {
    let meta = &options.torrent;
    let torrent = meta.id();
    let progress = |Progress { done, total }| {
        link.tell(Event::Checking { torrent, done, total });
        if link.registry.is_closed() {
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let scan = ScanOptions { cancel: Some(cancel), progress: Some(&progress), ..ScanOptions::default() };
    let found = recheck(&Shown { storage: files.as_ref(), pieces }, meta, &scan);
    if !found.is_whole {
        return Err(AddError::Cancelled);
    }
    // Each file once.
    let mut told = BTreeSet::new();
    for error in found.errors.iter().filter(|error| told.insert(error.path.clone())) {
        tracing::warn!(%error, "a piece cannot be read");
    }
    let (mut have, mut unread) =
        (Bitfield::new(meta.geometry().piece_count()), Bitfield::new(meta.geometry().piece_count()));
    let mut tried = pieces.clone();
    for (piece, verdict) in meta.geometry().pieces().zip(&found.verdicts) {
        match verdict {
            Verdict::Good => {
                have.set(piece.get());
            }
            Verdict::Bad | Verdict::Missing => {}
            Verdict::Unreadable => {
                unread.set(piece.get());
                tried.set(piece.get(), false);
            }
            Verdict::Unknown | Verdict::Unchecked => tried.set(piece.get(), false),
        }
    }
    let why = found.errors.first().filter(|_| !unread.is_clear()).cloned();
    Ok((have, tried, why.map(|why| Unseen { pieces: unread, why })))
}
