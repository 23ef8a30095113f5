//! What a peer's messages do.

use std::time::Duration;

use metainfo::{Block, PieceIndex};
use storage::{Buf, Pool};
use wire::peer::{Bitfield, ExtendedHandshake, Message, Request};

use super::early::{Claim, MAX_ALLOWED};
use super::peer::{Peer, Pieces};
use super::{PeerKey, Shard};
use crate::engine::close::{Close, Violation};
use crate::engine::cx::Cx;
use crate::engine::picker::BlockState;
use crate::engine::rx::{Incoming, Sink};

/// Bytes of blocks never asked for that a peer may send before it is dropped.
const MAX_UNASKED: u64 = 1 << 20;
/// Pieces in a row, with no block between, that a peer that lets us ask may reject before it is left alone for a while.
const PATIENCE_WITH_REJECTS: u32 = 4;
/// How long.
const REST: Duration = Duration::from_secs(1);
/// The extension handshake's id (BEP 10).
const EXTENSION_HANDSHAKE: u8 = 0;

/// One read of one peer being taken in.
pub(super) struct Turn<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) cx: &'a mut Cx,
    pub(super) key: PeerKey,
}

impl Sink for Turn<'_> {
    fn pool(&mut self) -> &mut Pool {
        &mut self.cx.pool
    }

    fn message(&mut self, message: Message<'_>) -> Result<(), Close> {
        match message {
            Message::KeepAlive | Message::Unknown { .. } | Message::Piece { .. } => Ok(()),
            Message::Port(port) => {
                self.shard.told_node(self.key, port);
                Ok(())
            }
            Message::Choke => self.choked(),
            Message::Unchoke => self.unchoked(),
            Message::Interested => self.interest(true),
            Message::NotInterested => self.interest(false),
            Message::Have(index) => self.have(index),
            Message::Bitfield(bytes) => self.bitfield(bytes),
            Message::HaveAll => self.have_all(),
            Message::HaveNone => self.have_none(),
            Message::Request(request) => self.shard.requested(self.cx, self.key, request),
            Message::Cancel(request) => self.shard.cancelled(self.cx, self.key, request),
            Message::Suggest(index) => self.suggested(index),
            Message::Reject(request) => self.rejected(request),
            Message::AllowedFast(index) => self.allowed_fast(index),
            Message::Extended { id, payload } => self.extended(id, payload),
            Message::HashRequest(request) => self.shard.asked_for_hashes(self.cx, self.key, request),
            Message::Hashes(hashes) => self.shard.hashes(self.cx, self.key, &hashes),
            Message::HashReject(request) => {
                self.shard.hashes_rejected(self.cx, self.key, &request);
                Ok(())
            }
        }
    }

    fn piece(&mut self, index: u32, begin: u32, len: u32) -> Result<Incoming, Close> {
        let max = self.cx.config.max_request_len;
        let torrent = self.shard.torrent_of_mut(self.key);
        let Ok(block) = torrent.geometry().block_at(index, begin, len) else {
            // We only ask for whole blocks.
            torrent.geometry().range_at(index, begin, len, max)?;
            return Err(Violation::WrongBlock.into());
        };
        let peer = self.shard.peer_mut(self.key);
        let Some(request) = peer.take_request(|b| *b == block) else { return self.unasked(len) };
        peer.down.arriving = Some(request);
        let torrent = self.shard.torrent_of_mut(self.key);
        if matches!(torrent.picker.block_state(block), BlockState::Free | BlockState::Asked(_)) {
            return Ok(Incoming::Accept(block));
        }
        let peer = self.peer();
        peer.down.arriving = None;
        if !request.given_up {
            peer.down.window.handle_lost(1);
        }
        self.shard.wasted(self.key, len);
        Ok(Incoming::Discard)
    }

    fn block(&mut self, block: Block, data: Buf) -> Result<(), Close> {
        if let Some(request) = self.peer().down.arriving.take() {
            debug_assert_eq!(request.block, block);
            self.shard.received(self.cx, self.key, request, data);
        }
        Ok(())
    }
}

