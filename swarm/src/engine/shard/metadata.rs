//! Metadata between peers (BEP 9): asking for it, and giving it.

use std::collections::VecDeque;

use wire::peer::MetadataMessage;

use super::extensions::Extension;
use super::peer::Sender;
use super::torrent::{Activity, Torrent};
use super::{PeerKey, Shard};
use crate::engine::close::{Close, Violation};
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::metadata::{Answer, Output, PIECE, Quota, pieces_of};
use crate::engine::output::Event;

/// Pieces, and words on what we have, are queued for a peer until so many bytes wait for its socket.
pub(super) const AHEAD: usize = 64 * 1024;

/// What a peer asks of our metadata.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    quota: Quota,
    queue: VecDeque<u32>,
}

impl Torrent {
    /// What it does, with how far the search for its metadata is.
    pub(crate) fn current_activity(&self) -> Activity {
        let awaits = self.awaits.as_ref().filter(|_| matches!(self.activity, Activity::Metadata { .. }));
        let Some(awaits) = awaits else { return self.activity.clone() };
        if let Some(sought) = &awaits.sought {
            return sought.activity();
        }
        let progress = awaits.fetch.progress();
        let (have, pieces) = match awaits.found {
            Some(pieces) => (pieces, Some(pieces)),
            None => (progress.have, progress.pieces),
        };
        Activity::Metadata { have, pieces, peers: progress.peers }
    }

    /// The info dictionary, if others may have it.
    fn info_to_give(&self) -> Option<&[u8]> {
        self.meta.as_ref().filter(|_| self.is_public()).map(|meta| meta.info_bytes())
    }
}

impl Shard {
    /// A peer may have said that it has the metadata.
    pub(super) fn offered_metadata(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        let (slot, who) = (peer.torrent.slot(), peer.sender());
        let size = peer.extended.as_ref().and_then(|said| said.metadata_size);
        let takes = self.speaks(key, Extension::Metadata);
        let Some(awaits) = self.torrents[slot].awaits.as_mut().filter(|awaits| awaits.cold.is_none()) else {
            return;
        };
        // What there is no room for would never be whole.
        let fits = |size: &u64| *size <= cx.shares.metadata as u64;
        match size.filter(fits).filter(|_| takes) {
            Some(size) => _ = awaits.fetch.add_peer(cx.now, key, who, size),
            // It may have taken it away.
            None => awaits.fetch.remove_peer(cx.now, key),
        }
        self.run_metadata(cx, slot);
    }

    /// A message about metadata came. One that cannot be read is no reason to part.
    pub(super) fn metadata_message(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        payload: &[u8],
    ) -> Result<(), Close> {
        let slot = self.peers[key.slot()].torrent.slot();
        let Ok(Some(message)) = MetadataMessage::parse(payload) else { return Ok(()) };
        if let MetadataMessage::Request { piece } = message {
            return self.asked_for_metadata(cx, key, piece);
        }
        let Some(awaits) = &mut self.torrents[slot].awaits else { return Ok(()) };
        match message {
            MetadataMessage::Data { piece, total_size, data } => {
                let taken = awaits.fetch.handle_data(cx.now, key, piece, total_size, data);
                taken.map_err(|_| Violation::MetadataFlood)?;
            }
            MetadataMessage::Reject { piece } => awaits.fetch.handle_reject(cx.now, key, piece),
            MetadataMessage::Request { .. } => {}
        }
        self.run_metadata(cx, slot);
        Ok(())
    }

    /// Time went on for the metadata of a torrent.
    pub(super) fn metadata_due(&mut self, cx: &mut Cx, slot: usize) {
        if let Some(awaits) = &mut self.torrents[slot].awaits {
            awaits.fetch.handle_timeout(cx.now);
            self.run_metadata(cx, slot);
        }
    }

    /// Does what the search for metadata wants done. When all searches hold more than their share, those that are about as heavy
    /// as any are in question, and of these that one goes which would be done last.
    pub(super) fn run_metadata(&mut self, cx: &mut Cx, slot: usize) {
        self.go_on_with_metadata(cx, slot);
        while self.metadata > cx.shares.metadata {
            let searches = self.torrents.iter().filter_map(|(slot, t)| Some((slot, t.awaits.as_deref()?)));
            let weights = searches
                .flat_map(|(slot, awaits)| awaits.fetch.weights(cx.now).map(move |weight| (slot, weight)));
            let weights: Vec<_> = weights.collect();
            let heaviest = weights.iter().map(|(_, weight)| weight.held).max().unwrap_or_default();
            let heavy = weights.into_iter().filter(|(_, weight)| 2 * weight.held >= heaviest);
            let Some((slot, weight)) = heavy.max_by_key(|(_, weight)| (weight.left, weight.held)) else {
                break;
            };
            if let Some(awaits) = &mut self.torrents[slot].awaits {
                awaits.fetch.shed(cx.now, &weight);
            }
            self.go_on_with_metadata(cx, slot);
        }
    }

