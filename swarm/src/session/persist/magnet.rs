//! The record of a magnet whose metadata are not there yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metainfo::{MAX_MAGNET, Magnet, TorrentId};
use storage::record::{
    Flags, Key, NAME_RULES, Record, Source, State, Store, StoreError, Summary, Times, Totals,
};

use super::{choices, naming, placing, translate};
use crate::engine::{ResumeState, TrackerMemo};
use crate::session::magnet::{MagnetOptions, Noted};
use crate::session::options::AddError;
use crate::session::registry::Registry;
use crate::session::wanted;

/// The record of a magnet. Dropped before it is kept, it is forgotten if it is new.
pub(in crate::session) struct Note {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    key: Key,
    is_new: bool,
    earlier: Earlier,
    options: MagnetOptions,
}

/// What an earlier run learnt.
#[derive(Clone, Default)]
pub(in crate::session) struct Earlier {
    /// How its trackers stood.
    pub(in crate::session) trackers: Vec<TrackerMemo>,
    /// Peers that were worth dialling.
    pub(in crate::session) peers: Vec<SocketAddr>,
}

impl Note {
    /// What an earlier run learnt of it.
    pub(in crate::session) fn earlier(&self) -> Earlier {
        self.earlier.clone()
    }

    /// What to look for, with what was chosen before where nobody chose now.
    pub(in crate::session) fn options(&self) -> MagnetOptions {
        self.options.clone()
    }

    /// The magnet runs.
    pub(in crate::session) fn keep(mut self) -> Key {
        self.is_new = false;
        self.key.clone()
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.is_new {
            return;
        }
        // Whoever gave up is not to wait for a disk. Outside of a runtime it stays, as when somebody adds the torrent just
        // now: a magnet too many is no loss.
        let reserved = self.registry.reserve(self.key.id).ok();
        if let Some((reservation, runtime)) = reserved.zip(tokio::runtime::Handle::try_current().ok()) {
            let (store, key) = (self.store.clone(), self.key.clone());
            runtime.spawn_blocking(move || {
                let _reservation = reservation;
                if let Err(error) = forget(&*store, &key) {
                    tracing::warn!(%error, "a record stays behind");
                }
            });
        }
    }
}

/// Records a magnet and what was chosen for it, unless what it names is known and recorded. `was` is where it was recorded until
/// now. `None` when nothing is to be recorded. Blocks.
pub(in crate::session) fn note(
    store: Arc<dyn Store>,
    registry: &Arc<Registry>,
    options: &MagnetOptions,
    was: Option<&Key>,
) -> Result<Option<Note>, AddError> {
    let Some(dir) = options.dir.as_ref().filter(|_| store.wants_sources()) else { return Ok(None) };
    let hashes = options.magnet.info_hashes;
    let key = sole(&*store, hashes.id(), dir)?;
    let mut known = store.load(&key)?;
    if known.is_none()
        && let Some(was) = was
    {
        known = store.load(was)?.filter(|record| record.summary.flags.no_metadata);
    }
    let is_new = known.is_none();
    let earlier = known.as_ref().map(earlier).unwrap_or_default();
    let is_noted = known.as_ref().filter(|record| record.summary.flags.no_metadata);
    let options = is_noted.map_or_else(|| options.clone(), |record| choices::recall_magnet(options, record));
    if known.as_ref().is_none_or(|record| record.summary.flags.no_metadata) {
        let mut record = known.unwrap_or_else(|| fresh(&options, key.dir.clone()));
        record.summary.dir.clone_from(&key.dir);
        choose(&mut record, &options);
        store.save(&[record])?;
    }
    Ok(Some(Note { store, registry: registry.clone(), key, is_new, earlier, options }))
}

fn earlier(record: &Record) -> Earlier {
    let now = translate::now_ms();
    let trackers = record.state.trackers.iter().map(|tracker| translate::memo(tracker, now)).collect();
    Earlier { trackers, peers: record.state.peers.clone() }
}

/// Writes down how the trackers of a magnet stand and whom it knows, if that is new. Blocks.
pub(in crate::session) fn remember(
    store: &dyn Store,
    key: &Key,
    known: ResumeState,
) -> Result<(), StoreError> {
    let record = store.load(key)?.filter(|record| record.summary.flags.no_metadata);
    let (Some(mut record), now) = (record, translate::now_ms()) else { return Ok(()) };
    let Record { summary, state, .. } = &mut record;
    if translate::are_same(&known.trackers, &state.trackers, now) && known.candidates == state.peers {
        return Ok(());
    }
    state.trackers = known.trackers.into_iter().map(|memo| translate::tracker(memo, now)).collect();
    state.peers = known.candidates;
    state.generation += 1;
    (summary.generation, summary.times.saved) = (state.generation, now);
    store.save(&[record])
}

/// The key of a torrent in this folder, unless a record says what there is of it in another one: that would be lost. Blocks.
pub(in crate::session) fn sole(store: &dyn Store, id: TorrentId, dir: &Path) -> Result<Key, AddError> {
    let place = naming::place(dir).map_err(|cause| StoreError::io("open", dir, cause))?;
    let key = Key { id, dir: place };
    match store.elsewhere(&key)? {
        // Of a magnet nothing is there yet.
        Some(other) if !other.flags.no_metadata => Err(AddError::RecordedElsewhere { id, dir: other.dir }),
        _ => Ok(key),
    }
}

