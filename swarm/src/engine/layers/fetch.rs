//! Who is asked for what, and what became of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use metainfo::LackingLayer;
use metainfo::merkle::Hash;
use wire::peer::HashRequest;

use super::plan::Plan;
use super::{
    FORGOTTEN, Flood, LONGEST_REST, MOST_LATE, MOST_REJECTS, MOST_SHUNNED, MOST_UNASKED, OUTSTANDING, Output,
    PATIENCE, Progress, REST,
};
use crate::engine::time::Time;

/// The fetch of the piece layers of one torrent.
///
/// `K` names a connection; it may name another one once it was removed. `W` names who sent something, also after the
/// connection ended.
///
/// - Inputs: [`add_peer`](Self::add_peer) of a peer that speaks v2 and knows the torrent, [`remove_peer`](Self::remove_peer),
///   [`handle_hashes`](Self::handle_hashes), [`handle_reject`](Self::handle_reject), [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll`](Self::poll) until it gives nothing, then wait until [`next_timeout`](Self::next_timeout).
///
/// No input costs more than some 550 hashes. All memory is taken at the start; see [`cost`](super::cost).
#[derive(Debug)]
pub struct Fetch<K, W> {
    plan: Plan,
    /// Requests from here on were made of nobody.
    next: u32,
    /// Earlier ones that wait for a peer again.
    again: BTreeSet<u32>,
    peers: BTreeMap<K, Peer<W>>,
    outputs: VecDeque<Output<K, W>>,
    is_done: bool,
}

#[derive(Debug)]
struct Peer<W> {
    who: W,
    asked: Vec<Asked>,
    /// What it rejected, and until when it is not asked for that again.
    shunned: VecDeque<(u32, Time)>,
    rests_until: Time,
    /// In a row.
    failures: u32,
    unasked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    request: u32,
    at: Time,
    late: bool,
}

impl<W> Peer<W> {
    fn waiting(&self) -> usize {
        self.asked.iter().filter(|asked| !asked.late).count()
    }

    /// It did not give what it was asked for.
    fn fail(&mut self, now: Time, request: u32) {
        let rest = rest(self.failures);
        self.failures = self.failures.saturating_add(1);
        if self.shunned.len() >= MOST_SHUNNED {
            self.shunned.pop_front();
        }
        self.shunned.push_back((request, now + rest));
        if self.failures >= MOST_REJECTS {
            self.rests_until = now + rest;
        }
    }

    fn may_be_asked(&self, request: u32) -> bool {
        let is_asked = self.asked.iter().any(|asked| asked.request == request);
        !is_asked && self.shunned.iter().all(|(shunned, _)| *shunned != request)
    }
}

fn rest(failures: u32) -> Duration {
    REST.saturating_mul(1 << failures.min(8)).min(LONGEST_REST)
}

impl<K: Copy + Ord, W: Copy + Ord> Fetch<K, W> {
    /// Nobody was asked yet. `None` when layers like these cannot be.
    pub fn new(lacking: Vec<LackingLayer>) -> Option<Self> {
        let mut fetch = Self {
            plan: Plan::new(lacking)?,
            next: 0,
            again: BTreeSet::new(),
            peers: BTreeMap::new(),
            outputs: VecDeque::new(),
            is_done: false,
        };
        fetch.end();
        Some(fetch)
    }

    /// A peer that knows the torrent and speaks v2. Of one that is there nothing changes.
    pub fn add_peer(&mut self, now: Time, key: K, who: W) {
        if self.is_done {
            return;
        }
        let new = Peer {
            who,
            asked: Vec::new(),
            shunned: VecDeque::new(),
            rests_until: now,
            failures: 0,
            unasked: 0,
        };
        self.peers.entry(key).or_insert(new);
        self.ask(now);
    }

    /// A peer is gone. What it sent is proven, and stays.
    pub fn remove_peer(&mut self, now: Time, key: K) {
        let Some(peer) = self.peers.remove(&key) else { return };
        self.forget_outputs(key);
        self.release(&peer.asked);
        self.ask(now);
    }

    /// Hashes came.
    ///
    /// # Errors
    /// When the peer goes on sending what was not asked for.
    pub fn handle_hashes(
        &mut self,
        now: Time,
        key: K,
        request: &HashRequest,
        hashes: &[Hash],
    ) -> Result<(), Flood> {
        if self.is_done {
            return Ok(());
        }
        let Some(asked) = self.take_asked(key, request) else {
            let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
            peer.unasked = peer.unasked.saturating_add(size_of_val(hashes) + size_of::<HashRequest>());
            return if peer.unasked > MOST_UNASKED { Err(Flood) } else { Ok(()) };
        };
        if !self.plan.fits(asked.request, hashes) {
            // It may count proofs in another way: others are asked.
            self.failed(now, key, asked);
        } else if self.plan.take(asked.request, hashes) {
            self.again.remove(&asked.request);
            if let Some(peer) = self.peers.get_mut(&key) {
                (peer.failures, peer.rests_until) = (0, now);
            }
            self.end();
        } else {
            self.release(&[asked]);
            self.condemn(key);
        }
        self.ask(now);
        Ok(())
    }

