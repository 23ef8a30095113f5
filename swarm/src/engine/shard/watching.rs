//! What others do to files while they are in use.
//!
//! Storage is asked every few seconds while files are read or written, at once when something looks like it, and as long as
//! something is missing. What it says of a file goes to its pieces:
//!
//! - bytes that are lost: the pieces are taken back from all peers and checked, and what is wrong is missing. A download fetches
//!   it again; a torrent that was complete waits until it is back, because who removes a file of it hardly wants it again;
//! - bytes that may be others: the pieces are checked before they are served, and the rest of them one by one.
//!
//! Of a piece in progress the hash is of what came, whatever became of it since. So it is read back when it is complete, before it
//! counts.

use metainfo::PieceIndex;
use storage::{FileChange, Job, StorageError, StoreId, Trouble};
use wire::peer::Bitfield;

use super::Shard;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;

/// Pieces that are taken back at a time; of more, peers are told when they ask.
const WITHDRAWN: usize = 1024;

impl Shard {
    /// Files are in use: storage looks at them before long.
    pub(super) fn arm_look(&mut self, cx: &mut Cx, slot: usize) {
        let armed = cx.torrent_timers.get(slot, TorrentTimer::Look);
        if armed.is_none() && !self.torrents[slot].keeping.looks {
            cx.torrent_timers.set(slot, TorrentTimer::Look, cx.now + cx.config.look_interval);
        }
    }

    /// Storage looks at once if the error may be somebody's doing.
    pub(super) fn look_into(&mut self, cx: &mut Cx, slot: usize, error: &StorageError) {
        if matches!(error.trouble(), Trouble::Missing | Trouble::Short) {
            self.look(cx, slot);
        }
    }

    /// Has storage look at the files in use.
    pub(super) fn look(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        if torrent.meta.is_some() && !std::mem::replace(&mut torrent.keeping.looks, true) {
            cx.torrent_timers.cancel(slot, TorrentTimer::Look);
            cx.out.jobs.push(Job::Look { store: torrent.store });
        }
    }

    /// Storage looked.
    pub(super) fn looked(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        result: Result<Vec<FileChange>, StorageError>,
    ) {
        let Some(slot) = self.slot_of(store) else { return };
        self.torrents[slot].keeping.looks = false;
        match result {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => {
                changes.iter().for_each(|change| self.others_changed(cx, slot, change));
                self.check_doubts(cx, slot);
                self.sweep(cx, slot);
            }
            Err(error) if error.is_gone() => self.storage_failed(cx, slot, error),
            // Whoever reads or writes is told.
            Err(_) => {}
        }
        let torrent = &self.torrents[slot];
        if torrent.keeping.lacking().any(|piece| !torrent.have.get(piece.get())) {
            self.arm_look(cx, slot);
        }
    }

    fn others_changed(&mut self, cx: &mut Cx, slot: usize, change: &FileChange) {
        let torrent = &mut self.torrents[slot];
        let Some(layout) = torrent.meta.as_deref().map(metainfo::Torrent::layout) else { return };
        let geometry = torrent.picker.geometry();
        let start =
            layout.files().get(change.file).map_or(u64::MAX, |file| file.offset.saturating_add(change.from));
        let pieces = layout.file_pieces(change.file).into_iter().flatten();
        let pieces: Vec<_> = pieces
            .filter_map(|index| geometry.piece(index).ok())
            .filter(|piece| geometry.piece_start(*piece) + u64::from(geometry.piece_len(*piece)) > start)
            .collect();
        let keeping = &mut torrent.keeping;
        for piece in torrent.picker.partials().map(|partial| partial.piece()).filter(|p| pieces.contains(p)) {
            keeping.safe.remove(&piece);
            keeping.suspect.insert(piece);
        }
        if let Some(error) = &change.lost
            && !pieces.is_empty()
            && keeping.told.insert(error.path.clone())
            && keeping.trouble.as_ref().is_none_or(|trouble| trouble.error.path != error.path)
        {
            cx.out.event(Event::StorageFailed { torrent: torrent.key, error: error.clone() });
        }
        let (there, lost): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|p| torrent.have.get(p.get()));
        for piece in lost {
            if let Some(doubt) = torrent.keeping.doubts.get_mut(&piece) {
                doubt.again_at = Some(cx.now);
            }
        }
        let at_once = if change.lost.is_some() { there.len().min(WITHDRAWN) } else { 0 };
        let (now, later) = there.split_at(at_once);
        self.distrust_pieces(slot, later);
        for piece in now {
            self.withdraw(cx, slot, *piece);
            let keeping = &mut self.torrents[slot].keeping;
            keeping.forget(*piece);
            keeping.doubts.entry(*piece).or_default().again_at = Some(cx.now);
        }
    }

    /// Pieces are checked before they are served, and in the background.
    fn distrust_pieces(&mut self, slot: usize, pieces: &[PieceIndex]) {
        let torrent = &mut self.torrents[slot];
        if pieces.is_empty() {
            return;
        }
        pieces.iter().for_each(|piece| torrent.keeping.forget(*piece));
        let count = torrent.have.len();
        let unverified = torrent.keeping.unverified.get_or_insert_with(|| Bitfield::new(count));
        for piece in pieces {
            unverified.set(piece.get());
        }
        torrent.keeping.sweeps = true;
    }

    /// A piece in progress was written as a whole while somebody did something to its file: it is read before it counts. Whether
    /// that is so.
    pub(super) fn reads_back(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) -> bool {
        let keeping = &mut self.torrents[slot].keeping;
        let is_suspect = keeping.suspect.remove(&piece);
        if is_suspect {
            keeping.doubts.entry(piece).or_default().again_at = Some(cx.now);
            self.check_doubts(cx, slot);
        }
        is_suspect
    }
}
