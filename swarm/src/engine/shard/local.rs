//! The local network: announcing torrents there, and what others announce (BEP 14).

use std::net::SocketAddr;

use metainfo::TorrentId;
use wire::lsd::Announce;

use super::Shard;
use crate::engine::candidates::{Added, Source};
use crate::engine::cx::Cx;
use crate::engine::output::Action;
use crate::engine::scope::Scope;
use crate::engine::time::Time;

/// A name of a torrent: hybrids have two, and each is announced by itself (BEP 52).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    First,
    Other,
}

impl Shard {
    /// A torrent has turns from now on, if it may be announced: it runs, and is known to be public. A private torrent is none of the
    /// neighbours' business, and what a magnet names nobody knows yet (BEP 27); it hears who announces it. One that may not
    /// takes no turn of others.
    pub(super) fn list_locally(&mut self, cx: &Cx, slot: usize) {
        let torrent = &self.torrents[slot];
        if !torrent.may_be_told() || torrent.keeping.is_paused() {
            self.unlist_locally(slot);
        } else {
            let other = torrent.also.map(|_| Name::Other);
            [Some(Name::First), other]
                .into_iter()
                .flatten()
                .for_each(|name| self.lsd.add(cx.now, (slot, name)));
        }
    }

    /// A torrent has no turns any more.
    pub(super) fn unlist_locally(&mut self, slot: usize) {
        [Name::First, Name::Other].into_iter().for_each(|name| self.lsd.remove((slot, name)));
    }

    /// When torrents are to be announced next.
    pub(crate) fn next_local(&self, cx: &Cx) -> Option<Time> {
        self.lsd.next_timeout().filter(|_| cx.config.lsd && self.listen_port.is_some())
    }

    /// Announces the torrents whose turn it is.
    pub(crate) fn announce_locally(&mut self, cx: &mut Cx) {
        if self.next_local(cx).is_none_or(|at| at > cx.now) {
            return;
        }
        let name = |(slot, name): (usize, Name)| {
            let torrent = self.torrents.get(slot)?;
            match name {
                Name::First => Some(torrent.id.0),
                Name::Other => torrent.also.map(|also| also.0),
            }
        };
        let hashes: Vec<[u8; 20]> = self.lsd.poll(cx.now).into_iter().filter_map(name).collect();
        if let Some(port) = self.listen_port
            && !hashes.is_empty()
        {
            cx.out.actions.push_back(Action::Lsd { port, hashes, cookie: self.lsd.cookie().into() });
        }
    }

    /// Somebody on the local network announced torrents, by a packet to the group. Its address may be global, as is usual in
    /// networks with IPv6. What comes from ourselves does not count.
    pub(crate) fn heard_locally(&mut self, cx: &mut Cx, from: SocketAddr, announce: &Announce<'_>) {
        let Some(scope) = Scope::of(from.ip()).filter(|_| cx.config.lsd && !self.lsd.is_own(announce.cookie))
        else {
            return;
        };
        let mut addr = from;
        addr.set_port(announce.port);
        for hash in announce.hashes.iter() {
            let Some(key) = self.by_id.get(&TorrentId(*hash)).copied() else { continue };
            if !self.torrents[key.slot()].is_private() {
                // Only who is new: two that answer each other would go on for ever.
                if self.learn(cx, key.slot(), addr, Source::Lsd, scope) == Added::New {
                    let is_first = self.torrents[key.slot()].id.0 == *hash;
                    let name = if is_first { Name::First } else { Name::Other };
                    self.lsd.answer(cx.now, (key.slot(), name));
                }
                self.arm_dial(cx, key.slot());
            }
        }
    }
}
