//! What must hold after a kill.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metainfo::Torrent;
use serde_json::Value;
use storage::record::resume::Shown;
use storage::record::{FileStore, Record, Store};
use storage::{FileOptions, FileStorage, ScanOptions, Verdict, recheck};

/// What was verified longer ago is in the record, on a machine that is not too busy to save it.
const PROMISE: Duration = Duration::from_secs(5);

/// What was tried.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) kills: u32,
    pub(crate) rounds: u32,
    /// Kills after what was verified before had been recorded, so that the record meant something.
    late: u32,
    /// The promise is kept to the second; this is for long runs on a machine that does nothing else.
    is_strict: bool,
    /// Pieces that records claimed, all of which were read from the disk.
    claimed: u64,
    /// Pieces that had been verified before a kill and were there after the next start.
    kept: u64,
    /// Of these, pieces that were not in the record yet and were found by hashing.
    found: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, rounds, late, claimed, kept, found, .. } = self;
        write!(
            f,
            "{kills} kills in {rounds} downloads, {late} of them after a record; {claimed} claims of pieces, all right; \
             {kept} pieces there again after a start, {found} of them found by hashing"
        )
    }
}

impl Tally {
    pub(crate) fn new(is_strict: bool) -> Self {
        Self { is_strict, ..Self::default() }
    }

    /// After a kill at this time: the record is read, and what it claims is compared with the disk. After a power cut, what is
    /// not in the record may be lost.
    pub(crate) fn killed(&mut self, kill: &Kill, torrent: &Arc<Torrent>, dir: &Path, state: &Path) -> Before {
        let Kill { at, is_cut, printed, recorded } = kill;
        self.kills += 1;
        let claims = record(state).map_or(0, |record| {
            let (claims, bad) = check(torrent, dir, &record);
            assert_eq!(bad, 0, "the record claims pieces that are not right");
            claims
        });
        self.claimed += u64::from(claims);
        let done = |before: Duration| {
            let lines = printed.iter().filter(|(said, _)| *said + before <= *at);
            lines.filter_map(|(_, line)| line["pieces_done"].as_u64()).max().unwrap_or(0)
        };
        self.late += u32::from(recorded.is_some());
        let recorded = recorded.unwrap_or(0);
        assert!(u64::from(claims) >= recorded, "{claims} pieces are recorded, and {recorded} were once");
        assert!(
            !self.is_strict || u64::from(claims) >= done(PROMISE),
            "{claims} pieces are recorded, and {} were verified five seconds before",
            done(PROMISE)
        );
        let done = if *is_cut { 0 } else { done(Duration::ZERO) };
        Before { done, claims: claims.into() }
    }

    /// After the next start: nothing is forgotten.
    pub(crate) fn started(&mut self, before: Before, first: &Value) {
        let now = first["pieces_done"].as_u64().expect("a number of pieces");
        let Before { done, claims } = before;
        assert!(
            now >= done.max(claims),
            "{now} pieces are there, {done} were verified and {claims} recorded"
        );
        self.kept += now;
        self.found += now.saturating_sub(claims);
    }
}

/// The generation of the record in a state folder, and how many pieces it claims.
pub(crate) fn recorded(state: &Path) -> (u64, u64) {
    record(state).map_or((0, 0), |record| (record.state.generation, record.state.pieces.count().into()))
}

/// A kill.
pub(crate) struct Kill {
    pub(crate) at: Instant,
    pub(crate) is_cut: bool,
    /// What the victim printed.
    pub(crate) printed: Vec<(Instant, Value)>,
    /// Pieces that were once recorded durably, if that was waited for.
    pub(crate) recorded: Option<u64>,
}

/// How it was at a kill.
#[derive(Clone, Copy, Default)]
pub(crate) struct Before {
    done: u64,
    claims: u64,
}

impl Before {
    /// What both of two kills in a row ask for: one that was killed before it said anything knows no less.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { done: self.done.max(other.done), claims: other.claims }
    }
}

/// The record in a state folder; there is at most one.
fn record(state: &Path) -> Option<Record> {
    let store = FileStore::open(state.join("transfers")).expect("the folder can be opened");
    let listing = store.list().expect("the folder can be read");
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    let [summary] = &listing.summaries[..] else { return None };
    let key = storage::record::Key { id: summary.hashes.id(), dir: summary.dir.clone() };
    store.load(&key).expect("the record is whole")
}

/// Pieces that are claimed, and how many of those are not right on the disk.
fn check(torrent: &Arc<Torrent>, dir: &Path, record: &Record) -> (u32, usize) {
    let files = FileStorage::open(dir, torrent.clone(), FileOptions::default()).expect("the folder is there");
    let pieces = &record.state.pieces;
    let found = recheck(&Shown { storage: &files, pieces }, torrent, &ScanOptions::default());
    let claims = pieces.count();
    (claims, claims as usize - found.count(Verdict::Good))
}

/// All files beneath a folder, with what shows whether they were touched.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u64, SystemTime)>;

/// Files that are not those of the torrent or of the store.
pub(crate) fn others(root: &Path, ours: impl Fn(&Path) -> bool) -> Snapshot {
    let mut found = Snapshot::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let meta = entry.metadata().expect("a file");
            if meta.is_dir() {
                folders.push(path);
            } else if !ours(&path) {
                found.insert(path, (meta.len(), meta.modified().expect("a time")));
            }
        }
    }
    found
}
