//! A torrent that no session runs, by its record.

use std::path::Path;
use std::sync::Arc;

use metainfo::{Torrent, TorrentId};
use storage::record::resume::judge;
use storage::record::{Finishing, Key, Lease, Store};
use storage::{FileStorage, OpenFiles, Operation, StorageError};

use super::begin;
use super::foreign;
use super::kept::Kept;
use super::naming::{self, lease_names, lease_with_names};
use super::opening;
use crate::session::at_rest::described;
use crate::session::finishing::Finish;
use crate::session::options::{AddError, AddOptions};

/// What is needed to change where its files are.
pub(in crate::session) struct Rest {
    pub(in crate::session) meta: Arc<Torrent>,
    pub(in crate::session) files: Arc<FileStorage>,
    pub(in crate::session) kept: Arc<Kept>,
    pub(in crate::session) finish: Option<Arc<Finish>>,
}

/// Takes it. Blocks.
pub(in crate::session) fn at_rest(
    store: Arc<dyn Store>,
    id: TorrentId,
    meta: Option<Arc<Torrent>>,
    dir: &Path,
) -> Result<Rest, AddError> {
    let home = naming::place(dir).map_err(|cause| StorageError::new(Operation::Open, dir, None, cause))?;
    let key = Key { id, dir: home.clone() };
    let lease = store.lease(&key)?;
    let mut record = store.load(&key)?.ok_or(AddError::NotRecorded(id))?;
    let meta = meta.or_else(|| described(&record)).ok_or(AddError::NotRecorded(id))?;
    if record.summary.flags.no_metadata || record.summary.hashes != *meta.info_hashes() {
        return Err(AddError::NotRecorded(id));
    }
    let options = AddOptions::seed(meta.clone(), &home);
    let (files, rules) = opening::open(&Arc::new(OpenFiles::new(16)), &options, Some(&mut record), true)?;
    let away = rules.unfinished_in.as_ref();
    let lease = Lease::new((lease, lease_names(&*store, &key, Some(&files), &meta)?));
    let away =
        away.map(|away| lease_with_names(&*store, &Key { dir: away.clone(), ..key }, Some(&files), &meta));
    let away = away.transpose()?;
    // The record is written anew with stamps of the files as they are, so what is not known of them is doubted from now on.
    let looks = begin::Looks::at(&files, Some(&record));
    let judged = judge(&record, &meta, &looks.stamps, &looks.unseen);
    // As the files are named now, if a rename was killed.
    record.state.created = files.created();
    foreign::own_just_made(Some(&record), &files, &meta, &looks.stamps);
    foreign::disown_changed(&record, &files, &meta, &looks.stamps, &judged.changed);
    record.state.created = files.created();
    record.state.births =
        foreign::births(&files, (&record.state.stamps, &record.state.births), &looks.kept, PartialEq::eq);
    record.state.pieces = judged.have;
    record.state.doubtful = judged.doubtful;
    record.state.partial = judged.partial;
    record.state.stamps = looks.kept;
    record.source = None;
    let finish = (rules != Finishing::default()).then(|| Finish::new(home, rules));
    let files = Arc::new(files);
    let kept = Kept::new(store, files.clone(), meta.clone(), record, [Some(lease), away]);
    Ok(Rest { meta, files, kept: Arc::new(kept), finish })
}
