//! Opening a torrent that runs: as one that is added, but under the name and key that it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metainfo::TorrentId;
use storage::{Operation, StorageError};
use tokio::sync::OwnedSemaphorePermit;

use super::desk::{Cold, RETRY};
use crate::session::add::{self, Opened};
use crate::session::dht;
use crate::session::event::Event;
use crate::session::identity::Chosen;
use crate::session::link::{Link, Unavailable};
use crate::session::magnet::{Ready, with};
use crate::session::options::AddError;
use crate::session::registry::Entry;
use crate::session::restore::{self, Added};
use crate::session::torrent::Torrent;

/// Opens a torrent, or says why that cannot be. One that nobody waits for has a permit to be checked, which others need not.
pub(super) async fn open(link: Arc<Link>, id: TorrentId, cold: Cold, permit: Option<OwnedSemaphorePermit>) {
    let entry = cold.entry.clone();
    let key = entry.key;
    let is_cold = link.ask(move |plane| plane.engine().opening(key)).await;
    let prepared = match is_cold {
        Ok(true) => prepare(&link, &cold, permit).await,
        _ => Err(AddError::Unavailable(Unavailable::Removed)),
    };
    let outcome = match prepared {
        Ok((opened, chosen)) => {
            let Cold { entry, held, lease, .. } = cold;
            let meta = opened.begun.options.torrent.clone();
            entry.identity.found(meta.clone());
            settle(&link, id).await;
            let done = Ready::new(entry.clone(), opened, held, chosen).run(&link).await;
            // Its own lease counts by now.
            let released = tokio::task::spawn_blocking(move || drop(lease));
            if let Err(error) = &done {
                if !is_given_up(&entry) {
                    // It is not the torrent that was recorded.
                    link.tell(Event::Refused { torrent: id, error: error.clone() });
                }
                let gone = entry.clone();
                let _ = link.ask(move |plane| gone.remove(plane)).await;
            } else {
                if link.dht_addresses.is_some() && !meta.private() && !meta.nodes().is_empty() {
                    tokio::spawn(dht::introduce(link.clone(), meta));
                }
                Torrent::new(&link, entry).go_on_moving();
            }
            // If it panicked, that was reported.
            let _ = released.await;
            done
        }
        Err(error) => {
            return refuse(&link, id, cold, error).await;
        }
    };
    link.cold.done(id, &outcome);
}

/// Reads the record, opens the files and checks what is doubtful.
async fn prepare(
    link: &Arc<Link>,
    cold: &Cold,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(Opened, Chosen), AddError> {
    let (opener, identity) = (link.clone(), cold.entry.identity.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // Who began to record it before it was opened is done.
        drop(opener.cold.noting());
        let unknown = AddError::NotRecorded(identity.id());
        let (Some(store), Some(past)) = (opener.store.clone(), identity.past()) else { return Err(unknown) };
        let options = match restore::options(&opener, &*store, &past.key)? {
            Some(Added::Torrent(options)) if options.torrent.id() == identity.id() => *options,
            Some(_) | None => return Err(unknown),
        };
        // What was chosen while it was not open are its limits.
        identity.choose(|chosen| {
            (chosen.files, chosen.order) = (options.files.clone().into(), options.order);
        });
        let (files, chosen) = (options.files.clone(), identity.chosen());
        let options = with(options, files, &chosen);
        let opened = add::open(&opener, &options, identity.given_up())?;
        Ok((opened, chosen))
    });
    opened.await.map_err(|_| AddError::Cancelled)?
}

/// Lets who records a torrent as one that is not open be done: from here on it is recorded when it is.
async fn settle(link: &Arc<Link>, id: TorrentId) {
    link.cold.records_itself(id);
    let noted = link.clone();
    let done = tokio::task::spawn_blocking(move || drop(noted.cold.noting()));
    // If it panicked, that was reported.
    let _ = done.await;
}

/// A torrent cannot be opened: it stays as it is, and says why.
async fn refuse(link: &Arc<Link>, id: TorrentId, cold: Cold, error: AddError) {
    let is_over = matches!(error, AddError::Unavailable(_) | AddError::Cancelled);
    if is_over && (is_given_up(&cold.entry) || link.registry.is_closed()) {
        return link.cold.done(id, &Err(error));
    }
    let (key, why) = (cold.entry.key, storage_error(&cold, &error));
    let told = link.ask(move |plane| {
        let now = plane.now();
        plane.engine().not_opened(now, key, why, RETRY);
    });
    if told.await.is_err() {
        return link.cold.done(id, &Err(error));
    }
    link.tell(Event::NotOpened { torrent: id, error: error.clone() });
    link.cold.put_back(id, cold, &error);
}

/// Whether it was removed.
fn is_given_up(entry: &Entry) -> bool {
    entry.identity.given_up().load(Ordering::Relaxed)
}

/// As the torrent's state tells it.
fn storage_error(cold: &Cold, error: &AddError) -> StorageError {
    match error {
        AddError::Storage(error) => error.clone(),
        other => {
            let dir = cold.entry.identity.past().map(|past| past.key.dir.clone()).unwrap_or_default();
            StorageError::new(Operation::Open, dir, None, std::io::Error::other(other.to_string()))
        }
    }
}
