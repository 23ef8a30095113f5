//! What is asked of the database: to list, load, save and remove records.

use std::ffi::OsString;
use std::path::Path;

use metainfo::TorrentId;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table};
use storage::record::{
    Damage, Key, Lease, Listing, Record, Source, State, Store, StoreError, Summary, is_newer,
};

use super::{RedbStore, SOURCES, STATES, SUMMARIES};

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = self.with("read", |database| {
            let mut listing = Listing::default();
            let transaction = database.begin_read()?;
            let table = transaction.open_table(SUMMARIES)?;
            for entry in table.iter()? {
                let (id, value) = entry?;
                let decoded = Summary::decode(value.value()).and_then(|summary| {
                    if summary.hashes.id().0[..] == *id.value() { Ok(summary) } else { Err(Damage::Broken) }
                });
                match decoded {
                    Ok(summary) => listing.summaries.push(summary),
                    Err(damage) => {
                        let path = self.name("record", id.value());
                        listing.problems.push(StoreError::Damaged { path, damage, aside: None });
                    }
                }
            }
            let (expected, got) = (table.len()?, listing.summaries.len() + listing.problems.len());
            if expected != got as u64 {
                return Err(redb::Error::Corrupted(format!("expected {expected} summaries, got {got}")));
            }
            Ok(listing)
        })?;
        listing.problems.extend(self.set_aside().iter().cloned());
        Ok(listing)
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let (id, before) = (&key.id.0[..], self.set_aside().len());
        let summary = self.read(SUMMARIES, id)?;
        let (state, source) = (self.read(STATES, id)?, self.read(SOURCES, id)?);
        let Some(summary) = self.told(before, summary)? else { return Ok(None) };
        // Without a summary nobody knows the folder.
        let summary = Summary::decode(&summary)
            .map_err(|damage| self.put_aside(id, &[SUMMARIES, STATES, SOURCES], damage))?;
        let state = match state.map(|bytes| State::decode(&bytes)) {
            // It was set aside. Of no pieces, so that all that is on the disk is checked.
            None => Ok(State { generation: summary.generation, ..State::new(0) }),
            Some(Ok(state)) if state.generation != summary.generation => Err(Damage::Mixed),
            Some(decoded) => decoded,
        };
        let state = state.map_err(|damage| self.put_aside(id, &[STATES], damage))?;
        let source = source.map(|bytes| Source::decode(&bytes)).transpose();
        let source = source.map_err(|damage| self.put_aside(id, &[SOURCES], damage))?;
        let record = Record { summary, state, source };
        Ok((record.key() == *key).then_some(record))
    }

    fn elsewhere(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        let id = &key.id.0[..];
        match self.read(SUMMARIES, id)?.map(|bytes| Summary::decode(&bytes)) {
            Some(Ok(summary)) => Ok(Some(summary).filter(|summary| summary.dir != key.dir)),
            Some(Err(damage)) if damage.is_newer() => {
                Err(StoreError::Damaged { path: self.name("record", id), damage, aside: None })
            }
            // Nobody can say of what folder it was.
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let before = self.set_aside().len();
        self.write(|transaction| {
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut states = transaction.open_table(STATES)?;
            let mut sources = transaction.open_table(SOURCES)?;
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
                if let Some(source) = &record.source {
                    sources.insert(id, source.encode().as_slice())?;
                }
            }
            Ok(())
        })?;
        // It is kept; what was lost is to be known.
        self.told(before, ())
    }

    fn load_summary(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        let id = &key.id.0[..];
        let summary = self.read(SUMMARIES, id)?.map(|bytes| Summary::decode(&bytes)).transpose();
        let summary = summary.map_err(|damage| StoreError::Damaged {
            path: self.name("record", id),
            damage,
            aside: None,
        })?;
        Ok(summary.filter(|summary| summary.dir == key.dir))
    }

    fn save_summaries(&self, summaries: Vec<Summary>) -> Result<(), StoreError> {
        let before = self.set_aside().len();
        self.write(|transaction| {
            let mut table = transaction.open_table(SUMMARIES)?;
            for summary in &summaries {
                let id = summary.hashes.id().0;
                let known = table.get(&id[..])?.and_then(|there| Summary::decode(there.value()).ok());
                let is_same =
                    |known: &Summary| (known.generation, &known.dir) == (summary.generation, &summary.dir);
                if known.as_ref().is_some_and(is_same) {
                    table.insert(&id[..], summary.encode().as_slice())?;
                }
            }
            Ok(())
        })?;
        self.told(before, ())
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.write(|transaction| {
            for table in [SUMMARIES, STATES, SOURCES] {
                transaction.open_table(table)?.remove(&key.id.0[..])?;
            }
            Ok(())
        })
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
