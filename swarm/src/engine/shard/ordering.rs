//! The order in which a torrent is fetched, and pieces that somebody waits for.
//!
//! Pieces with a deadline are asked for before all others, of those peers that deliver fastest; several of them share one such
//! piece. What is late is asked of others too.

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::PieceIndex;

use super::peer::{Outstanding, Pieces};
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::link::Direction;
use crate::engine::order::{self, PieceOrder};
use crate::engine::picker::{Have, Manner, Order, PeerView, Priority};
use crate::engine::time::Time;
use wire::peer::Message;

/// Deadlines at a time: as many pieces as the picker looks at in a list.
const MOST: usize = 64;
/// How often it is looked whether a piece is late.
const TICK: Duration = Duration::from_millis(250);
/// A piece that is due so soon is asked of several peers: what is asked for now comes behind what a peer has queued already.
const LATE: Duration = Duration::from_secs(2);
/// Requests beyond its window that a peer may get for pieces with a deadline.
const EXTRA: usize = 4;
/// Peers that are asked at a tick, the fastest first.
const ASKED: usize = 8;

/// What was chosen for a torrent.
#[derive(Default)]
pub(crate) struct Ordering {
    order: PieceOrder,
    /// With [`PieceOrder::FirstLast`]: the ends of files, with the priorities that were chosen for them.
    ends: BTreeMap<PieceIndex, Priority>,
    /// Pieces that are waited for, the most urgent first.
    deadlines: Vec<(Time, PieceIndex)>,
}

impl Ordering {
    /// What a chosen priority means while ends of files are preferred.
    pub(super) fn translate(&mut self, piece: PieceIndex, priority: Priority) -> Priority {
        match self.ends.get_mut(&piece) {
            Some(chosen) => {
                *chosen = priority;
                if priority == Priority::Skip { Priority::Skip } else { Priority::High }
            }
            None => priority,
        }
    }

    pub(super) fn is_urgent(&self) -> bool {
        !self.deadlines.is_empty()
    }
}

impl Shard {
    /// Changes the order in which pieces are begun.
    pub(crate) fn set_order(&mut self, cx: &mut Cx, key: TorrentKey, order: PieceOrder) {
        let Some(torrent) = self.torrent_mut(key).filter(|torrent| torrent.ordering.order != order) else {
            return;
        };
        torrent.ordering.order = order;
        torrent.picker.set_order(match order {
            PieceOrder::Sequential => Order::Sequential,
            PieceOrder::Rarest | PieceOrder::FirstLast => Order::RarestFirst,
        });
        let mut changes: Vec<_> = std::mem::take(&mut torrent.ordering.ends).into_iter().collect();
        if order == PieceOrder::FirstLast
            && let Some(meta) = &torrent.meta
        {
            for piece in order::ends(meta) {
                let chosen = torrent.picker.priority(piece);
                torrent.ordering.ends.insert(piece, chosen);
                changes.push((piece, chosen));
            }
        }
        if !changes.is_empty() {
            self.set_priorities(cx, key, changes);
        }
        self.feed_hungry(cx, key.slot());
    }

    /// Names the pieces that somebody waits for, and until when, instead of those named before.
    pub(crate) fn set_deadlines(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        deadlines: impl IntoIterator<Item = (PieceIndex, Time)>,
    ) {
        let Some(torrent) = self.torrent_mut(key) else { return };
        let count = torrent.geometry().piece_count();
        let mut deadlines: Vec<_> = deadlines
            .into_iter()
            .filter(|(piece, _)| piece.get() < count)
            .map(|(piece, at)| (at, piece))
            .collect();
        deadlines.sort_unstable();
        deadlines.truncate(MOST);
        torrent.ordering.deadlines = deadlines;
        self.look_at_deadlines(cx, key.slot());
    }

    /// Sees which pieces are late, and asks the fastest peers for what is waited for.
    pub(super) fn look_at_deadlines(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let (picker, now) = (&mut torrent.picker, cx.now);
        torrent.ordering.deadlines.retain(|(_, piece)| picker.is_wanted(*piece));
        if !torrent.ordering.is_urgent() {
            return cx.torrent_timers.cancel(slot, TorrentTimer::Deadline);
        }
        for (at, piece) in &torrent.ordering.deadlines {
            picker.hurry(*piece, *at <= now + LATE);
        }
        cx.torrent_timers.set(slot, TorrentTimer::Deadline, now + TICK);
        let torrent = &self.torrents[slot];
        let mut peers: Vec<_> = torrent.peers.iter().copied().filter(|key| self.is_asked(*key)).collect();
        peers.sort_by_key(|key| std::cmp::Reverse(self.peers[key.slot()].down.window.rate(now)));
        for key in peers.into_iter().take(ASKED) {
            self.ask_urgent(cx, key);
        }
    }

    fn is_asked(&self, key: PeerKey) -> bool {
        let peer = &self.peers[key.slot()];
        peer.am_interested && !peer.peer_choking && !peer.down.window.is_snubbed()
    }

    /// Asks a peer for what is waited for, if it is a fast one.
    pub(super) fn ask_urgent(&mut self, cx: &mut Cx, key: PeerKey) {
        if !self.is_asked(key) {
            return;
        }
        let most = self.most_outstanding(cx);
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        let (rate, all) = (peer.down.window.rate(cx.now), torrent.down_rate.get(cx.now));
        let is_slow = rate * 2 * (torrent.peers.len() as u64) < all;
        if is_slow || !torrent.downloads() || peer.down.requests.len() >= most {
            return;
        }
        let room = (peer.down.window.room() as usize).max(EXTRA);
        let queued = peer.down.requests.iter().rev().take(EXTRA).filter(|r| !r.given_up);
        let urgent: Vec<_> = torrent.ordering.deadlines.iter().map(|(_, piece)| *piece).collect();
        let behind = queued.filter(|r| urgent.contains(&r.block.piece())).count();
        if peer.down.window.room() == 0 && behind >= EXTRA {
            return;
        }
        let view = PeerView {
            have: match &peer.pieces {
                Pieces::Some(bits) => Have::Some(bits),
                Pieces::All => Have::All,
                Pieces::Unsaid => return,
            },
            allowed: Some(&urgent),
            suggested: &[],
            avoid: peer.down.shunned.pieces(),
            manner: if torrent.manner(cx.now, peer) == Manner::Alone { Manner::Alone } else { Manner::Share },
        };
        let mut blocks = std::mem::take(&mut self.picked);
        torrent.picker.pick(key, view, &mut peer.down.cursor, room, &mut cx.rng, &mut blocks);
        peer.down.window.handle_sent(cx.now, u32::try_from(blocks.len()).unwrap_or(u32::MAX));
        for block in blocks.drain(..) {
            peer.down.requests.push_back(Outstanding { block, asked: cx.now, given_up: false });
            peer.link.tx.push(&Message::Request(super::download::request(block)));
        }
        self.picked = blocks;
        cx.ready.enlist(&mut peer.link, Direction::Write);
        self.arm_check(cx, key);
    }
}