impl Turn<'_> {
    fn peer(&mut self) -> &mut Peer {
        self.shard.peer_mut(self.key)
    }

    fn require_fast(&mut self) -> Result<(), Close> {
        if self.peer().fast() { Ok(()) } else { Err(Violation::FastNotNegotiated.into()) }
    }

    /// The piece that a message of the Fast extension names.
    fn fast_piece(&mut self, index: u32) -> Result<PieceIndex, Close> {
        Ok(self.shard.torrent_of_mut(self.key).geometry().piece(index)?)
    }

    fn choked(&mut self) -> Result<(), Close> {
        let peer = self.peer();
        peer.peer_choking = true;
        if !peer.fast() {
            // Without BEP 6 a choke drops what was asked for; blocks on their way may still come.
            let late = u32::try_from(peer.down.requests.len()).unwrap_or(u32::MAX);
            peer.down.late = peer.down.late.saturating_add(late);
            self.shard.release_requests(self.cx, self.key);
        }
        Ok(())
    }

    fn unchoked(&mut self) -> Result<(), Close> {
        let peer = self.peer();
        peer.peer_choking = false;
        peer.down.window.handle_unchoke();
        self.shard.fill_requests(self.cx, self.key);
        Ok(())
    }

    fn interest(&mut self, interested: bool) -> Result<(), Close> {
        let peer = self.peer();
        if peer.peer_interested != interested {
            peer.peer_interested = interested;
            if peer.waits {
                // It is heard when we have told what we have.
                let slot = peer.torrent.slot();
                self.shard.want(self.cx, slot);
            } else {
                self.shard.interest_changed(self.cx, self.key);
            }
        }
        Ok(())
    }

    /// Lets a torrent that does not know its pieces keep what a peer says of them; whether it did.
    fn too_early(&mut self, claim: Claim<'_>) -> Result<bool, Close> {
        if self.peer().early.is_none() {
            return Ok(false);
        }
        self.shard.early_claim(self.cx, self.key, claim).map(|()| true)
    }

    fn suggested(&mut self, index: u32) -> Result<(), Close> {
        self.require_fast()?;
        if self.peer().early.is_some() {
            return Ok(());
        }
        let piece = self.fast_piece(index)?;
        let peer = &mut self.shard.peers[self.key.slot()];
        let picker = &self.shard.torrents[peer.torrent.slot()].picker;
        if picker.is_wanted(piece) {
            peer.suggests(picker, piece);
        }
        Ok(())
    }

    fn have(&mut self, index: u32) -> Result<(), Close> {
        if self.too_early(Claim::Have(index))? {
            return Ok(());
        }
        let torrent = self.shard.torrent_of_mut(self.key);
        let (piece, count) = (torrent.geometry().piece(index)?, torrent.geometry().piece_count());
        let peer = self.peer();
        let bits = match &mut peer.pieces {
            Pieces::All => return Ok(()),
            Pieces::Some(bits) => bits,
            pieces @ Pieces::Unsaid => {
                *pieces = Pieces::Some(Bitfield::new(count));
                let Pieces::Some(bits) = pieces else { return Ok(()) };
                bits
            }
        };
        if !bits.set(index) {
            return Ok(());
        }
        peer.piece_count += 1;
        self.shard.gained(self.cx, self.key, piece);
        Ok(())
    }

    /// The first bitfield says what the peer has. A later one adds to it: aria2 sends one instead of many haves.
    fn bitfield(&mut self, bytes: &[u8]) -> Result<(), Close> {
        if self.too_early(Claim::Bitfield(bytes))? {
            return Ok(());
        }
        let count = self.shard.torrent_of_mut(self.key).geometry().piece_count();
        let bits = Bitfield::from_bytes(bytes, count).map_err(|_| Violation::Bitfield)?;
        if !matches!(self.peer().pieces, Pieces::Unsaid) {
            return bits.iter_ones().try_for_each(|index| self.have(index));
        }
        let pieces = if bits.is_full() { Pieces::All } else { Pieces::Some(bits) };
        self.first_pieces(pieces)
    }

    fn have_all(&mut self) -> Result<(), Close> {
        self.require_fast()?;
        if self.too_early(Claim::All)? {
            return Ok(());
        }
        self.first_pieces(Pieces::All)
    }

    fn have_none(&mut self) -> Result<(), Close> {
        self.require_fast()?;
        if self.too_early(Claim::None)? {
            return Ok(());
        }
        let count = self.shard.torrent_of_mut(self.key).geometry().piece_count();
        self.first_pieces(Pieces::Some(Bitfield::new(count)))
    }

    fn first_pieces(&mut self, pieces: Pieces) -> Result<(), Close> {
        if !matches!(self.peer().pieces, Pieces::Unsaid) {
            return Err(Violation::LateBitfield.into());
        }
        self.shard.announced_pieces(self.cx, self.key, pieces);
        Ok(())
    }

    fn rejected(&mut self, request: Request) -> Result<(), Close> {
        self.require_fast()?;
        let range =
            |b: &Block| (b.piece().get(), b.begin(), b.len()) == (request.index, request.begin, request.len);
        let Some(taken) = self.peer().take_request(range) else {
            return Err(Violation::UnaskedReject.into());
        };
        let (now, piece) = (self.cx.now, taken.block.piece());
        let peer = self.peer();
        // Of a piece that it lost, as it said, it rejects what was asked for; that says nothing of others.
        let is_choice = !taken.given_up && !peer.peer_choking && peer.has(piece);
        if is_choice && peer.down.shunned.add(now, piece) {
            peer.down.rejects += 1;
            peer.down.window.handle_reject();
            if peer.down.rejects >= PATIENCE_WITH_REJECTS {
                peer.down.rests_until = now + REST;
            }
        }
        peer.down.allowed.retain(|allowed| *allowed != piece);
        if !taken.given_up {
            peer.down.window.handle_lost(1);
            self.shard.release_block(self.cx, self.key, taken.block);
            self.shard.arm_check(self.cx, self.key);
        }
        Ok(())
    }

    fn allowed_fast(&mut self, index: u32) -> Result<(), Close> {
        self.require_fast()?;
        if self.too_early(Claim::Allowed(index))? {
            return Ok(());
        }
        let piece = self.fast_piece(index)?;
        let allowed = &mut self.peer().down.allowed;
        if allowed.len() < MAX_ALLOWED && !allowed.contains(&piece) {
            allowed.push(piece);
            self.shard.fill_requests(self.cx, self.key);
        }
        Ok(())
    }

    fn extended(&mut self, id: u8, payload: &[u8]) -> Result<(), Close> {
        if !self.peer().reserved.extended() {
            return Err(Violation::ExtensionNotNegotiated.into());
        }
        if id != EXTENSION_HANDSHAKE {
            return self.shard.extension_message(self.cx, self.key, id, payload);
        }
        // An unreadable handshake says nothing; it is no reason to part.
        if let Ok(said) = ExtendedHandshake::parse(payload) {
            self.shard.extended_handshake(self.cx, self.key, said);
        }
        Ok(())
    }

    /// A block that is on no list of ours: late after a choke or cancel, or never asked for.
    fn unasked(&mut self, len: u32) -> Result<Incoming, Close> {
        let peer = self.peer();
        if peer.down.late > 0 {
            peer.down.late -= 1;
        } else {
            peer.down.unasked += u64::from(len);
            if peer.down.unasked > MAX_UNASKED {
                return Err(Violation::UnaskedBlocks.into());
            }
        }
        self.shard.wasted(self.key, len);
        Ok(Incoming::Discard)
    }
}
