//! Asking for blocks and taking them.

use std::time::Duration;

use metainfo::{Block, PieceIndex};
use storage::Buf;
use wire::peer::{Message, Request};

use super::endgame::Eager;
use super::peer::{Outstanding, Peer, Pieces};
use super::{PeerKey, Shard};
use crate::engine::changes::Columns;
use crate::engine::cx::{ConnTimer, Cx};
use crate::engine::link::Direction;
use crate::engine::picker::{Have, PeerView, Received};

/// Parts of a window that are asked for at a time.
const LUMPS: usize = 8;

impl Shard {
    /// Keeps the peer's window full.
    pub(super) fn fill_requests(&mut self, cx: &mut Cx, key: PeerKey) {
        let most = self.most_outstanding(cx);
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        if !torrent.downloads() || !peer.am_interested || (peer.peer_choking && peer.down.allowed.is_empty())
        {
            return;
        }
        if cx.now < peer.down.rests_until || matches!(peer.pieces, Pieces::Unsaid) {
            return;
        }
        if peer.down.shunned.expire(cx.now) {
            peer.down.cursor.reset();
        }
        if torrent.ordering.is_urgent() {
            self.ask_urgent(cx, key);
        }
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        // Requests go out in lumps of an eighth of the window: with a fast peer a block comes every few microseconds, and
        // a system call for each would cost more than the block.
        let (room, outstanding) = (peer.down.window.room() as usize, peer.down.window.outstanding());
        if outstanding > 0 && room * LUMPS < peer.down.window.target() as usize {
            return;
        }
        // In the endgame a peer is asked for what others have not sent yet once it has nothing else to send.
        if torrent.picker.endgame() && outstanding > 0 {
            return;
        }
        // A given-up request is still in the peer's queue; it must not grow without bound.
        if room == 0 || peer.down.requests.len() >= most {
            return;
        }
        let room = room.min(most - peer.down.requests.len());
        let mut cursor = std::mem::take(&mut peer.down.cursor);
        let mut blocks = std::mem::take(&mut self.picked);
        let peer = &self.peers[key.slot()];
        let view = PeerView {
            have: match &peer.pieces {
                Pieces::Some(bits) => Have::Some(bits),
                Pieces::All | Pieces::Unsaid => Have::All,
            },
            allowed: peer.peer_choking.then_some(&peer.down.allowed[..]),
            suggested: &peer.down.suggested,
            avoid: peer.down.shunned.pieces(),
            manner: torrent.manner(cx.now, peer),
        };
        let mut eager = Eager::new(cx.now, &self.peers, key);
        let gain = |block, other| eager.gain(block, other);
        torrent.picker.pick_worth(key, view, &mut cursor, room, &mut cx.rng, &mut blocks, gain);
        let idle_until = eager.idle_until();
        let peer = &mut self.peers[key.slot()];
        (peer.down.cursor, peer.down.idle_until) = (cursor, idle_until);
        let came_short = blocks.len() < room;
        peer.down.window.handle_sent(cx.now, u32::try_from(blocks.len()).unwrap_or(u32::MAX));
        for block in blocks.drain(..) {
            peer.down.requests.push_back(Outstanding { block, asked: cx.now, given_up: false });
            peer.link.tx.push(&Message::Request(request(block)));
        }
        self.picked = blocks;
        if came_short && !peer.down.hungry {
            peer.down.hungry = true;
            torrent.hungry.push(key);
        }
        cx.ready.enlist(&mut peer.link, Direction::Write);
        self.arm_check(cx, key);
    }

