//! Piece layers between peers (BEP 52): asking for those that lack, and giving parts of trees.

use metainfo::Torrent as Meta;
use metainfo::merkle::Hash;
use wire::peer::{HashRequest, Hashes, Message};

use super::metadata::AHEAD;
use super::peer::Sender;
use super::torrent::Activity;
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::adding::Search;
use crate::engine::close::{Close, Violation};
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::layers::{Fetch, Output, cost};
use crate::engine::link::Direction;
use crate::engine::output::Event;

/// The search for the layers of a torrent whose info dictionary is there.
pub(crate) struct Sought {
    fetch: Fetch<PeerKey, Sender>,
    /// Bytes that it holds; none when it is over.
    pub(super) held: usize,
}

impl Sought {
    /// How far it is.
    pub(super) fn activity(&self) -> Activity {
        let progress = self.fetch.progress();
        Activity::Layers { have: progress.have, requests: progress.requests, peers: progress.peers }
    }

    pub(super) fn remove_peer(&mut self, cx: &Cx, key: PeerKey) {
        self.fetch.remove_peer(cx.now, key);
    }
}

impl Shard {
    /// Looks for the layers that a torrent lacks whose metadata came. What they take in memory is taken at once, beside the
    /// metadata of others, so that no two searches wait for each other's.
    pub(crate) fn seek_layers(&mut self, cx: &mut Cx, key: TorrentKey, meta: &Meta) -> Search {
        let slot = key.slot();
        let is_awaited = |torrent: &super::Torrent| {
            torrent.awaits.as_ref().is_some_and(|awaits| awaits.found.is_some() && awaits.sought.is_none())
        };
        if !self.torrent(key).is_some_and(is_awaited) {
            return Search::Gone;
        }
        let lacking = meta.lacking_layers();
        let held = usize::try_from(cost(&lacking)).unwrap_or(usize::MAX);
        if held > cx.shares.metadata {
            return Search::TooLarge;
        }
        let sought = self.torrents.iter().filter_map(|(_, torrent)| torrent.awaits.as_ref()?.sought.as_ref());
        if held > cx.shares.metadata - sought.map(|sought| sought.held).sum::<usize>().min(cx.shares.metadata)
        {
            return Search::Full;
        }
        let Some(fetch) = Fetch::new(lacking) else { return Search::TooLarge };
        if let Some(awaits) = &mut self.torrents[slot].awaits {
            awaits.sought = Some(Box::new(Sought { fetch, held }));
        }
        for peer in self.torrents[slot].peers.clone() {
            self.may_have_layers(cx, peer);
        }
        self.run_layers(cx, slot);
        // Others give way, as far as they hold more than what is left.
        self.run_metadata(cx, slot);
        Search::Begun
    }

    /// A peer may have said that it knows the torrent: who does not know it may part with us if it is asked.
    pub(super) fn may_have_layers(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let says_metadata = peer.extended.as_ref().is_some_and(|said| said.metadata_size.is_some());
        let has_pieces = peer.early.as_ref().is_some_and(|early| early.has_some());
        if !(says_metadata || has_pieces) || !self.speaks_v2(key) {
            return;
        }
        let who = self.peers[key.slot()].sender();
        let Some(awaits) = &mut self.torrents[slot].awaits else { return };
        if let Some(sought) = &mut awaits.sought {
            sought.fetch.add_peer(cx.now, key, who);
            self.run_layers(cx, slot);
        }
    }

    /// Whether a peer may be asked for hashes: others may take such a request for a fault.
    fn speaks_v2(&self, key: PeerKey) -> bool {
        let torrent = &self.torrents[self.peers[key.slot()].torrent.slot()];
        let awaits = torrent.awaits.as_ref();
        awaits.is_some_and(|awaits| awaits.hashes.v1().is_none() && awaits.hashes.id() == torrent.id)
    }

    /// Hashes came.
    pub(super) fn hashes(&mut self, cx: &mut Cx, key: PeerKey, said: &Hashes<'_>) -> Result<(), Close> {
        let slot = self.peers[key.slot()].torrent.slot();
        let Some(awaits) = &mut self.torrents[slot].awaits else { return Ok(()) };
        let Some(sought) = &mut awaits.sought else { return Ok(()) };
        let taken = sought.fetch.handle_hashes(cx.now, key, &said.request, said.hashes);
        taken.map_err(|_| Violation::HashFlood)?;
        self.run_layers(cx, slot);
        Ok(())
    }

