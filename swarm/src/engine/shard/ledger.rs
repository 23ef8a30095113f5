//! Which torrents changed since somebody looked. It costs nothing until somebody does.

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::TorrentId;

use super::Shard;
use crate::engine::changes::{Changes, Columns, Delta};
use crate::engine::looks::look;
use crate::engine::time::Time;

/// A reader that is up to date is told nothing new for this long after the last look: rates and progress would change with
/// every block.
const TICK: Duration = Duration::from_millis(250);
/// Removals that are remembered for readers that are behind.
const REMOVALS: usize = 4096;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Ledger {
    watch: Option<Watch>,
}

struct Watch {
    changes: Changes<TorrentId>,
    /// Torrents whose rates are not zero, and what else of them changed with every block since the last look.
    moving: BTreeMap<usize, Columns>,
    looked: Time,
}

impl Ledger {
    pub(super) fn insert(&mut self, slot: usize, id: TorrentId) {
        if let Some(watch) = &mut self.watch {
            watch.changes.insert(slot, id);
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(watch) = &mut self.watch {
            watch.moving.remove(&slot);
            watch.changes.remove(slot);
        }
    }

    pub(super) fn mark(&mut self, slot: usize, columns: Columns) {
        if let Some(watch) = &mut self.watch {
            watch.changes.mark(slot, columns);
        }
    }

    /// Payload moved; `columns` changed besides the rates.
    pub(super) fn moved(&mut self, slot: usize, columns: Columns) {
        if let Some(watch) = &mut self.watch {
            let changed = watch.moving.entry(slot).or_default();
            *changed = *changed | columns;
        }
    }
}

impl Shard {
    /// Begins to note what changes, with revisions above `first`. Of no effect when that is done already.
    pub(crate) fn watch_changes(&mut self, now: Time, first: u64) {
        if self.ledger.watch.is_some() {
            return;
        }
        let mut changes = Changes::new(first, REMOVALS);
        let mut moving = BTreeMap::new();
        for (slot, torrent) in &self.torrents {
            changes.insert(slot, torrent.id);
            if !(torrent.down_rate.is_idle(now) && torrent.up_rate.is_idle(now)) {
                moving.insert(slot, Columns::NONE);
            }
        }
        self.ledger.watch = Some(Watch { changes, moving, looked: Time::ZERO });
    }