    /// A whole block came that was asked for.
    pub(super) fn received(&mut self, cx: &mut Cx, key: PeerKey, request: Outstanding, data: Buf) {
        let block = request.block;
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        let len = u64::from(block.len());
        if request.given_up {
            // Its place in the window was given back before; this one is a present.
            peer.down.window.handle_sent(cx.now, 1);
        }
        peer.down.rejects = 0;
        if peer.down.shunned.remove(block.piece()) {
            peer.down.cursor.reset();
        }
        let was_snubbed = peer.down.window.is_snubbed();
        peer.down.window.handle_block(cx.now, request.asked, block.len());
        torrent.down_rate.add(cx.now, len);
        torrent.totals.downloaded += len;
        self.ledger.moved(peer.torrent.slot(), Columns::PROGRESS);
        self.choker.handle_downloaded(key.slot(), len);
        match torrent.picker.accept(block, key) {
            Received::First { others } => {
                torrent.blame.received(block, peer.sender());
                let slot = peer.torrent.slot();
                self.write(cx, slot, block, data);
                for other in others.as_slice() {
                    self.answered_by_other(cx, *other, block);
                }
            }
            Received::Duplicate | Received::NotRequested => {
                cx.pool.give(data);
                self.wasted(key, block.len());
            }
        }
        if was_snubbed {
            self.snub_changed(cx, key, false);
        }
    }

    /// Another one has sent a block that was asked of this one too: takes the request back. A source finds out by itself.
    pub(super) fn answered_by_other(&mut self, cx: &mut Cx, key: PeerKey, block: Block) {
        let Some(fast) = self.peers.get(key.slot()).map(Peer::fast) else { return };
        self.cancel_at(cx, key, block);
        if !fast {
            // With BEP 6 the cancel is answered, and then the peer is asked for more.
            self.fill_requests(cx, key);
        }
    }

    /// Takes back a request.
    fn cancel_at(&mut self, cx: &mut Cx, key: PeerKey, block: Block) {
        let peer = &mut self.peers[key.slot()];
        let Some(at) = peer.down.requests.iter().position(|r| r.block == block && !r.given_up) else {
            return;
        };
        peer.down.window.handle_lost(1);
        if peer.fast() {
            peer.down.requests[at].given_up = true;
        } else {
            peer.down.requests.remove(at);
            peer.down.late = peer.down.late.saturating_add(1);
        }
        peer.link.tx.push(&Message::Cancel(request(block)));
        cx.ready.enlist(&mut peer.link, Direction::Write);
    }

    /// Counts payload that is of no use.
    pub(super) fn wasted(&mut self, key: PeerKey, len: u32) {
        let peer = &mut self.peers[key.slot()];
        peer.down.wasted += u64::from(len);
        self.torrents[peer.torrent.slot()].totals.wasted += u64::from(len);
    }

    /// The peer will not send this block: others may.
    pub(super) fn release_block(&mut self, cx: &mut Cx, key: PeerKey, block: Block) {
        let slot = self.peers[key.slot()].torrent.slot();
        self.torrents[slot].picker.release(block, key);
        self.feed_hungry(cx, slot);
    }

    /// Takes back all requests at a peer that dropped them.
    pub(super) fn release_requests(&mut self, cx: &mut Cx, key: PeerKey) {
        self.drop_requests(key);
        let slot = self.peers[key.slot()].torrent.slot();
        self.feed_hungry(cx, slot);
    }

    /// Takes back all requests at a peer, and lets nobody have them yet.
    pub(super) fn drop_requests(&mut self, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let requests = std::mem::take(&mut peer.down.requests);
        peer.down.window.handle_lost(peer.down.window.outstanding());
        for request in requests.iter().filter(|r| !r.given_up) {
            self.torrents[slot].picker.release(request.block, key);
        }
    }

    /// Tells a peer that nothing of what was asked for is wanted any more.
    pub(super) fn cancel_requests(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let live: Vec<Block> = peer.down.requests.iter().filter(|r| !r.given_up).map(|r| r.block).collect();
        for block in live {
            self.cancel_at(cx, key, block);
            self.torrents[slot].picker.release(block, key);
        }
    }

    /// Gives up on requests that wait for too long, but keeps listening for their answers.
    pub(super) fn give_up_requests(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let slot = peer.torrent.slot();
        // The block that is arriving counts too: its sender may trickle it for hours.
        let down = &mut peer.down;
        for request in down.requests.iter_mut().chain(&mut down.arriving).filter(|r| !r.given_up) {
            request.given_up = true;
            self.torrents[slot].picker.release(request.block, key);
        }
        peer.down.window.handle_lost(peer.down.window.outstanding());
        self.feed_hungry(cx, slot);
    }

