//! The extension protocol (BEP 10): who we are, what we take, and which machine takes it.
//!
//! Ids are chosen by the receiver of a message: what comes in has ours, what goes out has the peer's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::peer::{DontHave, ExtendedHandshake, Extensions, Message};

use super::{PeerKey, Shard};
use crate::engine::close::Close;
use crate::engine::cx::Cx;
use crate::engine::link::Direction;

/// An extension message that we take. The discriminant is the id that peers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    /// BEP 11.
    Pex = 1,
    /// BEP 9.
    Metadata = 2,
    /// BEP 54.
    DontHave = 3,
}

impl Extension {
    const ALL: [Self; 3] = [Self::Pex, Self::Metadata, Self::DontHave];

    const fn name(self) -> &'static str {
        match self {
            Self::Pex => "ut_pex",
            Self::Metadata => "ut_metadata",
            Self::DontHave => "lt_donthave",
        }
    }
}

impl Shard {
    /// A message of an extension came, with one of our ids.
    pub(super) fn extension_message(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        id: u8,
        payload: &[u8],
    ) -> Result<(), Close> {
        match Extension::ALL.into_iter().find(|extension| *extension as u8 == id) {
            Some(Extension::Pex) => self.exchange_message(cx, key, payload),
            Some(Extension::Metadata) => self.metadata_message(cx, key, payload),
            Some(Extension::DontHave) => match DontHave::parse(payload) {
                Some(DontHave(piece)) => self.reneged(cx, key, piece),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Says a message of an extension, if the peer takes it. Whether it does.
    pub(super) fn say_extension(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        extension: Extension,
        payload: &[u8],
    ) -> bool {
        let peer = &mut self.peers[key.slot()];
        let Some(id) = peer.extended.as_ref().and_then(|said| said.extensions.id(extension.name())) else {
            return false;
        };
        peer.link.tx.push(&Message::Extended { id, payload });
        cx.ready.enlist(&mut peer.link, Direction::Write);
        true
    }

    /// Whether a peer takes messages of an extension.
    pub(super) fn speaks(&self, key: PeerKey, extension: Extension) -> bool {
        let said = self.peers[key.slot()].extended.as_ref();
        said.is_some_and(|said| said.extensions.id(extension.name()).is_some())
    }

    /// The first handshake to a peer.
    pub(super) fn our_extended_handshake(&self, cx: &Cx, key: PeerKey) -> ExtendedHandshake {
        let peer = &self.peers[key.slot()];
        let torrent = &self.torrents[peer.torrent.slot()];
        ExtendedHandshake {
            client: Some(cx.config.client.clone()),
            request_queue: u32::try_from(cx.config.max_requests).ok(),
            port: self.listen_port,
            your_ip: Some(peer.link.addr.ip()),
            upload_only: (!torrent.wants()).then_some(true),
            ipv4: self.other_address(peer.link.addr, true).and_then(v4),
            ipv6: self.other_address(peer.link.addr, false).and_then(v6),
            complete_ago: torrent.completed.and_then(|at| u32::try_from((cx.now - at).as_secs()).ok()),
            ..self.what_it_is(cx, peer.torrent.slot(), false)
        }
    }

    /// Our address of a family, if most say so and the peer does not see it by itself.
    fn other_address(&self, peer: SocketAddr, ipv4: bool) -> Option<IpAddr> {
        self.external.address(ipv4).filter(|_| peer.ip().to_canonical().is_ipv4() != ipv4)
    }

    /// The part of a handshake that changes when it is known what a torrent is. A private torrent gives away neither its
    /// metadata nor its peers (BEP 27); as long as nobody knows, it listens and
    /// does not give away its peers. `again`: it was said before.
    pub(super) fn what_it_is(&self, cx: &Cx, slot: usize, again: bool) -> ExtendedHandshake {
        let torrent = &self.torrents[slot];
        let mut extensions = Extensions::default();
        for extension in Extension::ALL {
            let takes = match extension {
                // Some clients never look again whether it is taken that was not taken at first.
                Extension::Pex => cx.config.pex && !torrent.is_private(),
                Extension::Metadata => !torrent.is_private(),
                Extension::DontHave => true,
            };
            if takes || again {
                extensions.set(extension.name(), if takes { extension as u8 } else { 0 });
            }
        }
        let meta = torrent.meta.as_ref().filter(|meta| !meta.private());
        ExtendedHandshake {
            extensions,
            metadata_size: meta.and_then(|meta| u64::try_from(meta.info_bytes().len()).ok()),
            ..ExtendedHandshake::default()
        }
    }

    /// Says a handshake to a peer.
    pub(super) fn say_to(&mut self, cx: &mut Cx, key: PeerKey, handshake: &ExtendedHandshake) {
        let mut payload = Vec::new();
        handshake.encode(&mut payload);
        let peer = &mut self.peers[key.slot()];
        peer.link.tx.push(&Message::Extended { id: 0, payload: &payload });
        cx.ready.enlist(&mut peer.link, Direction::Write);
    }

    /// Says a further handshake, which adds to the first, to every peer of a torrent.
    pub(super) fn say_to_all(&mut self, cx: &mut Cx, slot: usize, handshake: &ExtendedHandshake) {
        for at in 0..self.torrents[slot].peers.len() {
            let key = self.torrents[slot].peers[at];
            if self.peers[key.slot()].reserved.extended() {
                self.say_to(cx, key, handshake);
            }
        }
    }
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(ip) = ip { Some(ip) } else { None }
}

fn v6(ip: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(ip) = ip { Some(ip) } else { None }
}
