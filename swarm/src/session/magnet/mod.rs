//! Torrents that are added by a magnet link: looked for at once, opened when their metadata are there.

mod choice;
mod desk;
mod furnish;
mod layers;
mod merge;
mod named;
mod note;
mod options;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

pub use choice::Choice;
pub(super) use choice::Noted;
pub(super) use desk::{Desk, run};
pub(super) use furnish::{Ready, with};
pub(super) use merge::{awaited_as, feed};
pub(super) use note::{note, place, remember, rename};
pub use options::MagnetOptions;

use super::Session;
use super::add::Attempt;
use super::identity::{Chosen, Identity};
use super::link::{Link, Unavailable};
use super::options::AddError;
use super::persist;
use super::persist::magnet::{Earlier, Note};
use super::registry::{Entry, Refused, Reservation};
use super::torrent::Torrent;
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::engine::{AddMagnet, Direction, Engine, Time, TorrentKey};
use crate::reactor::Plane;
use desk::Wanted;

impl Session {
    /// Looks for the torrent that a magnet names. It runs at once, and what it is will be known later:
    /// [`Event::Metadata`](super::Event::Metadata) tells, or [`Event::Refused`](super::Event::Refused), after which it is
    /// removed. If it runs already, it is told of the magnet's trackers and peers, unless it is private; while it awaits its
    /// metadata, that is all there is to it, and its handle is given back. One that is named by a v2 hash alone
    /// (`urn:btmh`) gets another name when it turns out to be a hybrid ([`Event::Renamed`](super::Event::Renamed)), and is refused
    /// if it has no v1 side and its files are asked for.
    ///
    /// # Errors
    /// When it cannot be run here, or runs already and is known. Whether its files can be used turns out later.
    pub async fn add_magnet(&self, options: MagnetOptions) -> Result<Torrent, AddError> {
        let link = &self.link;
        let id = options.magnet.info_hashes.id();
        let reservation = match link.registry.reserve(id) {
            Ok(reservation) => reservation,
            Err(Refused::Closed) => return Err(AddError::Unavailable(Unavailable::Over)),
            Err(Refused::Duplicate) => return merge::enrich(link, options).await,
        };
        let mut note = None;
        if let Some(store) = link.store.clone() {
            let (noted, registry) = (options.clone(), link.registry.clone());
            let noting =
                tokio::task::spawn_blocking(move || persist::magnet::note(store, &registry, &noted, None));
            note = noting.await.map_err(|_| AddError::Cancelled)??;
        }
        let attempt = Attempt::new(link.reactor.clone());
        let earlier = note.as_ref().map(Note::earlier).unwrap_or_default();
        let options = note.as_ref().map_or(options, Note::options);
        let begin = Begin { link: link.clone(), options, earlier, reservation };
        let begun = link.ask(attempt.guard(link.clone(), id, move |plane| begin.run(plane)));
        let entry = begun.await??.ok_or(AddError::Duplicate(id))?;
        attempt.succeeded();
        if let Some(note) = note {
            entry.identity.noted(note.keep());
        }
        Ok(Torrent::new(link, entry))
    }
}

/// A magnet that is about to be looked for.
struct Begin {
    link: Arc<Link>,
    options: MagnetOptions,
    earlier: Earlier,
    reservation: Reservation,
}

impl Begin {
    /// Starts to look, on the reactor's thread. `None` when it runs already.
    fn run(self, plane: &mut Plane) -> Option<Entry> {
        let Self { link, options, earlier, reservation } = self;
        let (now, id) = (plane.now(), options.magnet.info_hashes.id());
        let mut peers = Peers::of(&options);
        let names = std::mem::take(&mut peers.names);
        let engine = plane.engine();
        let trackers = options.all_trackers().map(|url| vec![url.to_owned()]).collect();
        let hashes = options.magnet.info_hashes;
        let recalled = earlier.trackers;
        let key = engine.add_magnet(now, &AddMagnet { trackers, recalled, ..AddMagnet::new(hashes) })?;
        peers.tell(engine, now, key);
        // Anybody may have named them; if it proves private, they are forgotten as those of the link are.
        engine.add_peers(now, key, &earlier.peers, Source::Link, Scope::Loopback);
        engine.set_torrent_limit(now, key, Direction::Read, options.down_limit);
        engine.set_torrent_limit(now, key, Direction::Write, options.up_limit);
        let limits = [options.down_limit, options.up_limit];
        let chosen = Chosen::new(options.files.clone(), options.order, limits);
        let chosen = Chosen { as_before: options.as_before, ..chosen };
        let identity = Identity::named(&options.magnet, chosen);
        let held = watch::Sender::new(());
        let entry = Entry { key, identity, files: held.subscribe() };
        link.magnets.await_metadata(id, Wanted { entry: entry.clone(), options, held, found: None });
        reservation.fulfil(entry.clone());
        link.magnets.named().add(id, names);
        Some(entry)
    }
}

/// Peers that are named when a torrent is added.
struct Peers {
    /// By the link.
    linked: Vec<SocketAddr>,
    /// By the user besides.
    named: Vec<SocketAddr>,
    /// Those of the link that are to be looked up.
    names: Vec<(String, u16)>,
}

impl Peers {
    fn of(options: &MagnetOptions) -> Self {
        let mut peers = Self { linked: Vec::new(), named: options.peers.clone(), names: Vec::new() };
        for (host, port) in &options.magnet.peers {
            match host.parse::<IpAddr>() {
                Ok(ip) => peers.linked.push((ip, *port).into()),
                Err(_) => peers.names.push((host.clone(), *port)),
            }
        }
        peers
    }

    fn tell(&self, engine: &mut Engine, now: Time, torrent: TorrentKey) {
        engine.add_peers(now, torrent, &self.linked, Source::Link, Scope::Loopback);
        engine.add_peers(now, torrent, &self.named, Source::User, Scope::Loopback);
    }
}