    /// Blocks became free: peers that had nothing to ask for may ask now.
    pub(super) fn feed_hungry(&mut self, cx: &mut Cx, torrent: usize) {
        let mut hungry = std::mem::take(&mut self.torrents[torrent].hungry);
        for key in hungry.drain(..) {
            if let Some(peer) = self.peers.get_mut(key.slot()) {
                peer.down.hungry = false;
                self.fill_requests(cx, key);
            }
        }
        self.wake_sources(cx);
        let list = &mut self.torrents[torrent].hungry;
        if list.is_empty() {
            *list = hungry;
        }
    }

    /// A peer said for the first time what it has.
    pub(super) fn announced_pieces(&mut self, cx: &mut Cx, key: PeerKey, pieces: Pieces) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        match &pieces {
            Pieces::Unsaid => {}
            Pieces::All => {
                torrent.picker.add_seed();
                peer.piece_count = torrent.geometry().piece_count();
                peer.wanted = torrent.picker.wanted_left();
            }
            Pieces::Some(bits) => {
                torrent.picker.add_bitfield(bits);
                peer.piece_count = bits.count_ones();
                peer.wanted = torrent.picker.count_wanted(Have::Some(bits));
            }
        }
        peer.pieces = pieces;
        self.list_peer(cx, key);
        self.update_interest(cx, key);
        self.part_if_redundant(cx, key);
    }

    /// A peer got one more piece.
    pub(super) fn gained(&mut self, cx: &mut Cx, key: PeerKey, piece: PieceIndex) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        torrent.picker.add_have(piece, &mut peer.down.cursor);
        let full = peer.piece_count == torrent.geometry().piece_count();
        // Who lost a piece once may do so again and again: as a seed it would cost two rounds of all pieces each time.
        if full
            && peer.reneged == 0
            && let Pieces::Some(bits) = &peer.pieces
        {
            torrent.picker.remove_bitfield(bits);
            torrent.picker.add_seed();
            peer.pieces = Pieces::All;
            peer.down.cursor.reset();
        }
        if torrent.picker.is_wanted(piece) {
            peer.wanted += 1;
            if peer.am_interested {
                if peer.down.hungry || peer.down.window.outstanding() == 0 {
                    self.fill_requests(cx, key);
                }
            } else {
                self.update_interest(cx, key);
            }
        }
        if full {
            self.list_peer(cx, key);
            self.part_if_redundant(cx, key);
        }
    }

    /// Says whether we want anything of this peer, if that changed.
    pub(super) fn update_interest(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        let interested = torrent.downloads() && peer.wanted > 0;
        if interested == peer.am_interested {
            return;
        }
        peer.am_interested = interested;
        peer.link.tx.push(if interested { &Message::Interested } else { &Message::NotInterested });
        cx.ready.enlist(&mut peer.link, Direction::Write);
        if interested {
            self.fill_requests(cx, key);
        }
    }

    /// Arms the peer's timer for what it must do next.
    pub(super) fn arm_check(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let quiet = if peer.link.tx.is_empty() || peer.link.write.ready {
            peer.link.last_written + cx.config.keepalive
        } else {
            peer.link.last_written + cx.config.idle_timeout
        };
        // What waits for our own limits may wait for longer; then this comes again.
        let mut at =
            quiet.max(cx.now + Duration::from_secs(1)).min(peer.link.last_read + cx.config.idle_timeout);
        if let Some(patience_ends) = peer.down.window.next_timeout() {
            at = at.min(patience_ends);
        }
        for until in [peer.down.rests_until, peer.down.idle_until] {
            at = if cx.now < until { at.min(until) } else { at };
        }
        if let Some(ends) = peer.down.shunned.next() {
            at = at.min(ends);
        }
        if at < peer.check_at {
            peer.check_at = at;
            cx.conn_timers.set(peer.link.conn.slot(), ConnTimer::Check, at);
        }
    }
}

/// The block as a request names it.
pub(super) fn request(block: Block) -> Request {
    Request { index: block.piece().get(), begin: block.begin(), len: block.len() }
}
