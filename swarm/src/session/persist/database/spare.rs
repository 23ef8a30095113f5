//! Spare sheets: what is lost with a database is listed again by them.
//!
//! A spare is written from what the database says, after it was committed, and removed before the record is. So one of a torrent
//! that the database does not know was lost by that, and never removed: it is believed. A program that is killed in between
//! leaves a spare that is late, which [`SPARED`] tells, or a record without one; either is written at the next start.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use metainfo::TorrentId;
use redb::{ReadableDatabase, ReadableTable, Table};
use storage::record::{Damage, Record, State, StoreError, Summary, sum};

use super::{Base, SOURCES, SPARED, STATES, SUMMARIES};

/// Torrents that are listed again in one transaction, and bytes of their sources.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// What is new of a record.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub(super) summary: Option<&'a Summary>,
    pub(super) state: Option<&'a State>,
    /// The sum of its sheet.
    pub(super) source: Option<u32>,
}

/// What was spared of a torrent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums {
    /// Of summary and state; `None` when the record has others by now.
    pub(super) chosen: Option<[u32; 2]>,
    pub(super) source: u32,
}

impl Sums {
    /// Of a record of which everything is there.
    pub(super) fn of(record: &Record) -> Self {
        let source = record.source.as_ref().map_or(0, |source| sum(&source.encode()));
        Self { chosen: Some([record.summary.spare_sum(), record.state.spare_sum()]), source }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let all = [self.source].into_iter().chain(self.chosen.into_iter().flatten());
        all.flat_map(u32::to_le_bytes).collect()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(4).map(|four| four.try_into().map_or(0, u32::from_le_bytes));
        let source = numbers.next()?;
        Some(Self { chosen: numbers.next().zip(numbers.next()).map(|(a, b)| [a, b]), source })
    }
}

