//! Who is asked for what, and what became of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use metainfo::InfoHashes;

use super::assembly::Assembly;
use super::courses::{Course, Courses, Want};
use super::digest::Fit;
use super::{
    Flood, HASHED_AT_ONCE, LONGEST_REST, MAX_SIZE, MOST_LATE, MOST_SUSPECTS, MOST_UNASKED, OUTSTANDING,
    Output, PATIENCE, Progress, REST, len_of,
};
use crate::engine::time::Time;

/// From one bit of hashing to the next, so that others have their turn in between.
const BREATH: Duration = Duration::from_micros(1);

/// The fetch of one info dictionary.
///
/// `K` names a connection; it may name another one once it was removed. `W` names who sent something, also after the
/// connection ended.
///
/// - Inputs: [`add_peer`](Self::add_peer) once a peer said a size, [`remove_peer`](Self::remove_peer),
///   [`handle_data`](Self::handle_data), [`handle_reject`](Self::handle_reject), [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll`](Self::poll) until it gives nothing, then wait until [`next_timeout`](Self::next_timeout).
///
/// No input costs more than hashing half a mebibyte: what is left is hashed at the next timeout.
#[derive(Debug)]
pub struct Fetch<K, W> {
    hashes: InfoHashes,
    peers: BTreeMap<K, Peer<W>>,
    courses: Courses<W>,
    /// Who sent a part of what did not match.
    suspects: BTreeSet<W>,
    outputs: VecDeque<Output<K, W>>,
    done: bool,
}

/// What a dictionary costs that is not all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight<W> {
    /// Bytes that are held.
    pub held: usize,
    /// How long it goes on, at the pace it has.
    pub left: Duration,
    course: Course<W>,
}

