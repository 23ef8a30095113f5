//! Opening a torrent's files where its record says that they are, and nowhere else in their place.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use storage::record::{FileStamp, Finishing, Record, State};
use storage::{FileOptions, FileStorage, OpenFiles, Operation, RootId, Stamp, StorageError};

use super::placing::{self, Work};
use crate::session::options::AddOptions;

/// Opens the recorded folder, or another one if that is asked for; the record then says nothing of what is in it. At rest
/// the recorded one counts also when nothing in it is recorded. Gives the rules for complete files too.
pub(super) fn open(
    open_files: &Arc<OpenFiles>,
    options: &AddOptions,
    record: Option<&mut Record>,
    is_at_rest: bool,
) -> Result<(FileStorage, Finishing), StorageError> {
    let meta = &options.torrent;
    let file_options = |record: Option<&Record>, rules: &Finishing| -> Result<FileOptions, StorageError> {
        Ok(FileOptions {
            allocation: options.allocation,
            uncached: options.verify && options.create,
            open_files: open_files.clone(),
            created: record.map(|record| record.state.created.clone()).unwrap_or_default(),
            names: match record {
                Some(record) => names(&record.state.choices.names).collect(),
                None => placing::named(options)?,
            },
            renaming: record.map(|record| names(&record.state.renaming).collect()).unwrap_or_default(),
            moving_to: moving_to(options, record)?,
            suffix: rules.suffix.clone(),
            skipped: if options.create { options.files.left_out(meta) } else { Vec::new() },
        })
    };
    let mut known = None;
    if let Some(record) = record {
        let claims = record.claims_anything();
        if let Some(folder) = record.summary.folder.filter(|_| is_at_rest || claims) {
            // A folder that was made anew would be filled beside the one that is missing just now.
            let rules = placing::recorded(options, record)?;
            let dir = rules.unfinished_in.as_ref().unwrap_or(&record.summary.dir);
            let file_options = file_options(Some(record), &rules)?;
            let expected = RootId::from(folder);
            let opened = FileStorage::open_expecting(dir, &expected, meta.clone(), file_options.clone());
            let opened = opened.and_then(|files| match !claims || is_known(&files, record, &expected)? {
                true => Ok(files),
                false => Err(files.other_place()),
            });
            match opened {
                Err(error) if error.is_gone() && options.new_folder => forget_files(&mut record.state),
                // What is in the goal of a move counts as moved, and is found there.
                Err(error)
                    if (options.create || is_at_rest)
                        && file_options.moving_to.is_some()
                        && was_deleted(options, record, &error) =>
                {
                    return Ok((FileStorage::create(dir, meta.clone(), file_options)?, rules));
                }
                Err(error) if error.is_gone() && !claims => {}
                opened => return Ok((opened?, rules)),
            }
        }
        known = Some(&*record);
    }
    let Work { dir, moving_to, rules } = placing::look(options, known)?;
    let file_options = file_options(known, &rules)?;
    let file_options = FileOptions { moving_to: file_options.moving_to.or(moving_to), ..file_options };
    let open = if options.create { FileStorage::create } else { FileStorage::open };
    Ok((open(&dir, meta.clone(), file_options)?, rules))
}

/// Whether a folder is the recorded one: for sure, or because a file of the torrent is in it with the length and time that were
/// recorded. Where folders have no lasting number files may have none.
fn is_known(files: &FileStorage, record: &Record, folder: &RootId) -> Result<bool, StorageError> {
    let look = |stamp: FileStamp| (stamp.len, stamp.mtime);
    let is_there = |(then, now): (&Option<FileStamp>, Option<Stamp>)| {
        then.is_some_and(|then| then.len > 0 && now.is_some_and(|now| look(then) == look(now.into())))
    };
    let is_any = || record.state.stamps.iter().zip(files.file_stamps()).any(is_there);
    Ok(folder.is_same(&files.root_id()?) || is_any())
}

/// Whether the folder that a record speaks of is gone because it was deleted, and not with its disk.
pub(super) fn was_deleted(options: &AddOptions, record: &Record, error: &StorageError) -> bool {
    let Some(folder) = record.summary.folder.filter(|_| error.is_gone()) else { return false };
    let Ok(rules) = placing::recorded(options, record) else { return false };
    let dir = rules.unfinished_in.as_ref().unwrap_or(&record.summary.dir);
    *dir == error.path && FileStorage::was_deleted(dir, &folder.into())
}

/// Where the files were being moved to. A folder that is not there may hold files that are not to be fetched again.
fn moving_to(options: &AddOptions, record: Option<&Record>) -> Result<Option<PathBuf>, StorageError> {
    let Some((state, to)) = record.and_then(|record| Some((&record.state, record.state.moving_to.as_ref()?)))
    else {
        return Ok(None);
    };
    let is_goal = |now: &RootId| state.goal.is_none_or(|goal| !RootId::from(goal).is_other(now));
    let why = match RootId::of(to) {
        Ok(now) if is_goal(&now) => return Ok(Some(to.clone())),
        Ok(_) => "another folder is in the place of the one that the torrent was being moved to",
        Err(_) => "the torrent was being moved there",
    };
    if options.new_folder {
        return Ok(None);
    }
    let cause = std::io::Error::new(ErrorKind::NotConnected, why);
    Err(StorageError::new(Operation::Open, to, None, cause))
}

fn names(recorded: &[(u32, PathBuf)]) -> impl Iterator<Item = (usize, String)> {
    recorded.iter().map(|(index, path)| (*index as usize, path.to_string_lossy().into_owned()))
}

pub(super) fn forget_files(state: &mut State) {
    let nothing = State::new(state.pieces.len());
    let State { generation, choices, peers, trackers, finishing, .. } =
        std::mem::replace(state, nothing.clone());
    *state = State { generation, choices, peers, trackers, finishing, ..nothing };
}
