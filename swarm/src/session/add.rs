//! Adding a torrent: open its files, find out what is there, and run it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metainfo::{Torrent as Meta, TorrentId};
use tokio::sync::watch;

use super::Session;
use super::claims::{Claim, Claimed, Taken, paths};
use super::dht;
use super::event::Event;
use super::identity::{Chosen, Identity, Place, Running};
use super::link::{Link, Unavailable};
use super::magnet;
use super::options::{AddError, AddOptions};
use super::persist::{self, Begun};
use super::registry::{Entry, Refused, Reservation};
use super::selection::Selection;
use super::torrent::Torrent;
use crate::engine::candidates::Source;
use crate::engine::picker::Priority;
use crate::engine::scope::Scope;
use crate::engine::{AddTorrent, Direction};
use crate::reactor::{Handle, Plane};

impl Session {
    /// Opens a torrent's files, checks what is there as the options say, and runs it. Dropping the future gives it up.
    ///
    /// A torrent that was added by a magnet and awaits its metadata becomes whole by this. What was chosen for it stays, and so does
    /// its folder if it has one; trackers, web seeds, nodes and peers are joined, but a private torrent takes none of its
    /// magnet's. Of a torrent that is only to be seeded, these options count.
    ///
    /// # Errors
    /// When the torrent cannot be run here, or its files cannot be used.
    pub async fn add(&self, options: AddOptions) -> Result<Torrent, AddError> {
        let link = &self.link;
        let meta = options.torrent.clone();
        let id = meta.id();
        can_be_checked(&meta)?;
        if let Some(index) = options.files.unknown(&meta) {
            return Err(AddError::NoSuchFile { index, files: meta.layout().files().len() });
        }
        if magnet::awaited_as(link, &meta).is_some_and(|name| name != id) {
            return magnet::feed(link, options).await;
        }
        let reservation = match link.registry.reserve(id) {
            Ok(reservation) => reservation,
            Err(Refused::Duplicate) => return magnet::feed(link, options).await,
            Err(Refused::Closed) => return Err(AddError::Unavailable(Unavailable::Over)),
        };
        let permit = link.checks.clone().acquire_owned().await.map_err(|_| Unavailable::Over)?;
        let attempt = Attempt::new(link.reactor.clone());
        let (state, opener) = (attempt.state.clone(), link.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            open(&opener, &options, &state.given_up)
        });
        let opened = opened.await.map_err(|_| AddError::Cancelled)??;
        let run = Run { link: link.clone(), opened, reservation };
        let begun = link.ask(attempt.guard(link.clone(), id, move |plane| run.begin(plane)));
        let entry = begun.await??.ok_or(AddError::Duplicate(id))?;
        attempt.succeeded();
        if link.dht_addresses.is_some() && !meta.private() && !meta.nodes().is_empty() {
            tokio::spawn(dht::introduce(link.clone(), meta));
        }
        let torrent = Torrent::new(link, entry);
        torrent.go_on_moving();
        Ok(torrent)
    }
}

/// Undoes what was done when whoever waits for it is gone: stops the check, and removes the torrent that runs already.
pub(super) struct Attempt {
    reactor: Handle,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    given_up: AtomicBool,
    begun: Mutex<Option<Entry>>,
}

impl Attempt {
    pub(super) fn new(reactor: Handle) -> Self {
        Self { reactor, state: Arc::default() }
    }

    /// What is to be asked of the reactor's thread to begin, unless it was given up meanwhile.
    pub(super) fn guard(
        &self,
        link: Arc<Link>,
        torrent: TorrentId,
        begin: impl FnOnce(&mut Plane) -> Option<Entry> + Send + 'static,
    ) -> impl FnOnce(&mut Plane) -> Result<Option<Entry>, AddError> + Send + 'static {
        let state = self.state.clone();
        move |plane| {
            let mut begun = state.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if state.given_up.load(Ordering::Relaxed) {
                return Err(AddError::Cancelled);
            }
            // The end has removed the others already.
            if link.registry.is_closed() {
                return Err(AddError::Unavailable(Unavailable::Over));
            }
            *begun = begin(plane);
            if begun.is_some() {
                // From here, so that nothing that happens to the torrent is told before.
                link.tell(Event::Added { torrent });
            }
            Ok(begun.clone())
        }
    }

    pub(super) fn succeeded(&self) {
        self.begun();
    }

    fn begun(&self) -> Option<Entry> {
        self.state.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.state.given_up.store(true, Ordering::Relaxed);
        if let Some(entry) = self.begun() {
            // A reactor that is gone runs nothing.
            let _ = self.reactor.run(move |plane| entry.remove(plane));
        }
    }
}