    /// What changed since a revision. [`Shard::watch_changes`] comes first.
    pub(crate) fn changes_since(&mut self, now: Time, revision: u64, columns: Columns) -> Delta<TorrentId> {
        let Self { ledger: Ledger { watch: Some(watch) }, torrents, .. } = self else {
            return Delta { revision, full: false, upserts: Vec::new(), removed: Vec::new() };
        };
        let current = watch.changes.revision();
        if revision == current && watch.looked != Time::ZERO && now < watch.looked + TICK {
            return Delta { revision, full: false, upserts: Vec::new(), removed: Vec::new() };
        }
        watch.looked = now;
        let Watch { changes, moving, .. } = watch;
        moving.retain(|slot, also| {
            look();
            changes.mark(*slot, Columns::RATES | Columns::PEERS | std::mem::take(also));
            // When it stands still, that is told once.
            let torrent = torrents.get(*slot);
            torrent.is_some_and(|t| !(t.down_rate.is_idle(now) && t.up_rate.is_idle(now)))
        });
        changes.since(revision, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::looks::looks;
    use crate::engine::{AddTorrent, Config, Engine};
    use metainfo::Torrent;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::sync::Arc;
    use storage::StoreId;
    use wire::peer::{Bitfield, PeerId};

    fn shard(torrents: u32) -> Shard {
        let mut shard = Shard::new(
            &Config::new(PeerId::new(PeerId::PREFIX, [0; 12])),
            &mut ChaCha8Rng::from_seed([0; 32]),
        );
        shard.watch_changes(Time::ZERO, 1);
        for slot in 0..torrents {
            shard.ledger.insert(slot as usize, id(slot));
        }
        shard
    }

    fn id(slot: u32) -> TorrentId {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&slot.to_be_bytes());
        TorrentId(id)
    }

    #[test]
    fn fifty_thousand_torrents_cost_only_what_changed() {
        let mut shard = shard(50_000);
        let first = shard.changes_since(Time::from_secs(1), 0, Columns::ALL);
        assert_eq!((first.full, first.upserts.len()), (true, 50_000));
        let mut revision = first.revision;
        for second in 2..1000 {
            let slot = second as u32 * 7 % 50_000;
            shard.ledger.moved(slot as usize, Columns::PROGRESS);
            shard.ledger.mark(slot as usize, Columns::FILES);
            let delta = shard.changes_since(Time::from_secs(second), revision, Columns::ALL);
            let changed: Vec<_> = delta.upserts.iter().map(|upsert| upsert.key).collect();
            assert_eq!(changed, [id(slot)]);
            revision = delta.revision;
            assert!(shard.ledger.watch.as_ref().is_some_and(|watch| watch.moving.is_empty()));
        }
    }

    /// A torrent of one byte.
    fn tiny(number: u32) -> Arc<Torrent> {
        let info = format!("d6:lengthi1e4:name8:{number:08}12:piece lengthi16384e6:pieces20:{:020}e", 0);
        Arc::new(Torrent::parse(format!("d4:info{info}e").as_bytes()).expect("a torrent"))
    }

    #[test]
    fn a_reader_of_fifty_thousand_torrents_that_run_looks_at_those_that_changed() {
        const TORRENTS: u32 = 50_000;
        let config = Config::new(PeerId::new(PeerId::PREFIX, [0; 12]));
        let mut engine = Engine::new(config, [0; 32]);
        let keys: Vec<_> = (0..TORRENTS)
            .map(|number| {
                let add = AddTorrent::new(tiny(number), StoreId(number), Bitfield::with_all(1));
                engine.add_torrent(Time::ZERO, add).expect("it is new")
            })
            .collect();
        let look_at = |engine: &mut Engine, second, revision| {
            let before = looks();
            let delta = engine.changes_since(Time::from_secs(second), 1, revision, Columns::ALL);
            (looks() - before, delta)
        };
        let (cost, first) = look_at(&mut engine, 1, 0);
        assert_eq!((first.full, first.upserts.len(), cost), (true, 50_000, 50_000));
        let (cost, same) = look_at(&mut engine, 2, first.revision);
        assert_eq!((cost, same.upserts.len(), same.revision), (0, 0, first.revision));
        let mut revision = first.revision;
        for second in 3..103 {
            // Three of them change, one of these twice.
            let changed =
                [second, 7 * second, 400 * second].map(|at| keys[usize::try_from(at).expect("small")]);
            for key in changed.into_iter().chain([changed[0]]) {
                engine.pause(Time::from_secs(second), key);
                engine.resume(Time::from_secs(second), key);
            }
            let (cost, delta) = look_at(&mut engine, second, revision);
            assert_eq!((delta.full, delta.upserts.len(), delta.removed.len()), (false, 3, 0));
            // In each of six columns those that changed, and the one where it stops.
            assert!(cost <= 6 * (3 + 1), "{cost}");
            revision = delta.revision;
        }
    }

    #[test]
    fn a_reader_that_is_up_to_date_learns_more_with_the_next_tick() {
        let mut shard = shard(3);
        let now = Time::from_secs(1);
        let first = shard.changes_since(now, 0, Columns::ALL);
        shard.ledger.mark(1, Columns::PEERS);
        let soon = shard.changes_since(now + TICK / 2, first.revision, Columns::ALL);
        assert_eq!((soon.revision, soon.upserts.len()), (first.revision, 0));
        let later = shard.changes_since(now + TICK, first.revision, Columns::ALL);
        assert_eq!(later.upserts.len(), 1);
        // Another one that is behind need not wait.
        let behind = shard.changes_since(now + TICK, first.revision, Columns::PEERS);
        assert_eq!(behind.upserts.len(), 1);
    }
}
