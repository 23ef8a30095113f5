//! Where the files of a torrent are worked on: in its own folder, or in that of unfinished files; and what of files that lie
//! elsewhere is taken in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::record::{Finishing, LinkTo, Record};
use storage::{FileNames, FileOptions, FileStorage, Operation, StorageError, find_existing};

use super::begin::anything;
use super::naming;
use crate::engine::picker::Priority;
use crate::session::event::Event;
use crate::session::link::Link;
use crate::session::options::{AddOptions, Placing};

/// Where to work.
pub(super) struct Work {
    pub(super) dir: PathBuf,
    /// Where files were being moved to, as far as the files tell.
    pub(super) moving_to: Option<PathBuf>,
    pub(super) rules: Finishing,
}

/// What is asked for, as it is recorded.
pub(in crate::session) fn asked(placing: &Placing) -> std::io::Result<Finishing> {
    let link = match &placing.link_to {
        Some(dir) => Some(LinkTo { dir: naming::place(dir)?, mode: placing.link, done: 0 }),
        None => None,
    };
    let unfinished_in = placing.incomplete.as_deref().map(naming::place).transpose()?;
    Ok(Finishing { suffix: placing.suffix.clone(), unfinished_in, link })
}

/// As asked for, from what was recorded.
pub(in crate::session) fn placing(recorded: &Finishing) -> Placing {
    let Finishing { suffix, unfinished_in, link } = recorded.clone();
    let (link_to, link) = link.map(|LinkTo { dir, mode, .. }| (dir, mode)).unzip();
    Placing { suffix, incomplete: unfinished_in, link_to, link: link.unwrap_or_default(), reuse: Vec::new() }
}

/// What holds for files that lie as recorded.
pub(super) fn recorded(options: &AddOptions, record: &Record) -> Result<Finishing, StorageError> {
    let Finishing { suffix, unfinished_in, link } = record.state.finishing.clone();
    if !options.create {
        return Ok(Finishing { suffix, unfinished_in, link });
    }
    let asked = asked_of(options)?;
    Ok(Finishing { suffix: suffix.or(asked.suffix), unfinished_in, link: newer(link, asked.link) })
}

/// What holds, and where to work, when no record says that anything is there.
pub(super) fn look(options: &AddOptions, record: Option<&Record>) -> Result<Work, StorageError> {
    let dir = options.dir.clone();
    if !options.create {
        return Ok(Work { dir, moving_to: None, rules: Finishing::default() });
    }
    let (asked, known) = (asked_of(options)?, record.map(|record| record.state.finishing.clone()));
    let known = known.unwrap_or_default();
    let is_known_away = known.unfinished_in.is_some();
    let rules = Finishing {
        suffix: asked.suffix.or(known.suffix),
        unfinished_in: None,
        link: newer(known.link.map(|link| LinkTo { done: 0, ..link }), asked.link),
    };
    let home = naming::place(&dir).map_err(|cause| StorageError::new(Operation::Open, &dir, None, cause))?;
    let Some(away) = asked.unfinished_in.or(known.unfinished_in).filter(|away| *away != home) else {
        return Ok(Work { dir, moving_to: None, rules });
    };
    let is_home = holds(&home, options, &rules);
    match holds(&away, options, &rules) {
        // Somebody else's, if it was to lie in the other one.
        false if is_home && !is_known_away => Ok(Work { dir, moving_to: None, rules }),
        is_away => Ok(Work {
            dir: away.clone(),
            moving_to: (is_away && is_home).then_some(home),
            rules: Finishing { unfinished_in: Some(away), ..rules },
        }),
    }
}

fn asked_of(options: &AddOptions) -> Result<Finishing, StorageError> {
    asked(&options.placing).map_err(|cause| StorageError::new(Operation::Open, &options.dir, None, cause))
}

/// The links that are asked for; as far as they were made, if they are the same.
fn newer(known: Option<LinkTo>, asked: Option<LinkTo>) -> Option<LinkTo> {
    match (known, asked) {
        (Some(known), Some(asked)) if (&known.dir, known.mode) == (&asked.dir, asked.mode) => Some(known),
        (known, asked) => asked.or(known),
    }
}

/// Whether any file of the torrent is there.
fn holds(dir: &Path, options: &AddOptions, rules: &Finishing) -> bool {
    let file_options = FileOptions { suffix: rules.suffix.clone(), ..FileOptions::default() };
    let opened = FileStorage::open(dir, options.torrent.clone(), file_options);
    opened.is_ok_and(|files| anything(&files, &options.torrent))
}

/// The names that files are to have from the start.
pub(super) fn named(options: &AddOptions) -> Result<FileNames, StorageError> {
    let (layout, mut names) = (options.torrent.layout(), FileNames::default());
    for (index, path) in &options.names {
        let usable = names.usable(layout, *index, path);
        let usable = usable.map_err(|cause| StorageError::new(Operation::Rename, path, None, cause))?;
        names.set(layout, *index, usable);
    }
    Ok(names)
}

/// Takes content of files that lie elsewhere for those that are missing. What cannot be taken is downloaded. Blocks.
pub(super) fn take_in(link: &Arc<Link>, options: &AddOptions, files: &FileStorage, cancel: &AtomicBool) {
    let (meta, placing) = (&options.torrent, &options.placing);
    if placing.reuse.is_empty() || !options.create {
        return;
    }
    let (mut taken, mut bytes, mut failed) = (0, 0, None);
    let found = find_existing(meta, &placing.reuse);
    let wanted = options.files.priorities(meta);
    let is_wanted = |file: usize| wanted.get(file).is_some_and(|priority| *priority != Priority::Skip);
    for existing in found.iter().filter(|existing| is_wanted(existing.file)) {
        if cancel.load(Ordering::Relaxed) {
            return;
        }
        match files.adopt(existing, placing.link) {
            Ok(true) => {
                taken += 1;
                bytes += meta.layout().files().get(existing.file).map_or(0, |file| file.length);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "a file cannot be taken in");
                failed = Some(error);
            }
        }
    }
    if taken > 0 || failed.is_some() {
        link.tell(Event::Reused { torrent: meta.id(), files: taken, bytes, error: failed });
    }
}
