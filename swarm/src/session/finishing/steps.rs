//! The steps for files that are whole, on a thread that may block: final names, the torrent's own folder, other folders.

use std::sync::PoisonError;

use storage::Linked;
use storage::record::LinkTo;
use wire::peer::Bitfield;

use super::{Finish, Ready};
use crate::session::event::Event;
use crate::session::files_error::FilesError;
use crate::session::relocating::Change;
use crate::session::torrent::Torrent;

impl Change<'_> {
    /// Blocks.
    pub(super) fn finish(&self, finish: &Finish, ready: &Ready, torrent: &Torrent) -> Result<(), FilesError> {
        let whole = self.whole(&ready.durable);
        let named = if finish.rules().suffix.is_some() { self.finish_names(finish, &whole) } else { Ok(()) };
        if !ready.is_all {
            return named;
        }
        if finish.is_away() {
            torrent.move_now(self, finish.home())?;
        }
        self.give(finish, &whole, torrent)?;
        named
    }

    /// Takes the suffix off these files. One that cannot be renamed does not keep the others.
    fn finish_names(&self, finish: &Finish, whole: &[usize]) -> Result<(), FilesError> {
        let files = &self.held.files;
        let mut named = finish.named.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut failed) = (Vec::new(), None);
        for index in whole.iter().filter(|index| !named.contains(*index)) {
            match files.finish_file(*index) {
                Ok(()) => done.push(*index),
                Err(error) => failed = Some(error),
            }
        }
        if !done.is_empty() {
            storage::Storage::sync(&**files)?;
            let created = files.created();
            self.amend(|state| state.created = created)?;
            named.extend(done);
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Gives these files to the other folder, unless that was done.
    fn give(&self, finish: &Finish, whole: &[usize], torrent: &Torrent) -> Result<(), FilesError> {
        let Some(LinkTo { dir, mode, done }) = finish.rules().link else { return Ok(()) };
        let count = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        if done >= count {
            return Ok(());
        }
        let linked: Linked = self.held.files.link_to(&dir, mode, whole)?;
        let link = Some(LinkTo { dir: dir.clone(), mode, done: count });
        self.amend(|state| state.finishing.link.clone_from(&link))?;
        finish.lock().link = link;
        torrent.link.tell(Event::Linked { torrent: torrent.id(), to: dir, linked });
        Ok(())
    }

    /// The files of which every piece is there, by index.
    fn whole(&self, have: &Bitfield) -> Vec<usize> {
        let layout = self.meta.layout();
        let is_stored = |file: &metainfo::File| !file.is_pad() && !file.attributes.symlink;
        let is_whole =
            |index: usize| layout.file_pieces(index).into_iter().flatten().all(|piece| have.get(piece));
        let stored = layout.files().iter().enumerate().filter(|(_, file)| is_stored(file));
        stored.map(|(index, _)| index).filter(|index| is_whole(*index)).collect()
    }
}
