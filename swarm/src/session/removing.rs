//! Removing a torrent, and what it made.

use storage::Removed;
use tokio::time::timeout;

use super::event::Event;
use super::files_error::FilesError;
use super::link::{PATIENCE, Unavailable};
use super::persist;
use super::torrent::Torrent;

impl Torrent {
    /// Stops it and forgets it, its record too, and waits until nothing holds its files any more. What they hold stays.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn remove(&self) -> Result<(), Unavailable> {
        self.stop().await?;
        self.forget().await;
        Ok(())
    }

    /// As [`Torrent::remove`], and then removes the files that were made for it, and the folders that were and are empty.
    /// Files that were there before or that others wrote to since, and those of others, stay. Another torrent cannot have the files meanwhile.
    ///
    /// # Errors
    /// When it or its session is gone, or the folder of its files is; what cannot be removed is told in
    /// [`Removed::errors`].
    pub async fn remove_with_files(&self) -> Result<Removed, FilesError> {
        // Only then it is known which they are.
        self.open().await?;
        let place = self.entry.identity.files();
        let kept = place.and_then(|place| Some((place.files.upgrade()?, place.claim.upgrade()?)));
        self.stop().await?;
        let removed = match kept {
            Some((files, claim)) => {
                let record = self.entry.identity.kept();
                let removing = tokio::task::spawn_blocking(move || {
                    if let Some(record) = record {
                        record.disown_changed(&files);
                    }
                    let removed = files.remove_created();
                    drop((files, claim));
                    removed
                });
                removing.await.map_err(|_| FilesError::Cancelled)?
            }
            None => Ok(Removed::default()),
        };
        self.forget().await;
        Ok(removed?)
    }

    async fn stop(&self) -> Result<(), Unavailable> {
        let entry = self.entry.clone();
        let key = entry.key;
        self.ask(move |plane, _| {
            entry.remove(plane);
            Some(())
        })
        .await?;
        let mut files = self.entry.files.clone();
        let gone = async {
            // The channel never carries anything: it closes when the files are let go.
            let _ = files.changed().await;
            self.link.registry.gone(self.id(), key).await;
        };
        timeout(PATIENCE, gone).await.map_err(|_| Unavailable::Stuck(PATIENCE))
    }

    async fn forget(&self) {
        let Some(store) = self.link.store.clone() else { return };
        let (identity, link) = (self.entry.identity.clone(), self.link.clone());
        let forget = move || match (identity.kept(), identity.note()) {
            (Some(kept), _) => kept.forget(),
            (None, Some(key)) => {
                let _noting = link.magnets.noting();
                persist::magnet::forget(&*store, &key)
            }
            (None, None) => {
                let _noting = link.cold.noting();
                identity.past().map_or(Ok(()), |past| store.remove(&past.key))
            }
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(forget).await {
            tracing::warn!(%error, "a record stays behind");
            self.link.tell(Event::RecordFailed { torrent: self.id(), error });
        }
    }
}
