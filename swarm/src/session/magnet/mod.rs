//! Torrents that are added by a magnet link: looked for at once, opened when their metadata are there.

mod choice;
mod furnish;
mod options;

use metainfo::{Magnet, TorrentId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

pub use choice::Choice;
pub use options::MagnetOptions;

use super::Session;
use super::add::Attempt;
use super::identity::Identity;
use super::link::{Link, Unavailable};
use super::options::AddError;
use super::persist;
use super::registry::{Entry, Refused, Reservation};
use super::torrent::Torrent;
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::engine::{AddMagnet, Direction};
use crate::reactor::Plane;
use furnish::Wanted;
pub(super) use furnish::{Desk, run};

impl Session {
    /// Looks for the torrent that a magnet names. It runs at once, and what it is will be known later:
    /// [`Event::Metadata`](super::Event::Metadata) tells, or [`Event::Refused`](super::Event::Refused), after which it is
    /// removed. If it runs already, it is told of the magnet's trackers and peers, unless it is private.
    ///
    /// # Errors
    /// When it cannot be run here, or runs already. Whether its files can be used turns out later.
    pub async fn add_magnet(&self, options: MagnetOptions) -> Result<Torrent, AddError> {
        let link = &self.link;
        let id = options.magnet.info_hashes.id();
        if options.magnet.info_hashes.v1().is_none() {
            let name = options.magnet.name.clone().unwrap_or_else(|| id.to_hex());
            return Err(AddError::V2Only(name));
        }
        let reservation = match link.registry.reserve(id) {
            Ok(reservation) => reservation,
            Err(Refused::Closed) => return Err(AddError::Unavailable(Unavailable::Over)),
            Err(Refused::Duplicate) => {
                enrich(link, id, &options).await?;
                return Err(AddError::Duplicate(id));
            }
        };
        let mut note = None;
        if let Some(store) = link.store.clone() {
            let (noted, registry) = (options.clone(), link.registry.clone());
            let noting = tokio::task::spawn_blocking(move || persist::magnet::note(store, &registry, &noted));
            note = noting.await.map_err(|_| AddError::Cancelled)??;
        }
        let attempt = Attempt::new(link.reactor.clone());
        let begin = Begin { link: link.clone(), options, reservation };
        let begun = link.ask(attempt.guard(link.clone(), id, move |plane| begin.run(plane)));
        let entry = begun.await??.ok_or(AddError::Duplicate(id))?;
        attempt.succeeded();
        if let Some(note) = note {
            entry.identity.noted(note.keep());
        }
        Ok(Torrent::new(link, id, entry))
    }
}

/// Tells a torrent that runs of what another magnet of it says.
async fn enrich(link: &Arc<Link>, id: TorrentId, options: &MagnetOptions) -> Result<(), Unavailable> {
    let Some(entry) = link.registry.get(id) else { return Ok(()) };
    if entry.identity.meta().is_some_and(|meta| meta.private()) {
        return Ok(());
    }
    let (peers, names) = peers(options);
    link.magnets.resolve(id, names);
    let trackers: Vec<String> = all_trackers(options).map(str::to_owned).collect();
    link.ask(move |plane| {
        let now = plane.now();
        for url in &trackers {
            plane.engine().add_tracker(now, entry.key, entry.identity.next_tier(), url);
        }
        plane.engine().add_peers(now, entry.key, &peers, Source::User, Scope::Loopback);
    })
    .await
}

/// A magnet that is about to be looked for.
struct Begin {
    link: Arc<Link>,
    options: MagnetOptions,
    reservation: Reservation,
}

impl Begin {
    /// Starts to look, on the reactor's thread. `None` when it runs already.
    fn run(self, plane: &mut Plane) -> Option<Entry> {
        let Self { link, options, reservation } = self;
        let (now, id) = (plane.now(), options.magnet.info_hashes.id());
        let (peers, names) = peers(&options);
        let engine = plane.engine();
        let trackers = all_trackers(&options).map(|url| vec![url.to_owned()]).collect();
        let key = engine.add_magnet(
            now,
            &AddMagnet { hashes: options.magnet.info_hashes, trackers, peers, paused: false },
        )?;
        engine.set_torrent_limit(now, key, Direction::Read, options.down_limit);
        engine.set_torrent_limit(now, key, Direction::Write, options.up_limit);
        let identity = Identity::named(&options.magnet, options.files.clone(), options.order);
        let held = watch::Sender::new(());
        let entry = Entry { key, identity, files: held.subscribe() };
        link.magnets.await_metadata(id, Wanted { entry: entry.clone(), options, held });
        reservation.fulfil(entry.clone());
        link.magnets.resolve(id, names);
        Some(entry)
    }
}

fn all_trackers(options: &MagnetOptions) -> impl Iterator<Item = &str> {
    options.magnet.trackers.iter().chain(&options.trackers).map(String::as_str)
}

/// The peers whose addresses are known, and those to be looked up.
fn peers(options: &MagnetOptions) -> (Vec<SocketAddr>, Vec<(String, u16)>) {
    let Magnet { peers, .. } = &options.magnet;
    let mut known = options.peers.clone();
    let mut names = Vec::new();
    for (host, port) in peers {
        match host.parse::<IpAddr>() {
            Ok(ip) => known.push((ip, *port).into()),
            Err(_) => names.push((host.clone(), *port)),
        }
    }
    (known, names)
}