impl Base {
    /// Lists torrents again that the database lost, and finds those without a spare.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let listed = self.summaries()?;
        let spares = match self.spares.ids() {
            Ok(spares) => spares,
            Err(error) => {
                self.set_aside().push(error);
                return Ok(());
            }
        };
        let mut known = BTreeSet::new();
        for (id, summary) in listed {
            let Ok(torrent) = id[..].try_into().map(TorrentId) else { continue };
            match summary {
                Err(damage) if !damage.is_newer() => {
                    if spares.contains(&torrent) {
                        let told = self.put_aside(&id, &[SUMMARIES, STATES, SOURCES], damage);
                        self.set_aside().push(told);
                    }
                }
                _ => drop(known.insert(torrent)),
            }
        }
        let cause = self.set_aside().len().checked_sub(1);
        let relisted = self.relist(spares.difference(&known).copied())?;
        if relisted > 0 {
            let mut told = self.set_aside();
            match cause.and_then(|at| told.get_mut(at)) {
                Some(StoreError::Damaged { relisted: count, .. }) => *count = relisted,
                _ => {
                    let path = self.path.clone();
                    told.push(StoreError::Damaged { path, damage: Damage::Lost, aside: None, relisted });
                }
            }
        }
        let spared = self.spared()?;
        let late = known.into_iter().filter(|id| !(spared.contains(&id.0[..]) && spares.contains(id)));
        self.pending().ids.extend(late);
        Ok(())
    }

    /// Takes what is lost of a torrent from its spare. Whether there is one.
    pub(super) fn refill(&self, id: TorrentId) -> Result<bool, StoreError> {
        // Nobody removes it meanwhile.
        let _alone = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(spare) = self.spare(id) else { return Ok(false) };
        tracing::warn!(name = spare.summary.name, "what was lost of a record is taken from its spare sheet");
        self.fill(&[spare])?;
        Ok(true)
    }

    /// Forgets a torrent: its spare first, so that it does not come back.
    pub(super) fn remove(&self, id: TorrentId) -> Result<(), StoreError> {
        let _alone = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        self.spares.remove(id)?;
        let removed = self.write(|transaction| {
            for table in [SUMMARIES, STATES, SOURCES, SPARED] {
                transaction.open_table(table)?.remove(&id.0[..])?;
            }
            Ok(())
        });
        // It stays, and has no spare now.
        removed.inspect_err(|_| {
            self.pending().ids.insert(id);
        })
    }

    /// Sees whether the spare of a torrent that is saved is to be written anew.
    pub(super) fn note(
        &self,
        spared: &mut Table<'_, &'static [u8], &'static [u8]>,
        id: TorrentId,
        change: &Change<'_>,
    ) -> Result<(), redb::Error> {
        let Some(known) = spared.get(&id.0[..])?.and_then(|sums| Sums::read(sums.value())) else {
            self.pending().ids.insert(id);
            return Ok(());
        };
        if let Some([summary, state]) = known.chosen {
            let is_same = change.summary.is_none_or(|new| new.spare_sum() == summary)
                && change.state.is_none_or(|new| new.spare_sum() == state)
                && change.source.is_none_or(|new| new == known.source);
            if is_same {
                return Ok(());
            }
            spared.insert(&id.0[..], &Sums { chosen: None, ..known }.bytes()[..])?;
        }
        self.pending().ids.insert(id);
        Ok(())
    }

    /// Those whose spare is up to date.
    fn spared(&self) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        self.with("read", |database| {
            let (transaction, mut ids) = (database.begin_read()?, BTreeSet::new());
            for entry in transaction.open_table(SPARED)?.iter()? {
                let (id, sums) = entry?;
                if Sums::read(sums.value()).is_some_and(|sums| sums.chosen.is_some()) {
                    ids.insert(id.value().to_vec());
                }
            }
            Ok(ids)
        })
    }

    /// The spare of a torrent. What is wrong with it is told.
    fn spare(&self, id: TorrentId) -> Option<Record> {
        // Its source may be damaged, and is gone then.
        for _ in 0..2 {
            match self.spares.load(id) {
                Ok(spare) => return spare,
                Err(error) => {
                    tracing::warn!(%error, "a spare sheet cannot be used");
                    let is_gone = matches!(error, StoreError::Damaged { aside: Some(_), .. });
                    self.set_aside().push(error);
                    if !is_gone {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Puts torrents into the database by their spares. Gives how many were not there.
    fn relist(&self, lost: impl Iterator<Item = TorrentId>) -> Result<usize, StoreError> {
        let (mut relisted, mut batch, mut bytes) = (0, Vec::new(), 0);
        for spare in lost.filter_map(|id| self.spare(id)) {
            bytes += match &spare.source {
                Some(storage::record::Source::Torrent(file)) => file.len(),
                _ => 0,
            };
            batch.push(spare);
            if batch.len() == BATCH || bytes > BATCH_BYTES {
                relisted += self.fill(&std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        Ok(relisted + if batch.is_empty() { 0 } else { self.fill(&batch)? })
    }

    /// Puts into the database what it does not have of these. Gives how many torrents it did not have at all.
    fn fill(&self, spares: &[Record]) -> Result<usize, StoreError> {
        let new = Cell::new(0);
        self.write(|transaction| {
            new.set(0);
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut states = transaction.open_table(STATES)?;
            let mut sources = transaction.open_table(SOURCES)?;
            let mut spared = transaction.open_table(SPARED)?;
            for spare in spares {
                let id = spare.key().id.0;
                let id = &id[..];
                let known = summaries.get(id)?.map(|there| Summary::decode(there.value()));
                let is_new = known.is_none();
                match known {
                    Some(Ok(summary)) if states.get(id)?.is_none() => {
                        let state = State { generation: summary.generation, ..spare.state.clone() };
                        states.insert(id, &state.encode()[..])?;
                    }
                    Some(_) => {}
                    None => {
                        new.set(new.get() + 1);
                        summaries.insert(id, &spare.summary.encode()[..])?;
                        states.insert(id, &spare.state.encode()[..])?;
                    }
                }
                if let Some(source) = &spare.source
                    && sources.get(id)?.is_none()
                {
                    sources.insert(id, &source.encode()[..])?;
                    if is_new {
                        spared.insert(id, &Sums::of(spare).bytes()[..])?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(new.get())
    }
}
