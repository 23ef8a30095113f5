//! Fetching a torrent's info dictionary from peers (BEP 9), and how much of it is given to one of them.
//!
//! Nothing that a peer says of the dictionary can be checked before all of it is there: neither its size nor a piece.
//! So claims are kept apart, and what turns out wrong leads to those who said it:
//!
//! ```text
//!                       hash right
//!   shared, by size  --------------> done
//!        |                            ^
//!        | hash wrong, one sender     | hash right
//!        |------> it is guilty <------+--------- alone, one for each suspect
//!        |                      hash wrong         ^
//!        +-----------------------------------------+
//!          hash wrong, several senders: all are suspects
//! ```
//!
//! Peers that claim the same size fill one assembly together; other sizes have assemblies of their own. After a wrong
//! hash its senders are asked again, but each for the whole dictionary: the honest ones among them prove
//! themselves, the others are found guilty, and those that never took part go on together. No number of liars keeps
//! one honest peer from being heard.

mod assembly;
mod quota;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metainfo::InfoHashes;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use self::assembly::Assembly;
pub use self::quota::{Answer, Quota};
use super::time::Time;

/// Bytes of the largest info dictionary that is fetched (64 MiB, what a torrent file may have).
pub const MAX_SIZE: u64 = metainfo::MAX_SIZE as u64;
/// Bytes of a piece of the info dictionary; the last one may be shorter (BEP 9).
pub const PIECE: usize = 16 << 10;

/// Requests that wait at one peer: its answers fill its link, and what it does not answer holds little up.
const OUTSTANDING: usize = 2;
/// A request that was not answered for so long is asked of others only; a late answer is still taken.
const PATIENCE: Duration = Duration::from_secs(8);
/// Late requests of one peer whose answers are still taken.
const MOST_LATE: usize = 8;
/// Peers that may be asked for the same piece at once, when nothing else is left to ask for.
const ASKERS: u32 = 2;
/// One more of them after each such time.
const HASTE: Duration = Duration::from_millis(500);
/// How long a peer is left alone that did not answer, rejected, or contradicted itself; doubles each time.
const REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(120);
/// Sizes that are fetched at a time.
const MOST_SHARED: usize = 4;
/// Suspects that are heard at a time.
const MOST_ALONE: usize = 3;
/// With more to try than that, each has so long at least.
const TURN: Duration = Duration::from_secs(60);
/// Suspects that are remembered.
const MOST_SUSPECTS: usize = 1024;
/// Bytes held in all assemblies.
const MOST_HELD: usize = 96 << 20;
/// Bytes that were never asked for, after which a peer is to go.
const MOST_UNASKED: usize = 1 << 20;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K, W> {
    /// Ask this peer for a piece.
    Request {
        /// Whom.
        peer: K,
        /// Which piece.
        piece: u32,
    },
    /// The info dictionary is there and matches every hash. Nothing more follows.
    Done(Arc<[u8]>),
    /// It alone sent a dictionary that does not match. It is forgotten; do not add it again.
    Guilty(W),
}

/// What is there so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pieces received, of the size that is farthest on.
    pub have: u32,
    /// Pieces of that size; `None` when nobody said a size.
    pub pieces: Option<u32>,
    /// Peers that say to have it.
    pub peers: usize,
}

/// The peer sent over a mebibyte that nobody asked it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// The fetch of one info dictionary.
///
/// `K` names a connection; it may name another one once it was removed. `W` names who sent something, also after the
/// connection ended.
///
/// - Inputs: [`add_peer`](Self::add_peer) once a peer said a size, [`remove_peer`](Self::remove_peer),
///   [`handle_data`](Self::handle_data), [`handle_reject`](Self::handle_reject), [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll`](Self::poll) until it gives nothing, then wait until [`next_timeout`](Self::next_timeout).
#[derive(Debug)]
pub struct Fetch<K, W> {
    hashes: InfoHashes,
    peers: BTreeMap<K, Peer<W>>,
    assemblies: Vec<Assembly<K, W>>,
    /// Who sent a part of what did not match, and how often.
    suspects: BTreeMap<W, u32>,
    outputs: VecDeque<Output<K, W>>,
    /// Names the next assembly.
    next_name: u64,
    done: bool,
}

