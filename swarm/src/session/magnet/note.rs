//! What is chosen for a torrent, and learnt of its trackers and peers, before its metadata are there: kept for the moment when they
//! are, and recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metainfo::TorrentId;
use storage::{FileNames, Operation, StorageError};

use super::choice::MOST_NOTED;
use super::desk::Wanted;
use crate::session::event::Event;
use crate::session::files_error::FilesError;
use crate::session::link::Link;
use crate::session::options::AddError;
use crate::session::persist;

/// Records what was chosen for a torrent, if it still awaits its metadata; else its record says so already, or will.
pub(in crate::session) async fn note(link: &Arc<Link>, id: TorrentId) {
    let Some(store) = link.store.clone() else { return };
    let noter = link.clone();
    let noted = tokio::task::spawn_blocking(move || {
        let _noting = noter.magnets.noting();
        let Some((entry, options)) = noter.magnets.chosen(id) else { return Ok(()) };
        let was = entry.identity.note();
        if let Some(note) = persist::magnet::note(store, &noter.registry, &options, was.as_ref())? {
            entry.identity.noted(note.keep());
        }
        Ok(())
    });
    let Ok(Err(error)) = noted.await else { return };
    tracing::warn!(%error, "what was chosen for a magnet is not recorded");
    if let AddError::Store(error) = error {
        link.tell(Event::RecordFailed { torrent: id, error });
    }
}

/// Records what trackers of torrents that await their metadata asked for, and whom they know. Only once at a time.
pub(in crate::session) async fn remember(link: Arc<Link>, ids: Vec<TorrentId>) {
    if link.magnets.is_remembering.swap(true, Ordering::Relaxed) {
        return;
    }
    for id in ids {
        if let Err(error) = remember_one(&link, id).await {
            tracing::warn!(%error, "what is known of a magnet is not recorded");
            link.tell(Event::RecordFailed { torrent: id, error });
        }
    }
    link.magnets.is_remembering.store(false, Ordering::Relaxed);
}

async fn remember_one(link: &Arc<Link>, id: TorrentId) -> Result<(), storage::record::StoreError> {
    let (Some(store), Some(entry)) = (link.store.clone(), link.registry.get(id)) else { return Ok(()) };
    let key = entry.key;
    let taken = link.ask(move |plane| {
        let now = plane.now();
        plane.engine().resume_state(now, key)
    });
    let (Ok(Some(known)), rememberer) = (taken.await, link.clone()) else { return Ok(()) };
    let remembered = tokio::task::spawn_blocking(move || {
        let _noting = rememberer.magnets.noting();
        match entry.identity.note() {
            Some(note) if !rememberer.magnets.awaiting(&[id]).is_empty() => {
                persist::magnet::remember(&*store, &note, known)
            }
            _ => Ok(()),
        }
    });
    remembered.await.unwrap_or(Ok(()))
}

/// Chooses another folder for a torrent that awaits its metadata. Whether it does.
pub(in crate::session) async fn place(
    link: &Arc<Link>,
    id: TorrentId,
    dir: PathBuf,
) -> Result<bool, FilesError> {
    let has_folder = |wanted: &mut Wanted| wanted.options.dir.is_some();
    match link.magnets.amend(id, has_folder) {
        None => return Ok(false),
        Some(false) => return Err(FilesError::NotOpen),
        Some(true) => {}
    }
    let (placer, store) = (link.clone(), link.store.clone());
    let placing = tokio::task::spawn_blocking(move || -> Result<bool, FilesError> {
        let dir = std::path::absolute(&dir)
            .map_err(|cause| StorageError::new(Operation::Open, dir, None, cause))?;
        if let Some(store) = store {
            persist::magnet::sole(&*store, id, &dir)?;
        }
        Ok(placer.magnets.amend(id, |wanted| wanted.options.dir = Some(dir)).is_some())
    });
    let is_placed = placing.await.map_err(|_| FilesError::Cancelled)??;
    if is_placed {
        note(link, id).await;
    }
    Ok(is_placed)
}

/// Chooses another path for a file of a torrent that awaits its metadata, and tells what is left of it. `None` if it awaits
/// none.
pub(in crate::session) async fn rename(
    link: &Arc<Link>,
    id: TorrentId,
    index: usize,
    path: &str,
) -> Result<Option<String>, FilesError> {
    if link.magnets.awaiting(&[id]).is_empty() {
        return Ok(None);
    }
    let refused = |cause| StorageError::new(Operation::Rename, path, None, cause);
    let cleaned = FileNames::cleaned(path).map_err(refused)?;
    if index >= MOST_NOTED {
        return Err(FilesError::NoSuchFile { index, files: MOST_NOTED });
    }
    let renamed = link.magnets.amend(id, |Wanted { options, .. }| {
        if options.dir.is_none() {
            return Err(FilesError::NotOpen);
        }
        let folded = cleaned.to_lowercase();
        let is_taken = |(at, name): &(usize, String)| *at != index && name.to_lowercase() == folded;
        if options.names.iter().any(is_taken) {
            let cause = std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "another file of the torrent gets that name",
            );
            return Err(refused(cause).into());
        }
        options.names.retain(|(at, _)| *at != index);
        options.names.push((index, cleaned.clone()));
        Ok(())
    });
    let Some(renamed) = renamed else { return Ok(None) };
    renamed?;
    note(link, id).await;
    Ok(Some(cleaned))
}
