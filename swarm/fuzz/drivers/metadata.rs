//! Plays what peers say of an info dictionary, true or not, to the machine that fetches it, and checks what it may never do:
//! ask for what a peer cannot have, blame who said nothing wrong, take anything but the dictionary, or wait for good beside
//! somebody honest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metainfo::{InfoHashV1, InfoHashV2, InfoHashes};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use swarm::engine::metadata::{Fetch, MAX_SIZE, Output, PIECE, pieces_of};
use swarm::engine::time::Time;

/// Bytes of the right dictionary: three pieces.
const SIZE: u64 = 2 * PIECE as u64 + 100;
/// Requests that may wait at a peer.
const OUTSTANDING: usize = 2;
/// After so long a request does not count any more.
const PATIENCE: Duration = Duration::from_secs(8);
/// Whoever is honest beside those who say nothing any more is heard within this time.
const LIMIT: Duration = Duration::from_secs(3600);
/// Connections, and who is behind them: some come back by another one.
const PEERS: u8 = 12;
const SENDERS: u8 = 8;
/// The honest one.
const HONEST: u8 = 200;

/// Plays `data`.
///
/// # Panics
/// When the machine breaks a rule.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let Some(first) = bytes.next() else { return };
    let mut game = Game::new(first);
    while !game.done && game.step(&mut bytes).is_some() {
        game.settle();
    }
    game.end();
}

struct Peer {
    size: u64,
    asked: Vec<(u32, Time)>,
    /// Requests that it did not answer, however long ago they were made: what it sends late counts, too.
    owed: Vec<u32>,
}

impl Peer {
    fn new(size: u64) -> Self {
        Self { size, asked: Vec::new(), owed: Vec::new() }
    }

    /// It answers one request for a piece, or not; whether there was one.
    fn pays(&mut self, piece: u32) -> bool {
        let at = self.owed.iter().position(|other| *other == piece);
        at.map(|at| self.owed.swap_remove(at)).is_some()
    }
}

struct Game {
    fetch: Fetch<u8, u8>,
    right: Vec<u8>,
    now: Time,
    peers: BTreeMap<u8, Peer>,
    liars: BTreeSet<u8>,
    done: bool,
}

impl Game {
    fn new(first: u8) -> Self {
        let right: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        let (v1, v2) = (InfoHashV1(Sha1::digest(&right).into()), InfoHashV2(Sha256::digest(&right).into()));
        let hashes = match first % 3 {
            0 => InfoHashes::v1_only(v1),
            1 => InfoHashes::v2_only(v2),
            _ => InfoHashes::hybrid(v1, v2),
        };
        Self {
            fetch: Fetch::new(hashes),
            right,
            now: Time::from_secs(1),
            peers: BTreeMap::new(),
            liars: BTreeSet::new(),
            done: false,
        }
    }

    fn step(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        let (what, value) = (bytes.next()?, bytes.next()?);
        let key = value % PEERS;
        match what % 10 {
            0 | 1 => self.add(key, value / PEERS),
            2 => {
                self.peers.remove(&key);
                self.fetch.remove_peer(self.now, key);
            }
            3 => self.pass(Duration::from_millis(u64::from(value) * 100)),
            4 => {
                if let Some(next) = self.fetch.next_timeout(self.now) {
                    self.pass(next - self.now);
                }
            }
            5 => {
                let piece = u32::from(value / PEERS);
                self.take(key, piece);
                self.fetch.handle_reject(self.now, key, piece);
            }
            6 => {
                // A piece that it was perhaps not asked for.
                let piece = u32::from(value / PEERS);
                let was_asked = self.take(key, piece);
                if was_asked {
                    self.liars.insert(key % SENDERS);
                }
                _ = self.fetch.handle_data(self.now, key, piece, None, &[7; PIECE]);
            }
            7 => {
                let heaviest = self.fetch.weights(self.now).max_by_key(|weight| weight.held);
                if let Some(weight) = heaviest {
                    self.fetch.shed(self.now, &weight);
                }
            }
            _ => self.answer(key, value / PEERS),
        }
        Some(())
    }

