//! Torrents of an earlier run.

use std::sync::Arc;

use metainfo::Magnet;
use storage::record::{Key, Listing, Record, Source, Store, StoreError, Summary};

use super::Session;
use super::link::{Link, Unavailable};
use super::magnet::{Choice, MagnetOptions, Noted};
use super::options::{AddError, AddOptions};
use super::persist;
use super::registry::Refused;
use super::selection::Selection;
use super::torrent::Torrent;
use super::wanted;

impl Session {
    /// What the store of this session knows, without the pieces and files of any torrent: enough to list 10,000 torrents at
    /// once. [`Session::restore`] runs one of them.
    ///
    /// # Errors
    /// When the store cannot be read. A session without one knows nothing.
    pub async fn recorded(&self) -> Result<Listing, StoreError> {
        let Some(store) = self.link.store.clone() else { return Ok(Listing::default()) };
        let listed = tokio::task::spawn_blocking(move || store.list()).await;
        // A listing that panicked was reported when it did.
        listed.unwrap_or_else(|_| Ok(Listing::default()))
    }

    /// Runs a torrent of an earlier run with what was chosen for it.
    ///
    /// # Errors
    /// [`AddError::NotRecorded`] when the store does not know it, or not what it is; else as [`Session::add`].
    pub async fn restore(&self, summary: &Summary) -> Result<Torrent, AddError> {
        let key = Key { id: summary.hashes.id(), dir: summary.dir.clone() };
        let unknown = AddError::NotRecorded(key.id);
        let Some(store) = self.link.store.clone() else { return Err(unknown) };
        let link = self.link.clone();
        let loaded = tokio::task::spawn_blocking(move || options(&link, &*store, &key)).await;
        match loaded.map_err(|_| AddError::Cancelled)??.ok_or(unknown)? {
            Added::Torrent(options) => self.add(*options).await,
            Added::Magnet(options) => self.add_magnet(*options).await,
        }
    }

    /// Forgets a torrent of an earlier run that does not run now. What its files hold stays.
    ///
    /// # Errors
    /// [`AddError::Duplicate`] when it runs: [`Torrent::remove`] is for that; or when the record cannot be forgotten.
    pub async fn forget(&self, summary: &Summary) -> Result<(), AddError> {
        let key = Key { id: summary.hashes.id(), dir: summary.dir.clone() };
        let reservation = self.link.registry.reserve(key.id).map_err(|refused| match refused {
            Refused::Duplicate => AddError::Duplicate(key.id),
            Refused::Closed => AddError::Unavailable(Unavailable::Over),
        })?;
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        let forget = tokio::task::spawn_blocking(move || {
            let _reservation = reservation;
            store.remove(&key)
        });
        Ok(forget.await.map_err(|_| AddError::Cancelled)??)
    }
}

/// What to add for a record.
pub(super) enum Added {
    Torrent(Box<AddOptions>),
    Magnet(Box<MagnetOptions>),
}

/// Reads it. Blocks.
pub(super) fn options(link: &Link, store: &dyn Store, key: &Key) -> Result<Option<Added>, StoreError> {
    let loaded = persist::load(link, store, key)?;
    let Some(Record { summary, state, source: Some(source) }) = loaded else { return Ok(None) };
    let choices = state.choices;
    let bytes = match source {
        Source::Torrent(bytes) => bytes,
        Source::Magnet(link) => {
            let Ok(magnet) = link.parse::<Magnet>() else { return Ok(None) };
            let names = choices.names.iter();
            let names = names.map(|(file, path)| (*file as usize, path.to_string_lossy().into_owned()));
            let names = names.collect();
            let noted = Noted { select: magnet.select.clone(), priorities: choices.priorities };
            return Ok(Some(Added::Magnet(Box::new(MagnetOptions {
                files: Choice::of_noted(&noted),
                names,
                order: wanted::order(choices.order),
                allocation: choices.allocation,
                placing: persist::placing(&state.finishing),
                down_limit: choices.down_limit,
                up_limit: choices.up_limit,
                trackers: choices.trackers,
                ..MagnetOptions::download(magnet, summary.dir)
            }))));
        }
    };
    let Ok(torrent) = metainfo::Torrent::parse(&bytes) else { return Ok(None) };
    let added = persist::added(&summary, &torrent, &choices.trackers);
    Ok(Some(Added::Torrent(Box::new(AddOptions {
        files: Selection::decode(&choices.priorities),
        order: wanted::order(choices.order),
        allocation: choices.allocation,
        placing: persist::placing(&state.finishing),
        down_limit: choices.down_limit,
        up_limit: choices.up_limit,
        trackers: [choices.trackers, added].concat(),
        create: !summary.flags.seed_only,
        ..AddOptions::download(Arc::new(torrent), summary.dir)
    }))))
}
