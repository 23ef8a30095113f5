//! Telling peers about each other, and what they tell (BEP 11).

use std::net::SocketAddr;

use wire::peer::{PexFlags, PexMessage};

use super::extensions::Extension;
use super::peer::Peer;
use super::{PeerKey, Shard};
use crate::engine::candidates::{Added, Source};
use crate::engine::close::{Close, Violation};
use crate::engine::cx::{ConnTimer, Cx};
use crate::engine::pex::{Partner, Verdict};
use crate::engine::scope::{self, Scope};

impl Shard {
    /// A peer is connected, or more is known of it: others may be told where it can be reached, and the book remembers whether
    /// it pays to dial it.
    pub(super) fn list_peer(&mut self, cx: &Cx, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        let Some(addr) = peer.listens else { return };
        let torrent = &mut self.torrents[peer.torrent.slot()];
        torrent.pex.handle_joined(addr, flags(peer));
        if let Some(is_done) = peer.is_done() {
            torrent.candidates.handle_seed(cx.now, addr, is_done);
        }
    }

    /// Begins the exchange with a peer, if both take part. Not before it is known that the torrent is not private (BEP 27).
    pub(super) fn begin_exchange(&mut self, cx: &mut Cx, key: PeerKey) {
        let takes = self.speaks(key, Extension::Pex);
        let peer = &mut self.peers[key.slot()];
        if !takes || !exchanges(cx, &self.torrents[peer.torrent.slot()]) {
            return;
        }
        // It may have told us already.
        let partner = peer.exchange.get_or_insert_with(|| Box::new(Partner::new(cx.now, &mut cx.rng)));
        cx.conn_timers.set(peer.link.conn.slot(), ConnTimer::Exchange, partner.next_timeout());
    }

    /// A message to a peer is due.
    pub(crate) fn exchange_due(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        let own = peer.listens.or_else(|| peer.claimed_address());
        let Some(partner) = peer.exchange.as_mut().filter(|_| exchanges(cx, torrent)) else { return };
        // Nobody is told of addresses that are closer to us than itself.
        let reach = Scope::of(peer.link.addr.ip());
        let may_name = |addr: SocketAddr| {
            let is_reached = reach.is_some_and(|reach| scope::may_name(reach, addr));
            Some(addr) != own && is_reached && !scope::needs_zone(addr)
        };
        let message = partner.poll(cx.now, &torrent.pex, may_name, &mut cx.rng);
        let (conn, due) = (peer.link.conn, partner.next_timeout());
        if let Some(message) = message {
            let mut payload = Vec::new();
            message.encode(&mut payload);
            self.say_extension(cx, key, Extension::Pex, &payload);
        }
        cx.conn_timers.set(conn.slot(), ConnTimer::Exchange, due);
    }

    /// A peer tells whom it is connected to. One that cannot be read is no reason to part.
    pub(super) fn exchange_message(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        payload: &[u8],
    ) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let Some(scope) = Scope::of(peer.link.addr.ip()) else { return Ok(()) };
        // What turns out to be private forgets whom it learnt of this way.
        if !cx.config.pex || self.torrents[slot].is_private() {
            return Ok(());
        }
        let partner = peer.exchange.get_or_insert_with(|| Box::new(Partner::new(cx.now, &mut cx.rng)));
        let most = match partner.handle_message(cx.now) {
            Verdict::Use(most) => most,
            Verdict::Ignore => return Ok(()),
            Verdict::Part => return Err(Violation::ExchangeFlood.into()),
        };
        let Ok(message) = PexMessage::parse(payload) else { return Ok(()) };
        for named in message.added.into_iter().take(most) {
            if self.listen_port == Some(named.addr.port()) && self.external.was_named(named.addr.ip()) {
                continue;
            }
            let added = self.learn(cx, slot, named.addr, Source::Pex, scope);
            if added == Added::New && named.flags.has(PexFlags::SEED) {
                self.torrents[slot].candidates.handle_seed(cx.now, named.addr, true);
            }
        }
        self.arm_dial(cx, slot);
        Ok(())
    }
}

/// Whether peers of a torrent may be told about each other.
fn exchanges(cx: &Cx, torrent: &super::Torrent) -> bool {
    cx.config.pex && torrent.is_public()
}

/// What others are told of a peer.
fn flags(peer: &Peer) -> PexFlags {
    let said = peer.extended.as_deref();
    PexFlags::default()
        .with(PexFlags::ENCRYPTION, said.is_some_and(|said| said.encryption == Some(true)))
        .with(PexFlags::SEED, peer.is_done() == Some(true))
        .with(PexFlags::HOLEPUNCH, said.is_some_and(|said| said.extensions.id("ut_holepunch").is_some()))
        .with(PexFlags::REACHABLE, peer.link.outgoing)
}