fn fresh(options: &MagnetOptions, dir: PathBuf) -> Record {
    let hashes = options.magnet.info_hashes;
    let summary = Summary {
        generation: 0,
        hashes,
        name: options.magnet.name.clone().unwrap_or_else(|| hashes.id().to_hex()),
        dir,
        folder: None,
        flags: Flags { no_metadata: true, clean: true, ..Flags::default() },
        size: options.magnet.length.unwrap_or(0),
        done: 0,
        totals: Totals::default(),
        times: Times { added: translate::now_ms(), ..Times::default() },
        name_rules: NAME_RULES,
        outline: None,
    };
    Record { summary, state: State::new(0), source: None }
}

/// Writes down what was chosen.
fn choose(record: &mut Record, options: &MagnetOptions) {
    let Record { summary, state, source } = record;
    state.generation += 1;
    summary.generation = state.generation;
    summary.times.saved = translate::now_ms();
    let mut magnet = options.magnet.clone();
    let Noted { select, priorities } = options.files.noted();
    magnet.select = select;
    state.choices.priorities = priorities;
    let names =
        options.names.iter().filter_map(|(file, path)| Some((u32::try_from(*file).ok()?, path.into())));
    state.choices.names = names.collect();
    state.choices.down_limit = options.down_limit;
    state.choices.up_limit = options.up_limit;
    state.choices.allocation = options.allocation;
    state.choices.trackers.clone_from(&options.trackers);
    state.choices.order = wanted::recorded(options.order);
    // What the folders are called is found out again when the torrent is known.
    state.finishing = placing::asked(&options.placing).unwrap_or_default();
    *source = Some(Source::Magnet(fitting(magnet)));
}

/// A link that can be read again: of what is too long for one, the first of its peers, web seeds and trackers.
fn fitting(mut magnet: Magnet) -> String {
    fn halve<T>(list: &mut Vec<T>) -> bool {
        list.truncate(list.len() / 2);
        true
    }
    loop {
        let link = magnet.to_string();
        let is_cut = link.len() > MAX_MAGNET
            && match &mut magnet {
                Magnet { peers, .. } if !peers.is_empty() => halve(peers),
                Magnet { web_seeds, .. } if !web_seeds.is_empty() => halve(web_seeds),
                Magnet { trackers, .. } if !trackers.is_empty() => halve(trackers),
                Magnet { name, .. } => name.take().is_some(),
            };
        if !is_cut {
            return link;
        }
    }
}

/// Forgets it again, unless more is known by now. Blocks.
pub(in crate::session) fn forget(store: &dyn Store, key: &Key) -> Result<(), StoreError> {
    match store.load(key)? {
        Some(record) if record.summary.flags.no_metadata => store.remove(key),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::RedbStore;
    use metainfo::{InfoHashV1, InfoHashes};

    #[test]
    fn what_is_too_long_for_a_link_is_cut_so_that_it_can_be_read() {
        let many = |what: &str, len: usize| -> Vec<String> {
            (0..len).map(|n| format!("http://{what}.test/{n}/{}", "x".repeat(300))).collect()
        };
        let plain = Magnet::new(InfoHashes::v1_only(InfoHashV1([1; 20])));
        let read = |magnet: &Magnet| fitting(magnet.clone()).parse::<Magnet>().unwrap();
        let short = Magnet { trackers: many("tracker", 3), web_seeds: many("seed", 2), ..plain.clone() };
        assert_eq!(read(&short), short);
        let long =
            Magnet { peers: vec![("host".into(), 1); 9], web_seeds: many("seed", 900), ..short.clone() };
        let left = read(&long);
        assert_eq!((&left.trackers, left.peers.len()), (&short.trackers, 0));
        assert!(!left.web_seeds.is_empty() && left.web_seeds[..] == long.web_seeds[..left.web_seeds.len()]);
        let longer = Magnet { trackers: many("tracker", 900), name: Some("ü".repeat(40_000)), ..plain };
        assert_eq!(read(&longer).info_hashes, longer.info_hashes);
    }

    #[tokio::test]
    async fn a_note_of_what_was_given_up_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(dir.path().join("session.redb")).unwrap());
        let magnet = Magnet::new(InfoHashes::v1_only(InfoHashV1([1; 20])));
        let options = MagnetOptions::download(magnet, dir.path());
        let registry = Arc::new(Registry::default());
        let noted = || note(store.clone(), &registry, &options, None).unwrap().unwrap();
        let count = || store.list().unwrap().summaries.len();
        drop(noted());
        while count() > 0 || registry.reserve(options.magnet.info_hashes.id()).is_err() {
            tokio::task::yield_now().await;
        }
        let being_added = registry.reserve(options.magnet.info_hashes.id()).unwrap();
        drop(noted());
        drop(being_added);
        assert_eq!(count(), 1, "somebody else adds it");
        let key = noted().keep();
        // Another attempt found it there.
        drop(noted());
        tokio::task::yield_now().await;
        assert_eq!((count(), store.load(&key).unwrap().is_some()), (1, true));
        forget(&*store, &key).unwrap();
        assert_eq!(count(), 0);
    }
}
