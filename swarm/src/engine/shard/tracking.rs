//! Announcing to trackers, and what their answers bring.

use std::net::{IpAddr, SocketAddr};

use super::Shard;
use crate::engine::TorrentKey;
use crate::engine::candidates::{Source, Sources};
use crate::engine::changes::Columns;
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Action;
use crate::engine::scope::Scope;
use crate::engine::tracker::{AnnounceId, AnnounceReply, Failure, Output};

impl Shard {
    /// Sends what is due at the trackers of a torrent.
    pub(crate) fn run_tracker(&mut self, cx: &mut Cx, slot: usize) {
        let Some(torrent) = self.torrents.get_mut(slot) else { return };
        self.ledger.mark(slot, Columns::TRACKERS);
        torrent.tracker.handle_timeout(cx.now, &mut cx.rng);
        loop {
            let torrent = &mut self.torrents[slot];
            let key = torrent.key;
            let totals = torrent.announce_totals(cx.config.max_torrent_connections);
            match torrent.tracker.poll(cx.now, &totals) {
                Some(Output::Announce(announce)) => {
                    let id = torrent.id;
                    cx.out.actions.push_back(Action::Announce { torrent: key, id, announce });
                }
                Some(Output::Cancel(announce)) => {
                    cx.out.actions.push_back(Action::CancelAnnounce { torrent: key, announce });
                }
                Some(Output::DropPeersOf(_)) => {
                    // Those that are being dialled are turned away when they arrive.
                    let torrent = &mut self.torrents[slot];
                    torrent.candidates.purge(cx.now, Sources::of(&[Source::User]));
                    torrent.candidates.purge(cx.now, Sources::PRIVATE);
                    for peer in self.torrents[slot].peers.clone() {
                        self.leave(cx, peer, Close::TrackerChanged);
                    }
                }
                None => break,
            }
        }
        self.arm_tracker(cx, slot);
    }

    /// A torrent turned out to be private: it uses peers of one tracker (BEP 27), while several may have been asked before.
    /// `others` are those that this one did not name.
    pub(super) fn keep_one_tracker(&mut self, cx: &mut Cx, slot: usize, others: Vec<SocketAddr>) {
        let torrent = &mut self.torrents[slot];
        for addr in others {
            torrent.candidates.disown(cx.now, addr, Source::Tracker);
        }
        for key in self.torrents[slot].peers.clone() {
            let listens = self.peers[key.slot()].listens.filter(|_| self.peers[key.slot()].link.outgoing);
            if listens.is_some_and(|addr| self.torrents[slot].candidates.get(addr).is_none()) {
                self.leave(cx, key, Close::TrackerChanged);
            }
        }
    }

    /// Arms the torrent's tracker timer.
    pub(super) fn arm_tracker(&mut self, cx: &mut Cx, slot: usize) {
        if let Some(at) = self.torrents[slot].tracker.next_timeout() {
            cx.torrent_timers.set(slot, TorrentTimer::Tracker, at.max(cx.now));
        }
    }

    /// An announce is on its way.
    pub(crate) fn announce_begun(&mut self, cx: &mut Cx, key: TorrentKey, id: AnnounceId) {
        // One that was removed is still told of, but nobody waits.
        let Some(torrent) = self.torrent_mut(key) else { return };
        torrent.tracker.handle_begun(cx.now, id);
        self.arm_tracker(cx, key.slot());
    }

    /// An announce ended.
    pub(crate) fn announced(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        id: AnnounceId,
        scope: Scope,
        result: Result<AnnounceReply, Failure>,
    ) {
        let Some(torrent) = self.torrent_mut(key) else { return };
        match result {
            Err(failure) => torrent.tracker.handle_failure(cx.now, id, failure, &mut cx.rng),
            Ok(reply) => {
                let used = torrent.tracker.handle_reply(cx.now, id, &reply, &mut cx.rng);
                // A private torrent may have to drop its peers before it takes new ones.
                self.run_tracker(cx, key.slot());
                if used {
                    // A tracker is named by nothing but its torrent here; its word is one vote.
                    if let Some(seen) = reply.external_ip {
                        self.seen_as(cx, IpAddr::from([0, 0, 0, 0]), seen);
                    }
                    if let Some(awaits) = self.torrent_mut(key).and_then(|torrent| torrent.awaits.as_mut()) {
                        awaits.handle_named(id.tracker, &reply.peers);
                    }
                    self.add_peers(cx, key, &reply.peers, Source::Tracker, scope);
                }
            }
        }
        self.run_tracker(cx, key.slot());
    }
}
