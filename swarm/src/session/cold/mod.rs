//! Torrents of earlier runs that run without being open.
//!
//! ```text
//!   restore_all ─▶ Engine::add_cold     a peer: Event::Wanted ─┐
//!                                       the user: open ────────┼─▶ run ─▶ load, open, check ─▶ Engine::furnish
//!                                       it is not complete ────┘          └─ cannot: told, tried again later
//! ```

mod desk;
mod open;
mod remember;

use std::sync::Arc;

use metainfo::TorrentId;
use storage::record::{Flags, Key, Lease, Outline, Store, StoreError, Summary};
use tokio::sync::watch;

pub(super) use desk::{Desk, run};
pub(super) use remember::{Standing, remember, remember_last};

use super::Session;
use super::event::Event;
use super::identity::{Identity, Past};
use super::link::{Link, Unavailable};
use super::options::AddError;
use super::persist;
use super::registry::{Entry, Refused, Reservation};
use super::torrent::Torrent;
use crate::engine::{self, AddCold, Direction, TrackerMemo};
use crate::reactor::Plane;
use desk::Cold;

/// Torrents that the reactor's thread takes up at a time.
const STEP: usize = 250;

/// What came of [`Session::restore_all`].
#[derive(Debug, Default)]
pub struct Restored {
    /// Those that run.
    pub torrents: Vec<Torrent>,
    /// Those that cannot, and why.
    pub refused: Vec<(TorrentId, AddError)>,
    /// Records that cannot be read.
    pub problems: Vec<StoreError>,
}

/// A torrent that is about to run.
struct Ready {
    summary: Summary,
    outline: Outline,
    lease: Lease,
    reservation: Reservation,
}

impl Session {
    /// Runs all torrents of earlier runs with what was chosen for them, without opening their files: of each its summary is read.
    /// They are announced and looked for, and show what is recorded. One is opened, and what is doubtful of it checked, when a
    /// peer may need something of it, or the user does ([`Torrent::open`]); those that are not complete, or whose files are to be moved
    /// yet, are opened one after the other in the background. One whose files cannot be opened is left alone for a minute. Magnets that await their metadata run as ever.
    ///
    /// # Errors
    /// When the store cannot be read. A session without one knows nothing.
    pub async fn restore_all(&self) -> Result<Restored, StoreError> {
        let link = &self.link;
        let Some(store) = link.store.clone() else { return Ok(Restored::default()) };
        let registry = link.registry.clone();
        let looked = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
            let listing = store.list()?;
            let (magnets, known): (Vec<_>, Vec<_>) =
                listing.summaries.into_iter().partition(|summary| summary.flags.no_metadata);
            let mut restored = Restored { problems: listing.problems, ..Restored::default() };
            let mut ready = Vec::with_capacity(known.len());
            for summary in known {
                let id = summary.hashes.id();
                match prepare(&*store, summary, |id| registry.reserve(id)) {
                    Ok(one) => ready.push(one),
                    Err(error) => restored.refused.push((id, error)),
                }
            }
            Ok((magnets, lease(&*store, ready, &mut restored), restored))
        });
        let Ok(looked) = looked.await else { return Ok(Restored::default()) };
        let (magnets, mut ready, mut restored) = looked?;
        while !ready.is_empty() {
            let some = ready.split_off(ready.len().saturating_sub(STEP));
            let beginner = link.clone();
            let begun = link.ask(move |plane| {
                some.into_iter().map(|one| one.begin(&beginner, plane)).collect::<Vec<_>>()
            });
            let Ok(begun) = begun.await else { return Ok(restored) };
            for entry in begun {
                match entry {
                    Ok(entry) => restored.torrents.push(Torrent::new(link, entry)),
                    Err(refused) => restored.refused.push(refused),
                }
            }
        }
        for magnet in magnets {
            match self.restore(&magnet).await {
                Ok(torrent) => restored.torrents.push(torrent),
                Err(error) => restored.refused.push((magnet.hashes.id(), error)),
            }
        }
        link.cold.go_on();
        Ok(restored)
    }
}

impl Torrent {
    /// Opens its files if they are not, as of one that [`Session::restore_all`] runs, and waits for that. What needs its files
    /// or metainfo does so by itself, but for [`Torrent::reader`] and [`Torrent::meta`]. Of no effect on any other torrent.
    ///
    /// # Errors
    /// When its files cannot be opened, or it or its session is gone.
    pub async fn open(&self) -> Result<(), AddError> {
        if !self.entry.identity.is_cold() {
            return Ok(());
        }
        let asked = self.link.cold.ask(self.id());
        match asked {
            Some(answer) => answer.await.unwrap_or(Err(AddError::Unavailable(Unavailable::Removed))),
            // It was opened just now, or is gone.
            None if self.entry.identity.is_open() => Ok(()),
            None => Err(AddError::Unavailable(Unavailable::Removed)),
        }
    }
}