    /// A peer does not give hashes.
    pub fn handle_reject(&mut self, now: Time, key: K, request: &HashRequest) {
        if let Some(asked) = self.take_asked(key, request) {
            self.failed(now, key, asked);
            self.ask(now);
        }
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut given_up = Vec::new();
        for peer in self.peers.values_mut() {
            peer.asked.retain(|asked| asked.at + FORGOTTEN > now);
            let before = given_up.len();
            for asked in peer.asked.iter_mut().filter(|asked| !asked.late && asked.at + PATIENCE <= now) {
                asked.late = true;
                given_up.push(*asked);
            }
            if given_up.len() > before {
                peer.rests_until = now + rest(peer.failures);
                peer.failures = peer.failures.saturating_add(1);
                let late = peer.asked.len() - peer.waiting();
                let mut surplus = late.saturating_sub(MOST_LATE);
                peer.asked.retain(|asked| {
                    let is_dropped = asked.late && surplus > 0;
                    surplus -= usize::from(is_dropped);
                    !is_dropped
                });
            }
        }
        self.release(&given_up);
        self.ask(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output<K, W>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), after now.
    pub fn next_timeout(&self, now: Time) -> Option<Time> {
        if self.is_done {
            return None;
        }
        let asked = self.peers.values().flat_map(|peer| &peer.asked);
        let patience = asked.map(|asked| asked.at + if asked.late { FORGOTTEN } else { PATIENCE });
        let rested = self.peers.values().map(|peer| peer.rests_until);
        let shunned = self.peers.values().flat_map(|peer| peer.shunned.iter().map(|(_, until)| *until));
        patience.chain(rested).chain(shunned).filter(|at| *at > now).min()
    }

    /// What is there so far.
    pub fn progress(&self) -> Progress {
        let peers = self.peers.values().filter(|peer| peer.failures == 0).count();
        Progress { have: self.plan.have(), requests: self.plan.requests(), peers }
    }

    // ---- inside

    fn take_asked(&mut self, key: K, request: &HashRequest) -> Option<Asked> {
        let peer = self.peers.get_mut(&key)?;
        let is_it = |asked: &Asked| self.plan.request(asked.request).as_ref() == Some(request);
        let at = peer.asked.iter().rposition(is_it)?;
        Some(peer.asked.remove(at))
    }

    fn failed(&mut self, now: Time, key: K, asked: Asked) {
        self.release(&[asked]);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.fail(now, asked.request);
        }
    }

    fn forget_outputs(&mut self, key: K) {
        self.outputs.retain(|output| !matches!(output, Output::Request { peer, .. } if *peer == key));
    }

    /// Others may be asked for it.
    fn release(&mut self, asked: &[Asked]) {
        for asked in asked {
            let waits = |peer: &Peer<W>| peer.asked.iter().any(|a| a.request == asked.request && !a.late);
            if !self.plan.is_there(asked.request) && !self.peers.values().any(waits) {
                self.again.insert(asked.request);
            }
        }
    }

    /// Forgets a liar, by whatever connections it is there.
    fn condemn(&mut self, key: K) {
        let Some(guilty) = self.peers.get(&key).map(|peer| peer.who) else { return };
        let gone: Vec<K> = self.peers.iter().filter(|(_, p)| p.who == guilty).map(|(k, _)| *k).collect();
        let removed: Vec<_> = gone.iter().filter_map(|key| self.peers.remove(key)).collect();
        gone.iter().for_each(|key| self.forget_outputs(*key));
        removed.iter().for_each(|peer| self.release(&peer.asked));
        self.outputs.push_back(Output::Guilty(guilty));
    }

    /// Ends when all is there.
    fn end(&mut self) {
        if !self.is_done && self.plan.have() == self.plan.requests() {
            self.is_done = true;
            self.peers.clear();
            self.outputs.retain(|output| matches!(output, Output::Guilty(_)));
            self.outputs.push_back(Output::Done(self.plan.finish()));
        }
    }

    /// Gives every peer that has room something to do, one request each in turn.
    fn ask(&mut self, now: Time) {
        if self.is_done {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.shunned.retain(|(_, until)| *until > now);
        }
        for waiting in 0..OUTSTANDING {
            for (key, peer) in &mut self.peers {
                if peer.rests_until > now || peer.waiting() > waiting {
                    continue;
                }
                let again = self.again.iter().copied().find(|request| peer.may_be_asked(*request));
                let fresh = || Some(self.next).filter(|next| *next < self.plan.requests());
                let Some(number) = again.or_else(fresh) else { continue };
                let Some(request) = self.plan.request(number) else { continue };
                if again.is_some() {
                    self.again.remove(&number);
                } else {
                    self.next += 1;
                }
                peer.asked.push(Asked { request: number, at: now, late: false });
                self.outputs.push_back(Output::Request { peer: *key, request });
            }
        }
    }
}