/// Whether there is a hash for each piece: a v2-only torrent may lack its piece layers, which are no part of its metadata.
pub(super) fn can_be_checked(meta: &Meta) -> Result<(), AddError> {
    let is_v2_only = meta.info_hashes().v1().is_none();
    if is_v2_only && !meta.has_piece_layers() {
        return Err(AddError::LayersMissing(meta.name().to_owned()));
    }
    Ok(())
}

/// Files that are open, with the claim to them, and what is in them.
pub(super) struct Opened {
    pub(super) claim: Claim,
    pub(super) begun: Begun,
}

/// Opens the files and checks them. Blocks.
pub(super) fn open(link: &Arc<Link>, options: &AddOptions, cancel: &AtomicBool) -> Result<Opened, AddError> {
    let files = options.torrent.layout().files().len();
    if let Some((index, _)) = options.names.iter().find(|(index, _)| *index >= files) {
        return Err(AddError::NoSuchFile { index: *index, files });
    }
    if let Some(store) = &link.store {
        persist::magnet::sole(&**store, options.torrent.id(), &options.dir)?;
    }
    let mut taken = None;
    let begun = persist::begin(link, options, cancel, |files| {
        let claimed = link.claims.claim(files, &options.torrent);
        let claim = claimed.map_err(|Taken { path, by }| AddError::PathTaken { path, by })?;
        // Where complete files go is taken from the start.
        let home = persist::place(&options.dir).unwrap_or_else(|_| options.dir.clone());
        let home = claim.add(paths(&home, files, &options.torrent));
        home.map_err(|Taken { path, by }| AddError::PathTaken { path, by })?;
        taken = Some(claim);
        Ok(())
    })?;
    let claim = taken.ok_or(AddError::Cancelled)?;
    Ok(Opened { claim, begun })
}

/// A torrent that is ready to run.
struct Run {
    link: Arc<Link>,
    opened: Opened,
    reservation: Reservation,
}

impl Run {
    /// Runs it, on the reactor's thread. `None` when it runs already.
    fn begin(self, plane: &mut Plane) -> Option<Entry> {
        let Self { link, opened: Opened { claim, begun }, reservation } = self;
        let Begun { files, have, unverified, unseen, partial, peers, trackers, kept, finish, options } =
            begun;
        let (now, meta) = (plane.now(), options.torrent.clone());
        let is_full = have.is_full();
        let priorities = priorities(&options);
        let held = Arc::new(watch::Sender::new(()));
        let released = held.subscribe();
        let claimed = Claimed { files, claim: claim.into(), held };
        let place = Place::of(&claimed);
        let store = plane.disk().attach(Arc::new(claimed), meta.clone());
        let seed_only = !options.create;
        // It was asked to run.
        kept.iter().for_each(|kept| kept.set_paused(false));
        let recorded = kept.is_some();
        let add = AddTorrent {
            verify: options.verify,
            seed_only,
            recorded,
            partial,
            unverified,
            unseen,
            trackers,
            ..AddTorrent::new(meta.clone(), store, have)
        };
        let Some(key) = plane.engine().add_torrent(now, add) else {
            plane.disk().detach(store);
            return None;
        };
        let limits = [options.down_limit, options.up_limit];
        let identity = Identity::whole(
            meta.clone(),
            Running { store, place, writes: options.create, kept, finish },
            Chosen::new(options.files.clone().into(), options.order, limits),
        );
        let entry = Entry { key, identity, files: released };
        reservation.fulfil(entry.clone());
        // Until it is told to be complete.
        link.saver.writes(meta.id(), options.create && !is_full);
        let engine = plane.engine();
        engine.set_torrent_limit(now, key, Direction::Read, options.down_limit);
        engine.set_torrent_limit(now, key, Direction::Write, options.up_limit);
        if !priorities.is_empty() {
            engine.set_priorities(now, key, priorities);
        }
        engine.set_order(now, key, options.order);
        let tiers = u32::try_from(meta.trackers().len()).unwrap_or(u32::MAX);
        for (tier, url) in (tiers..).zip(&options.trackers) {
            engine.add_tracker(now, key, tier, url);
        }
        engine.add_peers(now, key, &options.peers, Source::User, Scope::Loopback);
        engine.add_peers(now, key, &peers, Source::Resume, Scope::Loopback);
        Some(entry)
    }
}

/// How much pieces are wanted where that is not as usual.
pub(super) fn priorities(options: &AddOptions) -> Vec<(metainfo::PieceIndex, Priority)> {
    match &options.files {
        Selection::All => Vec::new(),
        files => files.pieces(&options.torrent),
    }
}