#[derive(Debug)]
struct Peer<W> {
    who: W,
    size: u64,
    asked: Vec<Asked>,
    rests_until: Time,
    failures: u32,
    unasked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    assembly: u64,
    piece: u32,
    at: Time,
    late: bool,
}

impl<W> Peer<W> {
    fn waiting(&self) -> usize {
        self.asked.iter().filter(|asked| !asked.late).count()
    }

    fn rest(&mut self, now: Time) {
        let rest = REST.saturating_mul(1 << self.failures.min(8)).min(LONGEST_REST);
        self.failures = self.failures.saturating_add(1);
        self.rests_until = now + rest;
    }
}

impl<K: Copy + Ord, W: Copy + Ord> Fetch<K, W> {
    /// Nobody was asked yet.
    pub fn new(hashes: InfoHashes) -> Self {
        Self {
            hashes,
            peers: BTreeMap::new(),
            assemblies: Vec::new(),
            suspects: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_name: 0,
            done: false,
        }
    }

    /// A peer says to have the dictionary, of so many bytes (`metadata_size`). Of a peer that is known nothing changes;
    /// a size that cannot be is not taken. Whether it is known now.
    pub fn add_peer(&mut self, now: Time, key: K, who: W, size: u64) -> bool {
        if self.done || size == 0 || size > MAX_SIZE {
            return false;
        }
        let new = Peer { who, size, asked: Vec::new(), rests_until: now, failures: 0, unasked: 0 };
        self.peers.entry(key).or_insert(new);
        self.ask(now);
        true
    }

    /// A peer is gone. What it sent stays.
    pub fn remove_peer(&mut self, now: Time, key: K) {
        let Some(peer) = self.peers.remove(&key) else { return };
        for asked in peer.asked {
            self.release(asked);
        }
        self.assemblies.retain(|assembly| assembly.alone != Some(key));
        self.ask(now);
    }

    /// A piece came.
    ///
    /// # Errors
    /// When the peer goes on sending what was not asked for.
    pub fn handle_data(
        &mut self,
        now: Time,
        key: K,
        piece: u32,
        total: Option<u64>,
        data: &[u8],
    ) -> Result<(), Flood> {
        let Some(peer) = self.peers.get_mut(&key).filter(|_| !self.done) else { return Ok(()) };
        let Some(at) = peer.asked.iter().rposition(|asked| asked.piece == piece) else {
            peer.unasked = peer.unasked.saturating_add(data.len());
            return if peer.unasked > MOST_UNASKED { Err(Flood) } else { Ok(()) };
        };
        let asked = peer.asked.remove(at);
        let fits = total.is_none_or(|total| total == peer.size) && data.len() == len_of(peer.size, piece);
        if fits {
            (peer.failures, peer.rests_until) = (0, now);
            let who = peer.who;
            self.take(asked, who, data);
        } else {
            peer.rest(now);
            self.release(asked);
        }
        self.ask(now);
        Ok(())
    }

    /// A peer does not give a piece.
    pub fn handle_reject(&mut self, now: Time, key: K, piece: u32) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(at) = peer.asked.iter().position(|asked| asked.piece == piece) else { return };
        let asked = peer.asked.remove(at);
        peer.rest(now);
        self.release(asked);
        self.ask(now);
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut given_up = Vec::new();
        for peer in self.peers.values_mut() {
            let before = given_up.len();
            for asked in peer.asked.iter_mut().filter(|asked| !asked.late && asked.at + PATIENCE <= now) {
                asked.late = true;
                given_up.push(*asked);
            }
            if given_up.len() > before {
                peer.rest(now);
                let late = peer.asked.len() - peer.waiting();
                let mut surplus = late.saturating_sub(MOST_LATE);
                peer.asked.retain(|asked| !asked.late || std::mem::take(&mut surplus) == 0);
            }
        }
        for asked in given_up {
            self.release(asked);
        }
        self.ask(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output<K, W>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), after now.
    pub fn next_timeout(&self, now: Time) -> Option<Time> {
        if self.done {
            return None;
        }
        let patience = self.peers.values().flat_map(|peer| &peer.asked).filter(|asked| !asked.late);
        let patience = patience.map(|asked| asked.at + PATIENCE);
        let rested = self.peers.values().map(|peer| peer.rests_until);
        let idle = self.peers.values().any(|peer| peer.waiting() < OUTSTANDING);
        let hastened = self.assemblies.iter().filter(|_| idle).filter_map(Assembly::hastens);
        let turns = self.assemblies.iter().map(|assembly| assembly.since + TURN);
        patience.chain(hastened).chain(rested).chain(turns).filter(|at| *at > now).min()
    }

