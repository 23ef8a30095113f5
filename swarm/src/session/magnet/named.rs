//! Peers of magnet links that have names (`x.pe`).
//!
//! Looking names up is slow, and a link is what anybody may have made: only some names of one are looked up, all at once, by a
//! resolver that nothing else waits for, and of a torrent no more than those at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::TorrentId;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::session::link::Link;
use crate::session::resolve::Resolver;

/// Names of a torrent that are looked up at a time; what a link names besides is left out.
const MOST_NAMES: usize = 16;
/// Torrents whose names are looked up at a time.
const MOST_TORRENTS: usize = 8;
/// Lookups at a time, of all torrents together.
const MOST_LOOKUPS: usize = 16;

/// A host and its port.
type Name = (String, u16);

/// Names that are to be looked up.
pub(super) struct Named {
    state: Mutex<State>,
    news: Notify,
    resolver: Resolver,
}

#[derive(Default)]
struct State {
    /// Torrents whose turn comes, in order.
    queue: VecDeque<TorrentId>,
    waiting: BTreeMap<TorrentId, BTreeSet<Name>>,
    running: BTreeMap<TorrentId, BTreeSet<Name>>,
}

impl Default for Named {
    fn default() -> Self {
        Self { state: Mutex::default(), news: Notify::new(), resolver: Resolver::with_lookups(MOST_LOOKUPS) }
    }
}

impl Named {
    /// Peers of a torrent have these names.
    pub(super) fn add(&self, id: TorrentId, names: Vec<Name>) {
        if self.state().add(id, names) {
            self.news.notify_one();
        }
    }

    /// A torrent was removed.
    pub(super) fn gone(&self, id: TorrentId) {
        self.state().waiting.remove(&id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anything is new.
    fn add(&mut self, id: TorrentId, names: Vec<Name>) -> bool {
        let running = self.running.get(&id);
        let mut new = names.into_iter().filter(|name| running.is_none_or(|running| !running.contains(name)));
        let Some(first) = new.next() else { return false };
        let waiting = self.waiting.entry(id).or_default();
        if waiting.is_empty() {
            self.queue.push_back(id);
        }
        for name in std::iter::once(first).chain(new) {
            if waiting.len() == MOST_NAMES {
                break;
            }
            waiting.insert(name);
        }
        true
    }

    /// Whose names to look up next. A torrent of which some are being looked up waits.
    fn begin(&mut self) -> Option<(TorrentId, BTreeSet<Name>)> {
        // Of those that are gone the names are, too.
        self.queue.retain(|id| self.waiting.contains_key(id));
        if self.running.len() >= MOST_TORRENTS {
            return None;
        }
        let at = self.queue.iter().position(|id| !self.running.contains_key(id))?;
        let id = self.queue.remove(at)?;
        let names = self.waiting.remove(&id)?;
        self.running.insert(id, names.clone());
        Some((id, names))
    }
}

/// Looks names up for good.
pub(super) async fn run(link: &Arc<Link>) {
    let named = link.magnets.named();
    let mut tasks = JoinSet::new();
    loop {
        loop {
            let Some((id, names)) = named.state().begin() else { break };
            let link = link.clone();
            tasks.spawn(async move {
                look_up(&link, id, names).await;
                id
            });
        }
        tokio::select! {
            () = named.news.notified() => {}
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                // None of them panics.
                if let Ok(id) = ended {
                    named.state().running.remove(&id);
                }
            }
        }
    }
}

/// Looks up names of a torrent, all at once, and tells it of each that is found.
async fn look_up(link: &Arc<Link>, id: TorrentId, names: BTreeSet<Name>) {
    let mut lookups = JoinSet::new();
    for (host, port) in names {
        let resolver = link.magnets.named().resolver.clone();
        lookups.spawn(async move { resolver.lookup(&host, port, None).await });
    }
    while let Some(found) = lookups.join_next().await {
        let Some(entry) = link.registry.get(id) else { return };
        let Ok(Ok(found)) = found else { continue };
        let told = link.ask(move |plane| {
            let now = plane.now();
            plane.engine().add_peers(now, entry.key, &found, Source::Link, Scope::Loopback);
        });
        if told.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TorrentId = TorrentId([1; 20]);
    const TWO: TorrentId = TorrentId([2; 20]);

    fn names(range: std::ops::Range<u16>) -> Vec<Name> {
        range.map(|n| (format!("{n}.example"), 6881)).collect()
    }

    #[test]
    fn some_names_of_a_link_are_looked_up_and_each_once_at_a_time() {
        let mut state = State::default();
        assert!(state.add(ONE, names(0..5000)));
        assert!(state.add(TWO, names(0..2)));
        let (id, first) = state.begin().unwrap();
        assert_eq!((id, first.len()), (ONE, MOST_NAMES));
        let first: Vec<_> = first.into_iter().collect();
        assert!(!state.add(ONE, first.clone()), "they are being looked up");
        assert!(state.add(ONE, names(5000..5003)));
        assert!(state.add(ONE, [first, names(5000..5003)].concat()));
        assert_eq!(state.begin().map(|(id, _)| id), Some(TWO));
        assert_eq!(state.begin(), None, "one at a time of each torrent");
        state.running.remove(&ONE);
        assert_eq!(state.begin(), Some((ONE, names(5000..5003).into_iter().collect())));
        assert_eq!(state.begin(), None);
    }

    #[test]
    fn few_torrents_at_a_time_and_none_that_is_gone() {
        let mut state = State::default();
        for n in 0..20 {
            state.add(TorrentId([n; 20]), names(0..1));
        }
        state.waiting.remove(&TorrentId([0; 20]));
        let begun: Vec<_> = std::iter::from_fn(|| state.begin()).map(|(id, _)| id.0[0]).collect();
        assert_eq!(begun, (1..=MOST_TORRENTS as u8).collect::<Vec<_>>());
        state.running.remove(&TorrentId([3; 20]));
        assert_eq!(state.begin().map(|(id, _)| id.0[0]), Some(MOST_TORRENTS as u8 + 1));
    }
}
