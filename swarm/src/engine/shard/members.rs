//! Peers joining and leaving a torrent, and what they do when nothing comes.

use std::net::IpAddr;

use wire::peer::{ExtendedHandshake, Message, allowed_fast};

use super::budget::bitfield_bytes;
use super::early::Early;
use super::extensions::Extension;
use super::peer::{Down, Peer, Pieces, Up};
use super::receive::Turn;
use super::shunned::Shunned;
use super::{PeerKey, Shard};
use crate::engine::candidates::Source;
use crate::engine::changes::Columns;
use crate::engine::close::{Close, Timeout};
use crate::engine::cx::Cx;
use crate::engine::hub::Handshaken;
use crate::engine::link::Direction;
use crate::engine::metadata;
use crate::engine::output::{Action, Event};
use crate::engine::picker::Cursor;
use crate::engine::scope::Scope;
use crate::engine::time::Time;
use crate::engine::window::{self, Window};

/// Pieces that a new peer may ask for while it is choked (BEP 6 suggests 10).
const ALLOWED_FAST: u32 = 10;

impl Shard {
    /// Takes over a connection whose handshake named one of our torrents.
    pub(crate) fn join(&mut self, cx: &mut Cx, arrival: Handshaken) -> PeerKey {
        let Handshaken { torrent, link, handshake } = arrival;
        let (addr, conn, outgoing) = (link.addr, link.conn, link.outgoing);
        self.generation = self.generation.wrapping_add(1);
        let place = self.torrents[torrent.slot()].peers.len();
        let slot = torrent.slot();
        let limits = cx.limits.add_peer(cx.now, self.torrents[slot].limit_nodes, self.peers.vacant_key());
        let peer = Peer {
            torrent,
            limits,
            link,
            id: handshake.peer_id,
            reserved: handshake.reserved,
            place,
            generation: self.generation,
            listens: Some(addr).filter(|addr| outgoing && !self.torrents[slot].pex.lists(*addr)),
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            pieces: Pieces::Unsaid,
            piece_count: 0,
            reneged: 0,
            wanted: 0,
            extended: None,
            early: self.torrents[slot].awaits.is_some().then(Box::default),
            exchange: None,
            asks: None,
            hash_asks: None,
            waits: false,
            untold: None,
            greeted: cx.now,
            told_node: false,
            down: Down::new(cx.config.max_outstanding),
            up: Up::default(),
            check_at: Time::MAX,
            counted: (0, 0),
            counted_bits: bitfield_bytes(self.torrents[slot].geometry()),
        };
        self.bitfields += peer.counted_bits;
        let key = PeerKey(u32::try_from(self.peers.insert(peer)).unwrap_or(u32::MAX));
        self.torrents[slot].peers.push(key);
        self.torrents[slot].retarget();
        self.limit_pieces(cx, slot);
        if outgoing {
            self.torrents[slot].candidates.handle_connected(cx.now, addr);
        }
        self.list_peer(cx, key);
        self.choker.add_peer(cx.now, key.slot(), slot, addr.ip());
        cx.conn_timers.remove(conn.slot());
        cx.out.event(Event::PeerJoined { torrent, addr });
        self.ledger.mark(torrent.slot(), Columns::PEERS);
        if !self.waits(cx, key) {
            self.greet(cx, key);
        }
        self.arm_check(cx, key);
        key
    }

    /// The first turn of a new peer: the bytes that came behind its handshake, and whatever its socket has.
    pub(crate) fn first_turn(&mut self, cx: &mut Cx, key: PeerKey, rest: &[u8]) {
        match self.take_in(cx, key, |rx, limits, turn| rx.feed(rest, limits, turn)) {
            Ok(()) => cx.ready.enlist(&mut self.peers[key.slot()].link, Direction::Read),
            Err(reason) => self.leave(cx, key, reason),
        }
    }

    /// The first messages after the handshake: what we have, and who we are.
    pub(super) fn greet(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        peer.greeted = cx.now;
        let tx = &mut peer.link.tx;
        match (peer.reserved.fast(), torrent.have.is_clear(), torrent.have.is_full()) {
            (true, true, _) => tx.push(&Message::HaveNone),
            (true, _, true) => tx.push(&Message::HaveAll),
            (false, true, _) => {}
            _ => tx.push(&Message::Bitfield(torrent.have.as_bytes())),
        }
        if peer.reserved.extended() {
            let handshake = self.our_extended_handshake(cx, key);
            self.say_to(cx, key, &handshake);
        }
        self.tell_node(key);
        self.allow_fast(key);
        cx.ready.enlist(&mut self.peers[key.slot()].link, Direction::Write);
    }

