//! Whether what is missing will fit, where it is downloaded to and where it goes when it is complete.

use std::path::Path;

use storage::record::Finishing;
use storage::{FileStorage, Operation, StorageError};

use crate::engine::picker::Priority;
use crate::session::options::{AddError, AddOptions};
use wire::peer::Bitfield;

/// Finds out before anything is written; `reserve` bytes are to be left on each disk. Room that files have taken already counts as
/// theirs.
pub(super) fn look(
    options: &AddOptions,
    files: &FileStorage,
    have: &Bitfield,
    rules: &Finishing,
    reserve: u64,
) -> Result<(), AddError> {
    let layout = options.torrent.layout();
    let priorities = options.files.priorities(&options.torrent);
    let wanted = || {
        let files = layout.files().iter().enumerate().zip(&priorities);
        let wanted = files.filter(|((_, file), priority)| **priority != Priority::Skip && !file.is_pad());
        wanted.map(|(file, _)| file)
    };
    let lacks = |(index, file): (usize, &metainfo::File)| {
        let is_there = layout.file_pieces(index).into_iter().flatten().all(|piece| have.get(piece));
        if is_there { 0 } else { file.length.saturating_sub(files.file_room(index)) }
    };
    let needed: u64 = wanted().map(lacks).sum();
    let root = files.root();
    fits(rules.unfinished_in.as_deref().unwrap_or(&options.dir), needed, files.free_space()?, reserve)?;
    // The files are renamed where that can be done, and copied to another disk.
    let home =
        || FileStorage::room_at(&options.dir).and_then(|home| Ok((home, FileStorage::room_at(&root)?)));
    if rules.unfinished_in.is_some() && files.moving_to().is_none() {
        let (home, work) =
            home().map_err(|cause| StorageError::new(Operation::Stat, &options.dir, None, cause))?;
        if home.device != work.device {
            fits(&options.dir, wanted().map(|(_, file)| file.length).sum(), home.free, reserve)?;
        }
    }
    Ok(())
}

fn fits(dir: &Path, needed: u64, free: u64, reserve: u64) -> Result<(), AddError> {
    if needed == 0 || needed.saturating_add(reserve) <= free {
        return Ok(());
    }
    Err(AddError::NoSpace { dir: dir.to_owned(), needed, free, reserve })
}
