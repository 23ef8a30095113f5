//! Serving what peers ask for.

use metainfo::{BLOCK, Geometry, PieceIndex, PieceRange};
use storage::{Buf, Job, StorageError, Token};
use wire::peer::{Message, Request};

use super::peer::Peer;
use super::{PeerKey, Shard};
use crate::engine::changes::Columns;
use crate::engine::close::{Close, Violation};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;
use crate::engine::tx::buffer_of;

/// Bytes read ahead for one peer at most: several turns of a fast one.
const AHEAD: usize = 512 * 1024;
/// Bytes read ahead for one peer in any case.
const LEAST_AHEAD: usize = 32 * 1024;

impl Shard {
    /// A peer asks for a range.
    pub(super) fn requested(&mut self, cx: &mut Cx, key: PeerKey, request: Request) -> Result<(), Close> {
        let most = self.most_requests(cx);
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        let max = cx.config.max_request_len;
        let asked = asked(torrent.geometry(), torrent.is_v2_only(), request, max);
        let served = asked.filter(|(range, _)| {
            torrent.have.get(range.piece().get())
                && peer.may_be_served(range.piece())
                && peer.up.queue.len() < most
        });
        let Some((range, gap)) = served else {
            peer.up.refused += 1;
            if peer.up.refused > 4 * cx.config.max_requests {
                return Err(Violation::RequestFlood.into());
            }
            reject(cx, peer, request);
            return Ok(());
        };
        peer.up.refused = 0;
        peer.up.queue.push_back(range);
        if gap > 0 {
            peer.up.gaps.push((range, gap));
        }
        self.follows(cx, key, range.piece());
        Ok(())
    }

