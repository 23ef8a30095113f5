//! Sources that deliver ranges instead of answering requests: web seeds (BEP 19) and whatever else is like them.
//!
//! A source has no choke and no messages. It claims a long run of pieces that nobody has begun, and hands over its blocks
//! one after the other. [`next`](Shard::source_next) gives a block and the pooled buffer to fill while there is write
//! credit; without credit the source does not read, and is told by
//! [`Action::SourceReady`](crate::engine::Action::SourceReady) when it may go on. So a slow disk holds a web server
//! back as it holds peers back.

use std::net::{IpAddr, Ipv6Addr};

use metainfo::Block;
use storage::Buf;

use super::peer::Sender;
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::changes::Columns;
use crate::engine::cx::Cx;
use crate::engine::output::Action;
use crate::engine::picker::{BlockState, Received, Run};

/// Sources have keys above those of all peers.
const FIRST_KEY: u32 = 1 << 31;

/// Names a source of one engine; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

/// A source of a torrent.
pub(crate) struct Source {
    id: SourceId,
    torrent: TorrentKey,
    /// Pieces claimed at a time.
    max_run: u32,
    /// What it claimed, and the next block of it: place in the run and block in the piece.
    claim: Option<Claim>,
    /// Blocks that it was given to fetch and has not delivered.
    fetching: Vec<Block>,
    /// It found no work or no credit, and is to be told when there is.
    waits: bool,
}

struct Claim {
    run: Run,
    piece: u32,
    block: u32,
}

impl SourceId {
    fn key(self) -> PeerKey {
        PeerKey(FIRST_KEY + self.0)
    }

    /// As which sender its blocks are blamed.
    pub(super) fn sender(self) -> Sender {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&self.0.to_be_bytes());
        Sender { ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED), id }
    }
}

impl Shard {
    pub(crate) fn add_source(&mut self, cx: &mut Cx, torrent: TorrentKey, max_run: u32) -> Option<SourceId> {
        self.torrent(torrent)?;
        self.source_count += 1;
        let id = SourceId(self.source_count);
        self.sources.push(Source {
            id,
            torrent,
            max_run: max_run.max(1),
            claim: None,
            fetching: Vec::new(),
            waits: false,
        });
        cx.out.actions.push_back(Action::SourceReady { source: id });
        Some(id)
    }

    pub(crate) fn remove_source(&mut self, cx: &mut Cx, id: SourceId) {
        let Some(at) = self.sources.iter().position(|source| source.id == id) else { return };
        self.sources[at].waits = false;
        self.give_back(cx, at);
        self.sources.remove(at);
    }

    /// Lets others have what a source claimed or was given to fetch.
    fn give_back(&mut self, cx: &mut Cx, at: usize) {
        let source = &mut self.sources[at];
        let (key, torrent) = (source.id.key(), source.torrent);
        let (claim, fetching) = (source.claim.take(), std::mem::take(&mut source.fetching));
        let Some(picker) = self.torrent_mut(torrent).map(|torrent| &mut torrent.picker) else { return };
        for block in fetching {
            picker.release(block, key);
        }
        if let Some(claim) = claim {
            picker.unclaim(key, claim.run);
        }
        self.feed_hungry(cx, torrent.slot());
    }

    /// The sources of a torrent.
    pub(super) fn sources_of(&self, torrent: TorrentKey) -> impl Iterator<Item = SourceId> {
        self.sources.iter().filter(move |source| source.torrent == torrent).map(|source| source.id)
    }

    /// The next block to fetch and the buffer to fetch it into. `None`: there is nothing to fetch, or no credit;
    /// wait to be told.
    pub(crate) fn source_next(&mut self, cx: &mut Cx, id: SourceId) -> Option<(Block, Buf)> {
        let at = self.sources.iter().position(|source| source.id == id)?;
        if cx.writing >= cx.config.write_credit {
            self.sources[at].waits = true;
            return None;
        }
        let block = self.next_claimed(at);
        self.sources[at].waits = block.is_none();
        self.sources[at].fetching.extend(block);
        block.map(|block| (block, cx.pool.take(block.len() as usize)))
    }

    /// Walks on to the next block of the claim that is still missing; claims anew at its end.
    fn next_claimed(&mut self, at: usize) -> Option<Block> {
        let source = &mut self.sources[at];
        let torrent = self.torrents.get_mut(source.torrent.slot()).filter(|t| t.key == source.torrent)?;
        if !torrent.downloads() {
            return None;
        }
        loop {
            let Some(claim) = &mut source.claim else {
                let run = torrent.picker.claim_range(source.id.key(), source.max_run)?;
                source.claim = Some(Claim { run, piece: run.first.get(), block: 0 });
                continue;
            };
            let geometry = torrent.picker.geometry();
            let piece = geometry
                .piece(claim.piece)
                .ok()
                .filter(|p| p.get() < claim.run.first.get() + claim.run.count);
            let Some(piece) = piece else {
                source.claim = None;
                continue;
            };
            let Some(block) = geometry.block(piece, claim.block) else {
                (claim.piece, claim.block) = (claim.piece + 1, 0);
                continue;
            };
            claim.block += 1;
            if matches!(torrent.picker.block_state(block), BlockState::Free | BlockState::Asked(_)) {
                return Some(block);
            }
        }
    }

    /// A source delivered a block, in the buffer that came with it.
    pub(crate) fn source_block(&mut self, cx: &mut Cx, id: SourceId, block: Block, mut data: Buf) {
        let Some(source) = self.sources.iter_mut().find(|source| source.id == id) else {
            return cx.pool.give(data);
        };
        if let Some(at) = source.fetching.iter().position(|fetching| *fetching == block) {
            source.fetching.swap_remove(at);
        }
        let Some(torrent) = self.torrents.get_mut(source.torrent.slot()) else { return cx.pool.give(data) };
        data.set_len(block.len() as usize);
        torrent.down_rate.add(cx.now, block.len().into());
        torrent.totals.downloaded += u64::from(block.len());
        self.ledger.moved(torrent.key.slot(), Columns::PROGRESS);
        match torrent.picker.accept(block, id.key()) {
            Received::First { others } => {
                torrent.blame.received(block, id.sender());
                let slot = torrent.key.slot();
                self.write(cx, slot, block, data);
                for other in others.as_slice() {
                    self.answered_by_other(cx, *other, block);
                }
            }
            Received::Duplicate | Received::NotRequested => {
                torrent.totals.wasted += u64::from(block.len());
                cx.pool.give(data);
            }
        }
    }

    /// A source that was given a block could not fetch it: others may have it and all else that the source claimed, and it
    /// starts anew when it asks again.
    pub(crate) fn source_failed(&mut self, cx: &mut Cx, id: SourceId, data: Buf) {
        cx.pool.give(data);
        if let Some(at) = self.sources.iter().position(|source| source.id == id) {
            self.give_back(cx, at);
        }
    }

    /// There is credit or work again: sources that wait are told, once each.
    pub(super) fn wake_sources(&mut self, cx: &mut Cx) {
        for source in self.sources.iter_mut().filter(|source| source.waits) {
            source.waits = false;
            cx.out.actions.push_back(Action::SourceReady { source: source.id });
        }
    }

    /// The source that sent wrong bytes, if it was one.
    pub(super) fn convict_source(&mut self, cx: &mut Cx, sender: Sender) {
        if let Some(id) = self.sources.iter().map(|source| source.id).find(|id| id.sender() == sender) {
            self.remove_source(cx, id);
            cx.out.actions.push_back(Action::SourceBanned { source: id });
        }
    }
}