    fn go_on_with_metadata(&mut self, cx: &mut Cx, slot: usize) {
        loop {
            let torrent = &mut self.torrents[slot];
            let Some(awaits) = &mut torrent.awaits else { return };
            match awaits.fetch.poll() {
                Some(Output::Request { peer, piece }) => {
                    let mut payload = Vec::new();
                    MetadataMessage::Request { piece }.encode(&mut payload);
                    self.say_extension(cx, peer, Extension::Metadata, &payload);
                }
                Some(Output::Done(info)) => {
                    awaits.found = Some(pieces_of(info.len() as u64));
                    cx.out.event(Event::Metadata { torrent: torrent.key, info });
                }
                Some(Output::Contradiction) => {
                    cx.out.event(Event::Contradiction { torrent: torrent.key });
                }
                Some(Output::Guilty(sender)) => self.condemn(cx, slot, sender),
                None => break,
            }
        }
        self.count_awaited(slot);
        let Some(awaits) = &mut self.torrents[slot].awaits else { return };
        match awaits.fetch.next_timeout(cx.now) {
            Some(at) => cx.torrent_timers.set(slot, TorrentTimer::Metadata, at),
            None => cx.torrent_timers.cancel(slot, TorrentTimer::Metadata),
        }
    }

    /// Counts what a torrent holds that has no pieces yet.
    pub(super) fn count_awaited(&mut self, slot: usize) {
        if let Some(awaits) = &mut self.torrents[slot].awaits {
            let held = awaits.held_bytes();
            self.metadata = self.metadata - std::mem::replace(&mut awaits.held, held) + held;
        }
    }

    /// Parts for good with who sent metadata or hashes that are wrong.
    pub(super) fn condemn(&mut self, cx: &mut Cx, slot: usize, sender: Sender) {
        self.banned.push(sender);
        let torrent = &self.torrents[slot];
        for key in &torrent.peers {
            let peer = &self.peers[key.slot()];
            if peer.sender() == sender {
                cx.out.event(Event::PeerBanned { torrent: torrent.key, addr: peer.link.addr });
                self.doomed.push((*key, peer.generation, Violation::BadData.into()));
            }
        }
    }

    /// A peer asks for a piece of our metadata.
    fn asked_for_metadata(&mut self, cx: &mut Cx, key: PeerKey, piece: u32) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        let info = self.torrents[peer.torrent.slot()].info_to_give();
        let pieces = info.map_or(0, |info| pieces_of(info.len() as u64));
        let asks = peer.asks.get_or_insert_default();
        // Some ask for everything at once, and once more for what is refused.
        let room = piece < pieces && asks.queue.len() < pieces as usize;
        match asks.quota.ask(cx.now, if room { pieces } else { 0 }) {
            Answer::Give => asks.queue.push_back(piece),
            Answer::Refuse => {
                let mut payload = Vec::new();
                MetadataMessage::Reject { piece }.encode(&mut payload);
                self.say_extension(cx, key, Extension::Metadata, &payload);
            }
            Answer::Part => return Err(Violation::MetadataFlood.into()),
        }
        self.pump_metadata(cx, key);
        Ok(())
    }

    /// Queues pieces of metadata for a peer, as far as its socket takes them.
    pub(super) fn pump_metadata(&mut self, cx: &mut Cx, key: PeerKey) {
        loop {
            let peer = &mut self.peers[key.slot()];
            let Some(asks) = &mut peer.asks else { return };
            if peer.link.tx.control() > AHEAD {
                return;
            }
            let Some(piece) = asks.queue.pop_front() else { return };
            let Some(info) = self.torrents[peer.torrent.slot()].info_to_give() else { return };
            let start = piece as usize * PIECE;
            let data = info.get(start..(start + PIECE).min(info.len())).unwrap_or_default();
            let mut payload = Vec::with_capacity(data.len() + 64);
            let total_size = Some(info.len() as u64);
            MetadataMessage::Data { piece, total_size, data }.encode(&mut payload);
            if !self.say_extension(cx, key, Extension::Metadata, &payload) {
                return;
            }
        }
    }
}