/// What is needed of a torrent to run it. Blocks.
fn prepare(
    store: &dyn Store,
    summary: Summary,
    reserve: impl FnOnce(TorrentId) -> Result<Reservation, Refused>,
) -> Result<(Summary, Reservation), AddError> {
    let id = summary.hashes.id();
    let reservation = reserve(id).map_err(|refused| match refused {
        Refused::Duplicate => AddError::Duplicate(id),
        Refused::Closed => AddError::Unavailable(Unavailable::Over),
    })?;
    if summary.outline.is_some() {
        return Ok((summary, reservation));
    }
    // It was recorded by an earlier version.
    let key = Key { id, dir: summary.dir };
    let summary = persist::outlined(store, &key)?.ok_or(AddError::NotRecorded(id))?;
    Ok((summary, reservation))
}

/// Takes the right to the torrents, against other programs. Blocks.
fn lease(store: &dyn Store, ready: Vec<(Summary, Reservation)>, restored: &mut Restored) -> Vec<Ready> {
    let wanted = ready.iter().map(|(summary, _)| {
        let names = summary.outline.iter().flat_map(|outline| &outline.names);
        let names = names.map(|name| name.clone().into_os_string()).collect();
        (Key { id: summary.hashes.id(), dir: summary.dir.clone() }, names)
    });
    let leases = store.lease_all(&wanted.collect::<Vec<_>>());
    let mut leased = Vec::with_capacity(ready.len());
    for ((mut summary, reservation), lease) in ready.into_iter().zip(leases) {
        match lease {
            Ok(lease) => {
                let outline = summary.outline.take().unwrap_or_default();
                leased.push(Ready { summary, outline, lease, reservation });
            }
            Err(error) => restored.refused.push((summary.hashes.id(), error.into())),
        }
    }
    leased
}

impl Ready {
    /// Runs it, on the reactor's thread.
    fn begin(self, link: &Arc<Link>, plane: &mut Plane) -> Result<Entry, (TorrentId, AddError)> {
        let Self { summary, outline, lease, reservation } = self;
        let (now, id) = (plane.now(), summary.hashes.id());
        let is_unsettled = outline.unsettled;
        let Flags { complete, finished, paused, private, .. } = summary.flags;
        if link.registry.is_closed() {
            return Err((id, AddError::Unavailable(Unavailable::Over)));
        }
        let limits = [outline.down_limit, outline.up_limit];
        let add = AddCold {
            hashes: summary.hashes,
            outline: engine::Outline {
                private,
                complete,
                finished: finished || complete || summary.flags.seed_only,
                size: summary.size,
                done: summary.done,
                pieces: outline.pieces,
                pieces_done: outline.pieces_done,
            },
            recalled: recalled(&outline),
            trackers: tiers(outline),
            peers: Vec::new(),
            paused,
        };
        let engine = plane.engine();
        let Some(key) = engine.add_cold(now, &add) else { return Err((id, AddError::Duplicate(id))) };
        engine.set_torrent_limit(now, key, Direction::Read, limits[0]);
        engine.set_torrent_limit(now, key, Direction::Write, limits[1]);
        let past =
            Past { key: Key { id, dir: summary.dir }, private, earlier: persist::moved(summary.totals) };
        let identity = Identity::cold(id, summary.name, add.trackers.len(), past, limits, paused);
        let held = watch::Sender::new(());
        let entry = Entry { key, identity, files: held.subscribe() };
        let wants = !add.outline.finished || is_unsettled;
        link.cold.add(id, Cold { entry: entry.clone(), held, lease, wants });
        reservation.fulfil(entry.clone());
        link.tell(Event::Added { torrent: id });
        Ok(entry)
    }
}

fn recalled(outline: &Outline) -> Vec<TrackerMemo> {
    let told = outline.trackers.iter().map(|(_, tracker)| tracker);
    persist::memos(told.filter(|told| told.id.is_some() || told.next.is_some() || told.works))
}

fn tiers(outline: Outline) -> Vec<Vec<String>> {
    let mut tiers: Vec<(u32, Vec<String>)> = Vec::new();
    for (tier, tracker) in outline.trackers {
        match tiers.last_mut() {
            Some((last, urls)) if *last == tier => urls.push(tracker.url),
            _ => tiers.push((tier, vec![tracker.url])),
        }
    }
    tiers.into_iter().map(|(_, urls)| urls).collect()
}