    /// A peer takes a request back. With BEP 6 it gets a reject, unless the block is on its way.
    pub(super) fn cancelled(&mut self, cx: &mut Cx, key: PeerKey, request: Request) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        let max = cx.config.max_request_len;
        let Some((range, _)) = asked(torrent.geometry(), torrent.is_v2_only(), request, max) else {
            return Ok(());
        };
        if let Some(at) = peer.up.queue.iter().position(|queued| *queued == range) {
            peer.up.queue.remove(at);
            peer.up.take_gap(range);
            reject(cx, peer, request);
        } else if peer.link.tx.cancel(range, &mut cx.pool) {
            cx.serving -= buffer_of(range);
            reject(cx, peer, request);
            self.serve_thirsty(cx);
        }
        Ok(())
    }

    /// Has the disk read what the peer waits for, as far ahead as its share of the credit goes.
    pub(super) fn pump_uploads(&mut self, cx: &mut Cx, key: PeerKey) {
        self.read_ahead(cx, key);
        let peer = &self.peers[key.slot()];
        if peer.up.reading > 0 {
            self.arm_look(cx, peer.torrent.slot());
        }
    }

    fn read_ahead(&mut self, cx: &mut Cx, key: PeerKey) {
        let share = cx.config.read_credit / self.unchoked.max(1);
        let ahead = share.clamp(LEAST_AHEAD, AHEAD);
        let peer = &mut self.peers[key.slot()];
        let store = self.torrents[peer.torrent.slot()].store;
        while let Some(range) = peer.up.queue.front().copied() {
            let (slot, piece) = (peer.torrent.slot(), range.piece());
            if !self.torrents[slot].have.get(piece.get()) {
                // It was there when it was asked for.
                peer.up.queue.pop_front();
                reject_range(cx, peer, range);
                continue;
            }
            if self.torrents[slot].keeping.is_unverified(piece) {
                return self.check_for(cx, slot, piece, key);
            }
            let buffer = buffer_of(range);
            let mine = peer.up.reading + peer.link.tx.buffers();
            if mine > 0 && mine + buffer > ahead {
                return;
            }
            if cx.serving > 0 && cx.serving + buffer > cx.config.read_credit {
                if !peer.up.thirsty {
                    peer.up.thirsty = true;
                    self.thirsty.push_back(key);
                }
                return;
            }
            peer.up.queue.pop_front();
            peer.up.reading += buffer;
            cx.serving += buffer;
            let data = cx.pool.take(range.len() as usize);
            cx.out.jobs.push(Job::Read { store, token: token(key, peer), range, data });
        }
    }

    /// The disk read a range, or could not.
    pub(super) fn read_done(
        &mut self,
        cx: &mut Cx,
        token: Token,
        range: PieceRange,
        mut data: Buf,
        result: Result<(), StorageError>,
    ) {
        let buffer = buffer_of(range);
        let Some(key) = self.peer_of(token) else {
            cx.serving -= buffer;
            cx.pool.give(data);
            return self.serve_thirsty(cx);
        };
        let peer = &mut self.peers[key.slot()];
        let slot = peer.torrent.slot();
        peer.up.reading -= buffer;
        match result {
            Ok(()) => {
                pad(&mut data, peer.up.take_gap(range));
                peer.link.tx.push_block(range, data);
            }
            Err(error) => {
                cx.serving -= buffer;
                cx.pool.give(data);
                // What it says of the piece comes before the reject.
                self.read_failed(cx, slot, range.piece(), &error);
                reject_range(cx, &mut self.peers[key.slot()], range);
                self.pump_uploads(cx, key);
                self.serve_thirsty(cx);
            }
        }
        let peer = &mut self.peers[key.slot()];
        cx.ready.enlist(&mut peer.link, Direction::Write);
    }

    /// The driver wrote `n` bytes to a peer.
    pub(super) fn sent(&mut self, cx: &mut Cx, key: PeerKey, n: usize) {
        let peer = &mut self.peers[key.slot()];
        let sent = peer.link.tx.advance(n, &mut cx.pool);
        if sent.payload > 0 {
            cx.serving -= sent.buffers;
            peer.up.bytes += sent.payload;
            peer.up.rate.add(cx.now, sent.payload);
            self.choker.handle_uploaded(key.slot(), sent.payload);
            let torrent = &mut self.torrents[peer.torrent.slot()];
            torrent.totals.uploaded += sent.payload;
            torrent.up_rate.add(cx.now, sent.payload);
            self.ledger.moved(peer.torrent.slot(), Columns::NONE);
            self.pump_uploads(cx, key);
            self.serve_thirsty(cx);
        }
    }

    /// Credit came back: the peers that waited for it go on, in order.
    pub(super) fn serve_thirsty(&mut self, cx: &mut Cx) {
        for _ in 0..self.thirsty.len() {
            if cx.serving >= cx.config.read_credit {
                return;
            }
            let Some(key) = self.thirsty.pop_front() else { return };
            if let Some(peer) = self.peers.get_mut(key.slot())
                && std::mem::take(&mut peer.up.thirsty)
            {
                self.pump_uploads(cx, key);
            }
        }
    }

    /// Refuses what a peer waits for of a piece that is gone.
    pub(super) fn refuse_piece(&mut self, cx: &mut Cx, key: PeerKey, piece: PieceIndex) {
        let peer = &mut self.peers[key.slot()];
        let queue = std::mem::take(&mut peer.up.queue);
        for range in queue {
            if range.piece() == piece {
                reject_range(cx, peer, range);
            } else {
                peer.up.queue.push_back(range);
            }
        }
        peer.up.allowed.retain(|allowed| *allowed != piece);
    }

    /// Opens or closes a peer's slot.
    pub(super) fn set_choking(&mut self, cx: &mut Cx, key: PeerKey, choke: bool) {
        let peer = &mut self.peers[key.slot()];
        if peer.am_choking == choke {
            return;
        }
        peer.am_choking = choke;
        tracing::trace!(addr = %peer.link.addr, choke, "what a peer may ask of us");
        peer.up.refused = 0;
        if choke {
            self.unchoked -= 1;
            peer.link.tx.push(&Message::Choke);
            peer.up.advised.clear();
            refuse_queue(cx, peer);
        } else {
            self.unchoked += 1;
            // It chooses what to ask for when it reads that it may.
            self.advise(cx, key);
            self.peers[key.slot()].link.tx.push(&Message::Unchoke);
        }
        cx.ready.enlist(&mut self.peers[key.slot()].link, Direction::Write);
    }
}