    /// What is there so far.
    pub fn progress(&self) -> Progress {
        let farthest = self.assemblies.iter().max_by_key(|assembly| assembly.received());
        let pieces = farthest.map(Assembly::pieces);
        Progress { have: farthest.map_or(0, Assembly::received), pieces, peers: self.peers.len() }
    }

    /// Bytes held of what is not checked yet.
    pub fn held_bytes(&self) -> usize {
        self.assemblies.iter().map(Assembly::held).sum()
    }

    // ---- inside

    /// Puts a piece where it was asked for; checks the whole once it is there.
    fn take(&mut self, asked: Asked, who: W, data: &[u8]) {
        let Some(at) = self.assemblies.iter().position(|assembly| assembly.name == asked.assembly) else {
            return;
        };
        let held = self.held_bytes();
        if !self.assemblies[at].insert(asked.piece, who, data) {
            return;
        }
        if self.assemblies[at].is_whole() {
            let assembly = self.assemblies.remove(at);
            return self.check(assembly);
        }
        if held + data.len() > MOST_HELD {
            let heaviest = (0..self.assemblies.len()).max_by_key(|at| self.assemblies[*at].held());
            self.assemblies.remove(heaviest.unwrap_or(at));
        }
    }

    fn check(&mut self, assembly: Assembly<K, W>) {
        let senders = assembly.senders();
        let info = assembly.into_bytes();
        if matches(&self.hashes, &info) {
            self.done = true;
            self.peers.clear();
            self.assemblies.clear();
            self.outputs.clear();
            return self.outputs.push_back(Output::Done(info.into()));
        }
        if let [guilty] = senders.iter().copied().collect::<Vec<_>>()[..] {
            self.suspects.remove(&guilty);
            let gone: Vec<K> = self.peers.iter().filter(|(_, p)| p.who == guilty).map(|(k, _)| *k).collect();
            let removed: Vec<_> = gone.iter().filter_map(|key| self.peers.remove(key)).collect();
            removed.into_iter().flat_map(|peer| peer.asked).for_each(|asked| self.release(asked));
            self.assemblies.retain(|assembly| assembly.alone.is_none_or(|key| !gone.contains(&key)));
            return self.outputs.push_back(Output::Guilty(guilty));
        }
        for who in senders {
            if self.suspects.len() < MOST_SUSPECTS || self.suspects.contains_key(&who) {
                *self.suspects.entry(who).or_default() += 1;
            }
        }
    }

    /// A request was not answered: others may have its piece.
    fn release(&mut self, asked: Asked) {
        if let Some(assembly) = self.assemblies.iter_mut().find(|assembly| assembly.name == asked.assembly) {
            assembly.release(asked.piece);
        }
    }

    /// Gives every peer that has room something to do.
    fn ask(&mut self, now: Time) {
        if self.done {
            return;
        }
        self.open_alone(now);
        self.open_shared(now);
        for (key, peer) in &mut self.peers {
            let is_suspect = self.suspects.contains_key(&peer.who);
            let mine = |assembly: &&mut Assembly<K, W>| match assembly.alone {
                Some(alone) => alone == *key,
                None => !is_suspect && assembly.size == peer.size,
            };
            let Some(assembly) = self.assemblies.iter_mut().find(mine) else { continue };
            while peer.waiting() < OUTSTANDING && peer.rests_until <= now {
                let name = assembly.name;
                let has = |piece: u32| peer.asked.iter().any(|a| (a.assembly, a.piece) == (name, piece));
                let Some(piece) = assembly.next(now, has) else { break };
                peer.asked.push(Asked { assembly: assembly.name, piece, at: now, late: false });
                self.outputs.push_back(Output::Request { peer: *key, piece });
            }
        }
    }