#[derive(Debug)]
struct Peer<W> {
    who: W,
    size: u64,
    asked: Vec<Asked<W>>,
    rests_until: Time,
    failures: u32,
    unasked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Asked<W> {
    course: Course<W>,
    /// The assembly, as a course may have another one later.
    name: u64,
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
            courses: Courses::new(),
            suspects: BTreeSet::new(),
            outputs: VecDeque::new(),
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

    /// A peer is gone. What it sent stays, for as long as others go on with it.
    pub fn remove_peer(&mut self, now: Time, key: K) {
        let Some(peer) = self.peers.remove(&key) else { return };
        peer.asked.iter().for_each(|asked| self.release(asked));
        let received = |(_, assembly): &(&Course<W>, &Assembly<W>)| assembly.received();
        let farthest = self.courses.open.iter().max_by_key(received).map(|(course, _)| *course);
        self.courses.open.retain(|course, _| match course {
            Course::Alone(who) => self.peers.values().any(|peer| peer.who == *who),
            // The size that is farthest on may be the right one.
            Course::Shared(size) => {
                farthest == Some(*course) || self.peers.values().any(|peer| peer.size == *size)
            }
        });
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
            let assembly = self.courses.open.get_mut(&asked.course);
            if let Some(assembly) = assembly.filter(|assembly| assembly.name == asked.name) {
                assembly.insert(asked.piece, who, data);
                self.hash();
            }
        } else {
            peer.rest(now);
            self.release(&asked);
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
        self.release(&asked);
        self.ask(now);
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut given_up = Vec::new();
        for peer in self.peers.values_mut() {
            let before = given_up.len();
            for asked in peer.asked.iter_mut().filter(|asked| !asked.late && asked.at + PATIENCE <= now) {
                given_up.push(*asked);
                asked.late = true;
            }
            if given_up.len() > before {
                peer.rest(now);
                let late = peer.asked.len() - peer.waiting();
                let mut surplus = late.saturating_sub(MOST_LATE);
                peer.asked.retain(|asked| {
                    let is_dropped = asked.late && surplus > 0;
                    surplus -= usize::from(is_dropped);
                    !is_dropped
                });
            }
        }
        given_up.iter().for_each(|asked| self.release(asked));
        self.hash();
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
        if self.courses.open.values().any(|assembly| assembly.lags()) {
            return Some(now + BREATH);
        }
        let patience = self.peers.values().flat_map(|peer| &peer.asked).filter(|asked| !asked.late);
        let patience = patience.map(|asked| asked.at + PATIENCE);
        let rested = self.peers.values().map(|peer| peer.rests_until);
        let idle = self.peers.values().any(|peer| peer.waiting() < OUTSTANDING);
        let hastened = self.courses.open.values().filter(|_| idle).filter_map(|assembly| assembly.hastens());
        let turns = self.courses.next_timeout(now);
        patience.chain(hastened).chain(rested).chain(turns).filter(|at| *at > now).min()
    }

    /// What is there so far.
    pub fn progress(&self) -> Progress {
        let farthest = self.courses.open.values().max_by_key(|assembly| assembly.received());
        let pieces = farthest.map(|assembly| assembly.pieces());
        let have = farthest.map_or(0, |assembly| assembly.received());
        Progress { have, pieces, peers: self.peers.len() }
    }

    /// Bytes held of what is not checked yet.
    pub fn held_bytes(&self) -> usize {
        self.courses.open.values().map(|assembly| assembly.held()).sum()
    }

    /// The dictionaries that are not all there, as far as they hold anything.
    pub fn weights(&self, now: Time) -> impl Iterator<Item = Weight<W>> {
        let holds = self.courses.open.iter().filter(|(_, assembly)| assembly.held() > 0);
        holds.map(move |(course, a)| Weight { held: a.held(), left: a.left(now), course: *course })
    }

    /// Parts with a dictionary, as memory is short. Who is asked for it is asked anew some seconds later.
    pub fn shed(&mut self, now: Time, weight: &Weight<W>) {
        self.courses.shed(now, weight.course);
        self.ask(now);
    }

    // ---- inside

    /// Hashes some of what came, and judges what is whole.
    fn hash(&mut self) {
        let mut left = HASHED_AT_ONCE;
        for assembly in self.courses.open.values_mut().filter(|assembly| assembly.lags()) {
            left -= assembly.hash(left);
        }
        while let Some(course) =
            self.courses.open.iter().find(|(_, a)| a.is_hashed()).map(|(course, _)| *course)
        {
            self.judge(course);
        }
    }

    fn judge(&mut self, course: Course<W>) {
        let Some(assembly) = self.courses.open.remove(&course) else { return };
        let senders = assembly.senders();
        match assembly.judge(&self.hashes) {
            (Fit::All, info) => return self.end(Output::Done(info)),
            // Nobody can make up what has one of them: whoever sent it is honest.
            (Fit::One, _) => return self.end(Output::Contradiction),
            (Fit::None, _) => {}
        }
        if senders.len() > 1 {
            if self.suspects.len() + senders.len() > MOST_SUSPECTS {
                self.suspects.retain(|who| self.peers.values().any(|peer| peer.who == *who));
            }
            return self.suspects.extend(senders);
        }
        for guilty in senders {
            self.suspects.remove(&guilty);
            self.courses.forget(&Course::Alone(guilty));
            let gone: Vec<K> = self.peers.iter().filter(|(_, p)| p.who == guilty).map(|(k, _)| *k).collect();
            let removed: Vec<_> = gone.iter().filter_map(|key| self.peers.remove(key)).collect();
            removed.iter().flat_map(|peer| &peer.asked).for_each(|asked| self.release(asked));
            self.outputs.push_back(Output::Guilty(guilty));
        }
    }

    /// There is nothing more to do.
    fn end(&mut self, with: Output<K, W>) {
        self.done = true;
        self.peers.clear();
        self.courses = Courses::new();
        self.outputs.clear();
        self.outputs.push_back(with);
    }

    /// A request was not answered: others may have its piece. Those that are late were released when they became so.
    fn release(&mut self, asked: &Asked<W>) {
        let assembly = self.courses.open.get_mut(&asked.course).filter(|_| !asked.late);
        if let Some(assembly) = assembly.filter(|assembly| assembly.name == asked.name) {
            assembly.release(asked.piece);
        }
    }

    /// Gives every peer that has room something to do.
    fn ask(&mut self, now: Time) {
        if self.done {
            return;
        }
        self.courses.arrange(now, &self.hashes, &self.wanted(now));
        for (key, peer) in &mut self.peers {
            if peer.rests_until > now {
                continue;
            }
            let course = course_of(&self.suspects, peer);
            let Some(assembly) = self.courses.open.get_mut(&course) else { continue };
            if assembly.size != peer.size {
                continue;
            }
            let name = assembly.name;
            while peer.waiting() < OUTSTANDING {
                let has = |piece: u32| peer.asked.iter().any(|a| (a.name, a.piece) == (name, piece));
                let Some(piece) = assembly.next(now, has) else { break };
                peer.asked.push(Asked { course, name, piece, at: now, late: false });
                self.outputs.push_back(Output::Request { peer: *key, piece });
            }
        }
    }

    /// What the peers that may be asked are to be asked for.
    fn wanted(&self, now: Time) -> BTreeMap<Course<W>, Want> {
        let mut wanted = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| peer.rests_until <= now) {
            let course = course_of(&self.suspects, peer);
            wanted.entry(course).or_insert(Want { size: peer.size, peers: 0 }).peers += 1;
        }
        wanted
    }

    /// Requests of a peer whose answers are taken.
    #[cfg(test)]
    pub(super) fn open_requests(&self, key: K) -> usize {
        self.peers.get(&key).map_or(0, |peer| peer.asked.len())
    }

    /// The room that all dictionaries have, in bytes.
    #[cfg(test)]
    pub(super) fn set_room(&mut self, room: u64) {
        self.courses.set_room(room);
    }
}

/// Suspects are heard alone.
fn course_of<W: Copy + Ord>(suspects: &BTreeSet<W>, peer: &Peer<W>) -> Course<W> {
    if suspects.contains(&peer.who) { Course::Alone(peer.who) } else { Course::Shared(peer.size) }
}