/// Drops the queue of a peer that was choked; with BEP 6 each request is rejected by name, but for the allowed ones.
fn refuse_queue(cx: &mut Cx, peer: &mut Peer) {
    let queue = std::mem::take(&mut peer.up.queue);
    for range in queue {
        if peer.up.allowed.contains(&range.piece()) {
            peer.up.queue.push_back(range);
        } else {
            reject_range(cx, peer, range);
        }
    }
}

/// What there is of what a peer asks for, and how many bytes more it wants. libtorrent before 2.1 asks for whole blocks at the end
/// of a file of a v2 torrent, as if a pad lay behind it (BEP 47): zeros are what it expects there.
fn asked(geometry: &Geometry, is_v2_only: bool, request: Request, max: u32) -> Option<(PieceRange, u32)> {
    let Request { index, begin, len } = request;
    if let Ok(range) = geometry.range_at(index, begin, len, max) {
        return Some((range, 0));
    }
    let piece = geometry.piece(index).ok()?;
    let is_inside = begin.checked_add(len).is_some_and(|end| end <= geometry.piece_length());
    if !is_v2_only || !is_inside || len > BLOCK {
        return None;
    }
    let there = geometry.piece_len(piece).checked_sub(begin)?;
    let range = geometry.range_at(index, begin, there, max).ok()?;
    Some((range, len.checked_sub(there)?))
}

/// Puts zeros behind a block. There is room for them: together they are a block at most.
fn pad(data: &mut Buf, gap: u32) {
    let len = data.len();
    data.set_len(len + gap as usize);
    data.as_mut_slice()[len..].fill(0);
}

/// Rejects what a peer asked for, which may have been more than there is.
fn reject_range(cx: &mut Cx, peer: &mut Peer, range: PieceRange) {
    let len = range.len() + peer.up.take_gap(range);
    reject(cx, peer, Request { index: range.piece().get(), begin: range.begin(), len });
}

/// Rejects a request where the peer understands that; else silence is the answer.
fn reject(cx: &mut Cx, peer: &mut Peer, request: Request) {
    if peer.fast() {
        peer.link.tx.push(&Message::Reject(request));
        cx.ready.enlist(&mut peer.link, Direction::Write);
    }
}

/// Marks a disk job with the peer that waits for it.
fn token(key: PeerKey, peer: &Peer) -> Token {
    Token(u64::from(peer.generation) << 32 | u64::from(key.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_end_of_a_file_of_a_v2_torrent_lies_the_rest_of_a_block_of_zeros() {
        let geometry = Geometry::file_aligned(4 * u64::from(BLOCK), [20_000, 1000]).unwrap();
        let ask = |index, begin, len| {
            let asked = asked(&geometry, true, Request { index, begin, len }, 2 * BLOCK);
            asked.map(|(range, gap)| (range.begin(), range.len(), gap))
        };
        assert_eq!(ask(0, BLOCK, 3616), Some((BLOCK, 3616, 0)));
        assert_eq!(ask(0, BLOCK, BLOCK), Some((BLOCK, 3616, BLOCK - 3616)));
        assert_eq!(ask(1, 0, BLOCK), Some((0, 1000, BLOCK - 1000)));
        assert_eq!([ask(0, 2 * BLOCK, BLOCK), ask(0, BLOCK, BLOCK + 1), ask(1, BLOCK, BLOCK)], [None; 3]);
        assert_eq!([ask(0, 20_000, 1), ask(0, u32::MAX, BLOCK), ask(2, 0, BLOCK)], [None; 3]);
        assert_eq!([ask(0, BLOCK, 0), ask(1, 0, 0), ask(1, 1000, 0), ask(1, 1000, BLOCK)], [None; 4]);
        let mut data = Buf::with_capacity(BLOCK as usize);
        data.space().fill(7);
        data.set_len(3616);
        pad(&mut data, BLOCK - 3616);
        let (there, zeros) = data.as_slice().split_at(3616);
        assert!(there.iter().all(|byte| *byte == 7) && zeros == [0; BLOCK as usize - 3616]);
    }
}