    /// Hears suspects, each alone; those that failed least first.
    fn open_alone(&mut self, now: Time) {
        if self.suspects.is_empty() {
            return;
        }
        let (peers, suspects) = (&self.peers, &self.suspects);
        let resting = |key: &K| peers.get(key).is_none_or(|peer| peer.rests_until > now);
        let mut waiting: Vec<(u32, u32, K)> = peers
            .iter()
            .filter_map(|(key, peer)| Some((*suspects.get(&peer.who)?, peer.failures, *key)))
            .filter(|(_, _, key)| !resting(key) && !self.assemblies.iter().any(|a| a.alone == Some(*key)))
            .collect();
        waiting.sort_unstable();
        let mut wanting = waiting.len();
        // Whoever sits on its turn gives it to the next.
        self.assemblies.retain(|assembly| {
            let Some(key) = assembly.alone else { return true };
            let over = wanting > 0 && (resting(&key) || assembly.since + TURN <= now);
            wanting -= usize::from(over);
            !over
        });
        let open = self.assemblies.iter().filter(|assembly| assembly.alone.is_some()).count();
        for (_, _, key) in waiting.into_iter().take(MOST_ALONE.saturating_sub(open)) {
            let size = self.peers.get(&key).map_or(0, |peer| peer.size);
            self.open(now, size, Some(key));
        }
    }

    /// Opens assemblies for the sizes that most peers claim.
    fn open_shared(&mut self, now: Time) {
        let willing = self.peers.values().filter(|peer| peer.rests_until <= now);
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for peer in willing.filter(|peer| !self.suspects.contains_key(&peer.who)) {
            *votes.entry(peer.size).or_default() += 1;
        }
        let open: BTreeSet<u64> =
            self.assemblies.iter().filter(|a| a.alone.is_none()).map(|a| a.size).collect();
        let mut wanted: Vec<(usize, u64)> =
            votes.iter().filter(|(size, _)| !open.contains(size)).map(|(size, n)| (*n, *size)).collect();
        wanted.sort_unstable_by_key(|(votes, size)| (std::cmp::Reverse(*votes), *size));
        let mut count = open.len();
        for (support, size) in wanted {
            if count >= MOST_SHARED {
                let shared = self.assemblies.iter().enumerate().filter(|(_, a)| a.alone.is_none());
                let votes_of = |a: &Assembly<K, W>| votes.get(&a.size).copied().unwrap_or_default();
                let Some((at, weakest)) = shared.min_by_key(|(_, a)| (votes_of(a), a.since)) else { return };
                if votes_of(weakest) >= support && weakest.since + TURN > now {
                    return;
                }
                self.assemblies.remove(at);
                count -= 1;
            }
            self.open(now, size, None);
            count += 1;
        }
    }

    fn open(&mut self, now: Time, size: u64, alone: Option<K>) {
        self.next_name += 1;
        self.assemblies.push(Assembly::new(self.next_name, size, alone, now));
    }
}

/// Whether an info dictionary has all the hashes that its torrent is known by.
pub fn matches(hashes: &InfoHashes, info: &[u8]) -> bool {
    let v1 = hashes.v1().is_none_or(|v1| Sha1::digest(info)[..] == v1.0);
    v1 && hashes.v2().is_none_or(|v2| Sha256::digest(info)[..] == v2.0)
}

/// Pieces of an info dictionary of so many bytes.
pub fn pieces_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PIECE as u64)).unwrap_or(u32::MAX)
}

/// Bytes of a piece of an info dictionary; zero past its end.
fn len_of(size: u64, piece: u32) -> usize {
    let left = size.saturating_sub(u64::from(piece) * PIECE as u64);
    usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)
}
