//! What is asked of the database: to list, load, save and remove records.

use std::ffi::OsString;
use std::path::Path;

use metainfo::TorrentId;
use redb::{ReadableTable, Table};
use storage::record::{
    Damage, Key, Lease, Listing, Record, Source, State, Store, StoreError, Summary, is_newer, sum,
};

use super::spare::Change;
use super::{RedbStore, SOURCES, SPARED, STATES, SUMMARIES};

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let base = &self.base;
        let mut listing = Listing::default();
        for (id, summary) in base.summaries()? {
            match summary {
                Ok(summary) => listing.summaries.push(summary),
                Err(damage) => {
                    listing.problems.push(StoreError::damaged(base.name("record", &id), damage, None));
                }
            }
        }
        listing.problems.extend(base.set_aside().iter().cloned());
        Ok(listing)
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let base = &self.base;
        let (id, before) = (&key.id.0[..], base.set_aside().len());
        let read = || Ok((base.read(SUMMARIES, id)?, base.read(STATES, id)?, base.read(SOURCES, id)?));
        let mut sheets = base.told(before, read()?)?;
        // Nothing is lost of one that is not known: what is removed has no spare.
        if (sheets.0.is_none() || sheets.1.is_none() || sheets.2.is_none()) && base.refill(key.id)? {
            sheets = read()?;
        }
        let (Some(summary), state, source) = sheets else { return Ok(None) };
        // Without a summary nobody knows the folder.
        let summary = Summary::decode(&summary)
            .map_err(|damage| base.put_aside(id, &[SUMMARIES, STATES, SOURCES], damage))?;
        let state = match state.map(|bytes| State::decode(&bytes)) {
            // It was set aside. Of no pieces, so that all that is on the disk is checked.
            None => Ok(State { generation: summary.generation, ..State::new(0) }),
            Some(Ok(state)) if state.generation != summary.generation => Err(Damage::Mixed),
            Some(decoded) => decoded,
        };
        let state = state.map_err(|damage| base.put_aside(id, &[STATES], damage))?;
        let source = source.map(|bytes| Source::decode(&bytes)).transpose();
        let source = source.map_err(|damage| base.put_aside(id, &[SOURCES], damage))?;
        let record = Record { summary, state, source };
        Ok((record.key() == *key).then_some(record))
    }

    fn elsewhere(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        let id = &key.id.0[..];
        match self.base.read(SUMMARIES, id)?.map(|bytes| Summary::decode(&bytes)) {
            Some(Ok(summary)) => Ok(Some(summary).filter(|summary| summary.dir != key.dir)),
            Some(Err(damage)) if damage.is_newer() => {
                Err(StoreError::damaged(self.base.name("record", id), damage, None))
            }
            // Nobody can say of what folder it was.
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let before = self.base.set_aside().len();
        self.base.write(|transaction| {
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut states = transaction.open_table(STATES)?;
            let mut sources = transaction.open_table(SOURCES)?;
            let mut spared = transaction.open_table(SPARED)?;
            for record in records {
                let id = record.key().id.0;
                let id = &id[..];
                let replaces_newer = there_is_newer(&summaries, id)?
                    || there_is_newer(&states, id)?
                    || record.source.is_some() && there_is_newer(&sources, id)?;
                if replaces_newer {
                    tracing::warn!(
                        name = record.summary.name,
                        "a newer program wrote this record; it is left alone"
                    );
                    continue;
                }
                summaries.insert(id, record.summary.encode().as_slice())?;
                states.insert(id, record.state.encode().as_slice())?;
                let mut change =
                    Change { summary: Some(&record.summary), state: Some(&record.state), source: None };
                if let Some(source) = &record.source {
                    let source = source.encode();
                    change.source = Some(sum(&source));
                    sources.insert(id, source.as_slice())?;
                }
                self.base.note(&mut spared, record.key().id, &change)?;
            }
            Ok(())
        })?;
        self.base.start();
        // It is kept; what was lost is to be known.
        self.base.told(before, ())
    }

    fn load_summary(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        let id = &key.id.0[..];
        let summary = self.base.read(SUMMARIES, id)?.map(|bytes| Summary::decode(&bytes)).transpose();
        let damaged = |damage| StoreError::damaged(self.base.name("record", id), damage, None);
        let summary = summary.map_err(damaged)?;
        Ok(summary.filter(|summary| summary.dir == key.dir))
    }

    fn save_summaries(&self, summaries: Vec<Summary>) -> Result<(), StoreError> {
        let before = self.base.set_aside().len();
        self.base.write(|transaction| {
            let mut table = transaction.open_table(SUMMARIES)?;
            let mut spared = transaction.open_table(SPARED)?;
            for summary in &summaries {
                let id = summary.hashes.id().0;
                let known = table.get(&id[..])?.and_then(|there| Summary::decode(there.value()).ok());
                let is_same =
                    |known: &Summary| (known.generation, &known.dir) == (summary.generation, &summary.dir);
                if known.as_ref().is_some_and(is_same) {
                    table.insert(&id[..], summary.encode().as_slice())?;
                    let change = Change { summary: Some(summary), ..Change::default() };
                    self.base.note(&mut spared, summary.hashes.id(), &change)?;
                }
            }
            Ok(())
        })?;
        self.base.start();
        self.base.told(before, ())
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.base.remove(key.id)
    }

    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        self.leases.as_ref().map_or_else(|| Ok(Lease::free()), |leases| leases.lease(key))
    }

    fn lease_all(&self, wanted: &[(Key, Vec<OsString>)]) -> Vec<Result<Lease, StoreError>> {
        match &self.leases {
            Some(leases) => leases.lease_all(wanted),
            None => wanted.iter().map(|_| Ok(Lease::free())).collect(),
        }
    }

    fn lease_names(&self, id: TorrentId, dir: &Path, names: &[OsString]) -> Result<Lease, StoreError> {
        let leases = self.leases.as_ref();
        leases.map_or_else(|| Ok(Lease::free()), |leases| leases.lease_names(id, dir, names))
    }
}

fn there_is_newer(table: &Table<'_, &'static [u8], &'static [u8]>, id: &[u8]) -> Result<bool, redb::Error> {
    Ok(table.get(id)?.is_some_and(|there| is_newer(there.value())))
}