    /// Tells a peer that has little which pieces it may ask for while it is choked (BEP 6, IPv4 only). A seed does not: all
    /// its peers together would ask it for the same few pieces many times over, beside those whose turn it is.
    pub(super) fn allow_fast(&mut self, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        let IpAddr::V4(ip) = peer.link.addr.ip() else { return };
        if !peer.reserved.fast() || torrent.have.is_full() {
            return;
        }
        let count = torrent.geometry().piece_count();
        for index in allowed_fast(ip, &torrent.id.0, count, ALLOWED_FAST) {
            if let Ok(piece) = torrent.geometry().piece(index)
                && torrent.have.get(index)
            {
                peer.up.allowed.push(piece);
                peer.link.tx.push(&Message::AllowedFast(index));
            }
        }
    }

    /// Feeds what was read to the peer, then lets it ask and be served.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        feed: impl FnOnce(&mut crate::engine::rx::Rx, &wire::peer::Limits, &mut Turn<'_>) -> Result<(), Close>,
    ) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        peer.link.last_read = cx.now;
        let mut rx = std::mem::take(&mut peer.link.rx);
        let limits = self.torrents[peer.torrent.slot()].limits;
        let result = feed(&mut rx, &limits, &mut Turn { shard: self, cx, key });
        self.peers[key.slot()].link.rx = rx;
        self.count_held(cx, key);
        result?;
        self.fill_requests(cx, key);
        self.pump_uploads(cx, key);
        cx.ready.enlist(&mut self.peers[key.slot()].link, Direction::Write);
        self.count_held(cx, key);
        if self.is_deaf(cx, key) {
            return Err(Close::Timeout(Timeout::Idle));
        }
        Ok(())
    }

    /// Ends a peer: its requests go back, its slot is free, its connection is closed.
    pub(crate) fn leave(&mut self, cx: &mut Cx, key: PeerKey, reason: Close) {
        self.drop_requests(key);
        let mut peer = self.peers.remove(key.slot());
        cx.receiving -= peer.counted.0;
        cx.messages -= peer.counted.1;
        self.bitfields -= peer.counted_bits;
        let slot = peer.torrent.slot();
        let torrent = &mut self.torrents[slot];
        if let Some(block) = peer.link.rx.abandon(&mut cx.pool) {
            torrent.picker.release(block, key);
        }
        match &peer.pieces {
            Pieces::Unsaid => {}
            Pieces::All => torrent.picker.remove_seed(),
            Pieces::Some(bits) => torrent.picker.remove_bitfield(bits),
        }
        cx.serving -= peer.link.tx.buffers();
        peer.link.release(&mut cx.pool);
        self.unchoked -= usize::from(!peer.am_choking);
        torrent.peers.swap_remove(peer.place);
        torrent.needed_at = cx.now;
        torrent.retarget();
        if let Some(moved) = torrent.peers.get(peer.place) {
            self.peers[moved.slot()].place = peer.place;
        }
        if let Some(awaits) = &mut torrent.awaits {
            awaits.fetch.remove_peer(cx.now, key);
            if let Some(sought) = &mut awaits.sought {
                sought.remove_peer(cx, key);
            }
        }
        self.early -= peer.early.as_deref().map_or(0, Early::held);
        self.waiting -= usize::from(peer.waits);
        let moved = peer.down.window.total() + peer.up.bytes > 0;
        // Who has nothing for us now may have it when we want more.
        let useful = (moved && !matches!(reason, Close::Violation(_))) || reason == Close::Redundant;
        if let Some(addr) = peer.listens {
            torrent.pex.handle_left(addr);
            torrent.candidates.handle_lost(cx.now, addr, useful);
        }
        if matches!(reason, Close::Eof | Close::Io(_) | Close::Timeout(_)) {
            self.try_other_address(cx, &peer);
        }
        cx.limits.remove(peer.limits);
        cx.conn_timers.remove(peer.link.conn.slot());
        self.ledger.mark(slot, Columns::PEERS);
        cx.out.event(Event::PeerLeft { torrent: peer.torrent, addr: peer.link.addr, reason });
        cx.out.actions.push_back(Action::Close { conn: peer.link.conn });
        self.gone.push(peer.link.conn);
        self.choker.remove_peer(cx.now, key.slot());
        self.apply_choker(cx);
        self.feed_hungry(cx, slot);
        self.run_metadata(cx, slot);
        self.run_layers(cx, slot);
        self.left_cold(cx, slot);
        self.serve_thirsty(cx);
        self.arm_dial(cx, slot);
    }

    /// A peer that is gone may have said where it is in the other address family (BEP 10). Its word counts like that on another
    /// peer, since it may be one.
    fn try_other_address(&mut self, cx: &mut Cx, peer: &Peer) {
        let (Some(addr), Some(scope)) = (peer.other_address(), Scope::of(peer.link.addr.ip())) else {
            return;
        };
        let is_ours = self.listen_port == Some(addr.port()) && self.external.was_named(addr.ip());
        if cx.config.pex && !is_ours {
            self.add_peers(cx, peer.torrent, &[addr], Source::Pex, scope);
            let candidates = &mut self.torrents[peer.torrent.slot()].candidates;
            candidates.handle_seed(cx.now, addr, peer.is_done() == Some(true));
        }
    }

    /// Two that want no piece have nothing for each other, whether they are seeds or partial seeds (BEP 21).
    pub(super) fn part_if_redundant(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        if cx.config.close_redundant
            && torrent.is_done()
            && peer.is_done() == Some(true)
            && !self.may_want_metadata(key)
        {
            self.doomed.push((key, peer.generation, Close::Redundant));
        }
    }

    /// Whether a peer that wants no piece may want to know what the torrent is.
    fn may_want_metadata(&self, key: PeerKey) -> bool {
        let peer = &self.peers[key.slot()];
        let has_it =
            peer.is_seed() || peer.extended.as_ref().is_some_and(|said| said.metadata_size.is_some());
        !has_it && self.torrents[peer.torrent.slot()].is_public() && self.speaks(key, Extension::Metadata)
    }

    /// The peer said who it is (BEP 10); a second handshake adds to the first.
    pub(super) fn extended_handshake(&mut self, cx: &mut Cx, key: PeerKey, mut said: ExtendedHandshake) {
        // Of sizes the first counts: one that cannot be is none, which some say as long as they have no metadata.
        said.metadata_size = said.metadata_size.filter(|size| (1..=metadata::MAX_SIZE).contains(size));
        let peer = &mut self.peers[key.slot()];
        if let Some(requests) = said.request_queue {
            peer.down.window.handle_peer_queue(requests);
        }
        let voter = peer.link.addr.ip();
        // One vote a connection: counting them costs more than a message.
        if let Some(seen) = said.your_ip.filter(|_| peer.extended.is_none()) {
            self.seen_as(cx, voter, seen);
        }
        let peer = &mut self.peers[key.slot()];
        // Only the first port that it names counts: others would fill the book. Nobody is to be sent to a privileged one.
        let listens = said.port.filter(|port| peer.listens.is_none() && *port >= 1024);
        match &mut peer.extended {
            Some(known) => known.merge(&said),
            none => *none = Some(Box::new(said)),
        }
        if let Some(port) = listens {
            let mut addr = peer.link.addr;
            addr.set_port(port);
            let slot = peer.torrent.slot();
            // Of two at one address, the second is not told of, lest its end be told as that of the first.
            if let Some(scope) = Scope::of(addr.ip()).filter(|_| !self.torrents[slot].pex.lists(addr)) {
                peer.listens = Some(addr);
                self.learn(cx, slot, addr, Source::Incoming, scope);
                self.torrents[slot].candidates.handle_connected(cx.now, addr);
            }
        }
        self.list_peer(cx, key);
        self.begin_exchange(cx, key);
        self.offered_metadata(cx, key);
        self.may_have_layers(cx, key);
        self.part_if_redundant(cx, key);
    }

    /// The peer's timer: keep-alive, idleness, requests that wait for too long.
    pub(crate) fn check_peer(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        peer.check_at = Time::MAX;
        if peer.link.read.queued {
            // Our own limits hold it up: that is not its silence.
            peer.link.last_read = cx.now;
        }
        if cx.now >= peer.link.last_read + cx.config.idle_timeout {
            return self.leave(cx, key, Close::Timeout(Timeout::Idle));
        }
        if cx.now >= peer.link.last_written + cx.config.keepalive && peer.link.tx.is_empty() {
            peer.link.tx.push(&Message::KeepAlive);
            peer.link.last_written = cx.now;
            cx.ready.enlist(&mut peer.link, Direction::Write);
        }
        let stalled = !peer.link.tx.is_empty() && !peer.link.write.ready;
        if stalled && cx.now >= peer.link.last_written + cx.config.idle_timeout {
            return self.leave(cx, key, Close::Timeout(Timeout::Idle));
        }
        if peer.down.shunned.expire(cx.now) {
            peer.down.cursor.reset();
        }
        if peer.down.window.handle_timeout(cx.now) {
            // Others are asked for what it sits on, and it for one block at a time.
            self.give_up_requests(cx, key);
            self.drop_arriving(cx, key);
            self.snub_changed(cx, key, true);
        }
        self.pump_hashes(cx, key);
        self.fill_requests(cx, key);
        self.arm_check(cx, key);
    }
}

impl Down {
    fn new(ceiling: u32) -> Self {
        Self {
            requests: std::collections::VecDeque::new(),
            arriving: None,
            window: Window::new(window::Config { ceiling, ..window::Config::default() }),
            allowed: Vec::new(),
            suggested: Vec::new(),
            late: 0,
            unasked: 0,
            shunned: Shunned::default(),
            rejects: 0,
            rests_until: Time::ZERO,
            idle_until: Time::ZERO,
            hungry: false,
            cursor: Cursor::new(),
            wasted: 0,
        }
    }
}