    /// A peer does not give hashes.
    pub(super) fn hashes_rejected(&mut self, cx: &mut Cx, key: PeerKey, request: &HashRequest) {
        let slot = self.peers[key.slot()].torrent.slot();
        let Some(awaits) = &mut self.torrents[slot].awaits else { return };
        if let Some(sought) = &mut awaits.sought {
            sought.fetch.handle_reject(cx.now, key, request);
            self.run_layers(cx, slot);
        }
    }

    /// Time went on for the layers of a torrent.
    pub(super) fn layers_due(&mut self, cx: &mut Cx, slot: usize) {
        let Some(awaits) = &mut self.torrents[slot].awaits else { return };
        if let Some(sought) = &mut awaits.sought {
            sought.fetch.handle_timeout(cx.now);
            self.run_layers(cx, slot);
        }
    }

    /// Does what the search for layers wants done.
    pub(super) fn run_layers(&mut self, cx: &mut Cx, slot: usize) {
        loop {
            let torrent = &mut self.torrents[slot];
            let Some(sought) = torrent.awaits.as_mut().and_then(|awaits| awaits.sought.as_mut()) else {
                return;
            };
            match sought.fetch.poll() {
                Some(Output::Request { peer, request }) => {
                    let link = &mut self.peers[peer.slot()].link;
                    link.tx.push(&Message::HashRequest(request));
                    cx.ready.enlist(link, Direction::Write);
                    self.count_held(cx, peer);
                }
                Some(Output::Done(layers)) => {
                    sought.held = 0;
                    cx.out.event(Event::Layers { torrent: torrent.key, layers });
                }
                Some(Output::Guilty(sender)) => self.condemn(cx, slot, sender),
                None => break,
            }
        }
        self.count_awaited(slot);
        let awaits = self.torrents[slot].awaits.as_ref();
        let at = awaits.and_then(|awaits| awaits.sought.as_ref()?.fetch.next_timeout(cx.now));
        match at {
            Some(at) => cx.torrent_timers.set(slot, TorrentTimer::Layers, at),
            None => cx.torrent_timers.cancel(slot, TorrentTimer::Layers),
        }
    }

    /// A peer asks for a part of a tree. At most 64 requests wait, and their answers go out as its socket takes them: no more
    /// than [`AHEAD`] bytes and one answer, 17 KiB, wait for it.
    pub(super) fn asked_for_hashes(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        request: HashRequest,
    ) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        let asks = peer.hash_asks.get_or_insert_default();
        let waits = asks.handle_request(cx.now, request).map_err(|_| Violation::HashFlood)?;
        if !waits {
            peer.link.tx.push(&Message::HashReject(request));
            cx.ready.enlist(&mut peer.link, Direction::Write);
        }
        self.pump_hashes(cx, key);
        Ok(())
    }

    /// Answers what a peer asked of trees, as far as its socket takes it.
    pub(super) fn pump_hashes(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let Some(asks) = &mut peer.hash_asks else { return };
        let meta = self.torrents[peer.torrent.slot()].meta.as_deref();
        let known = meta.map_or(0, Meta::layer_hashes);
        while peer.link.tx.control() <= AHEAD
            && let Some(request) = asks.next(cx.now, known)
        {
            let hashes = meta.and_then(|meta| tree_hashes(meta, &request));
            asks.handle_given(hashes.as_ref().map(Vec::len));
            match &hashes {
                Some(hashes) => peer.link.tx.push(&Message::Hashes(Hashes { request, hashes })),
                None => peer.link.tx.push(&Message::HashReject(request)),
            }
            cx.ready.enlist(&mut peer.link, Direction::Write);
        }
    }
}

fn tree_hashes(meta: &Meta, request: &HashRequest) -> Option<Vec<Hash>> {
    let HashRequest { pieces_root, base_layer, index, length, proof_layers } = request;
    meta.tree_hashes(pieces_root, *base_layer, *index, *length, *proof_layers)
}
