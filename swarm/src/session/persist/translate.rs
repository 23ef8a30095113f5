//! Between the words of the engine and those of a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metainfo::Torrent;
use storage::Pieces as _;
use storage::record::{Partial, PieceSet, Totals, Tracker};
use wire::peer::Bitfield;

use crate::engine::{self, PartialPiece, TrackerMemo};

/// Times that differ by less are the same, in milliseconds.
const NEAR_MS: u64 = 60_000;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Pieces as they are kept.
pub(super) fn pieces(have: &Bitfield) -> PieceSet {
    PieceSet::from_bits(have.as_bytes(), have.len()).unwrap_or_else(|| PieceSet::none(have.len()))
}

/// Pieces as the engine has them.
pub(super) fn bitfield(pieces: &PieceSet) -> Bitfield {
    Bitfield::from_bytes(pieces.bits(), pieces.len()).unwrap_or_else(|_| Bitfield::new(pieces.len()))
}

/// Bytes of files in these pieces.
pub(super) fn bytes(meta: &Torrent, pieces: &PieceSet) -> u64 {
    let (geometry, pads) = (meta.geometry(), meta.pads());
    let held = geometry.pieces().filter(|piece| pieces.contains(piece.get()));
    held.map(|piece| pads.payload(geometry, geometry.whole(piece))).sum()
}

/// Blocks as they are kept.
pub(super) fn partial(meta: &Torrent, piece: &PartialPiece) -> Partial {
    let mut blocks = PieceSet::none(meta.geometry().blocks_in(piece.piece));
    piece.blocks.iter().for_each(|block| blocks.set(*block, true));
    Partial { piece: piece.piece.get(), blocks }
}

/// Blocks as the engine has them; `None` for a piece that the torrent does not have.
pub(super) fn partial_piece(meta: &Torrent, partial: &Partial) -> Option<PartialPiece> {
    let piece = meta.geometry().piece(partial.piece).ok()?;
    let blocks = (0..partial.blocks.len()).filter(|block| partial.blocks.contains(*block));
    Some(PartialPiece { piece, blocks: blocks.collect() })
}

/// Whether trackers stand as they were recorded.
pub(super) fn are_same(memos: &[TrackerMemo], recorded: &[Tracker], now: u64) -> bool {
    let is_near = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) < NEAR_MS,
        (a, b) => a == b,
    };
    let is_same = |memo: &TrackerMemo, old: &Tracker| {
        let new = tracker(memo.clone(), now);
        (&new.url, &new.id, new.works) == (&old.url, &old.id, old.works) && is_near(new.next, old.next)
    };
    memos.len() == recorded.len() && memos.iter().zip(recorded).all(|(memo, old)| is_same(memo, old))
}

/// As it is kept.
pub(super) fn tracker(memo: TrackerMemo, now: u64) -> Tracker {
    let after = |wait: Duration| now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Tracker { url: memo.url, id: memo.tracker_id, next: memo.next_in.map(after), works: memo.works }
}

/// As the engine takes it back.
pub(super) fn memo(tracker: &Tracker, now: u64) -> TrackerMemo {
    let left = tracker.next.and_then(|next| next.checked_sub(now)).filter(|left| *left > 0);
    TrackerMemo {
        url: tracker.url.clone(),
        tracker_id: tracker.id.clone(),
        next_in: left.map(Duration::from_millis),
        works: tracker.works,
    }
}

/// As the engine takes them back.
pub(in crate::session) fn memos<'a>(trackers: impl IntoIterator<Item = &'a Tracker>) -> Vec<TrackerMemo> {
    let now = now_ms();
    trackers.into_iter().map(|tracker| memo(tracker, now)).collect()
}

/// As it is shown.
pub(in crate::session) fn moved(totals: Totals) -> engine::Totals {
    let Totals { downloaded, uploaded, wasted } = totals;
    engine::Totals { downloaded, uploaded, wasted }
}

/// What was moved in all runs.
pub(super) fn sum(earlier: Totals, now: engine::Totals) -> Totals {
    Totals {
        downloaded: earlier.downloaded.saturating_add(now.downloaded),
        uploaded: earlier.uploaded.saturating_add(now.uploaded),
        wasted: earlier.wasted.saturating_add(now.wasted),
    }
}