    fn add(&mut self, key: u8, shape: u8) {
        let sizes = [SIZE, SIZE, SIZE, SIZE + 1, SIZE - 100, 1, MAX_SIZE, MAX_SIZE + 1, 0, u64::MAX];
        let size = sizes[usize::from(shape) % sizes.len()];
        let taken = self.fetch.add_peer(self.now, key, key % SENDERS, size);
        assert_eq!(taken, (1..=MAX_SIZE).contains(&size));
        if taken {
            self.peers.entry(key).or_insert(Peer::new(size));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.fetch.handle_timeout(self.now);
    }

    /// Forgets that a peer was asked for a piece; whether it was.
    fn take(&mut self, key: u8, piece: u32) -> bool {
        self.peers.get_mut(&key).is_some_and(|peer| {
            peer.asked.retain(|(other, _)| *other != piece);
            peer.pays(piece)
        })
    }

    /// A peer answers a request, as this says.
    fn answer(&mut self, key: u8, shape: u8) {
        let Some(peer) = self.peers.get_mut(&key).filter(|peer| !peer.asked.is_empty()) else { return };
        let (piece, _) = peer.asked[usize::from(shape / 8) % peer.asked.len()];
        // Of two requests for a piece, the later one is answered.
        let answered = peer.asked.iter().rposition(|(other, _)| *other == piece);
        answered.map(|at| peer.asked.remove(at));
        peer.pays(piece);
        let size = peer.size;
        let start = u64::from(piece) * PIECE as u64;
        let len = (size - start).min(PIECE as u64) as usize;
        let right: Vec<u8> =
            self.right.iter().copied().skip(start as usize).chain(std::iter::repeat(0)).take(len).collect();
        let (total, data) = match shape % 8 {
            0..4 => (Some(size), right),
            4 => (None, right),
            5 => (Some(size), vec![9; len]),
            6 => (Some(size), right[1..].to_vec()),
            _ => (Some(size + 1), right),
        };
        if shape % 8 > 4 || size != SIZE {
            self.liars.insert(key % SENDERS);
        }
        let known = self.fetch.handle_data(self.now, key, piece, total, &data);
        assert!(known.is_ok(), "it was asked for");
    }

    /// Takes all outputs, and checks each.
    fn settle(&mut self) {
        while let Some(output) = self.fetch.poll() {
            match output {
                Output::Request { peer, piece } => {
                    let now = self.now;
                    let asked = self.peers.get_mut(&peer).expect("somebody who is there");
                    assert!(piece < pieces_of(asked.size), "a piece that it has");
                    asked.asked.retain(|(_, at)| *at + PATIENCE > now);
                    asked.asked.push((piece, now));
                    asked.owed.push(piece);
                    assert!(asked.asked.len() <= OUTSTANDING, "{peer} is asked for too much");
                }
                Output::Guilty(who) => {
                    assert!(self.liars.contains(&who), "{who} is blamed for nothing");
                    self.peers.retain(|key, _| *key == HONEST || key % SENDERS != who);
                }
                Output::Contradiction => panic!("the hashes are of one dictionary"),
                Output::Done(info) => {
                    assert!(info.to_bytes() == self.right, "something else");
                    self.done = true;
                }
            }
        }
        let held: usize = self.fetch.weights(self.now).map(|weight| weight.held).sum();
        assert_eq!(held, self.fetch.held_bytes());
        assert!(!self.done || held == 0);
        assert!(self.fetch.next_timeout(self.now).is_none_or(|at| at > self.now), "due, but nothing came");
    }

    /// All fall silent, and somebody honest comes.
    fn end(mut self) {
        if self.done {
            return;
        }
        let until = self.now + LIMIT;
        self.fetch.add_peer(self.now, HONEST, HONEST, SIZE);
        self.peers.insert(HONEST, Peer::new(SIZE));
        self.settle();
        while !self.done {
            assert!(self.now < until, "one honest peer is not enough");
            if self.peers[&HONEST].asked.is_empty() {
                let next = self.fetch.next_timeout(self.now).expect("something to wait for");
                self.pass(next - self.now);
            } else {
                self.answer(HONEST, 0);
            }
            self.settle();
        }
    }
}
