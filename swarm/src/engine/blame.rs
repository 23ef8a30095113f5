//! Who sent the wrong bytes: blame by difference after a piece failed its hash.
//!
//! [`Blame`] keeps, for each piece in progress, which peer sent which block. When a piece fails:
//!
//! - one peer sent all of it: that peer is guilty;
//! - several did: all are suspects, and the [digests](Blame::digests) of the blocks are remembered with their senders. The piece
//!   is fetched again. When it passes, the digests of the right blocks are compared with them: whoever sent
//!   a block that differs is guilty, and the others are cleared of this piece. No peer is guilty by association.
//!
//! A suspect should fetch whole pieces alone from then on, so that the next failure is proof. Piece failures that are
//! due to the disk are [forgotten](Blame::forget), not failed: a read or write error never blames a peer.
//!
//! ```text
//!   received.. received.. failed --> one sender: guilty
//!                           |
//!                           +------> several: digests, then fetched again; received.. passed --> digests --> guilty
//! ```
//!
//! A peer is named by whatever the caller likes that lives long enough: with an address, the guilty are known though they
//! left and came back; with the picker's key, they are known while they stay.
//!
//! Memory is bounded: two bytes a block in progress, and [`MAX_REMEMBERED`] failures with at most [`MAX_DIGESTS`]
//! digests; the oldest are dropped first.

use crate::engine::picker::PeerKey;
use metainfo::{Block, Geometry, PieceIndex};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use storage::Pads;

/// Failures that are remembered at a time.
pub const MAX_REMEMBERED: usize = 64;

/// Digests that are remembered at a time, in all failures together: 1.5 MiB.
pub const MAX_DIGESTS: usize = 65_536;

/// The failures of a piece in which senders are compared; later ones replace the oldest.
const TRIES: usize = 3;

/// Short form of a block's SHA-1: enough to tell a block from another that was not made to collide, and who
/// could make two blocks with equal prefixes gains nothing, as one of them is the right one.
type Digest = [u8; 8];

/// Nobody is known to have sent the block.
const UNKNOWN: u16 = u16::MAX;
/// Nobody has to send the block.
const PADDING: u16 = u16::MAX - 1;

/// What a failed piece, or digests, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<P = PeerKey> {
    /// Who sent wrong bytes, each once, in order.
    pub guilty: Vec<P>,
    /// Digest the blocks of the piece as they are on disk now, before it is written anew, and hand them to
    /// [`Blame::digests`].
    pub needs_digests: bool,
}

/// The senders of the blocks of one piece: an index into `peers` for each.
#[derive(Clone, Debug)]
struct Senders<P> {
    peers: Vec<Option<P>>,
    blocks: Vec<u16>,
}

impl<P: Copy + Ord> Senders<P> {
    fn new(blocks: u32, padding: impl Iterator<Item = Range<u32>>) -> Self {
        let mut blocks = vec![UNKNOWN; blocks as usize];
        for padding in padding {
            blocks[padding.start as usize..padding.end as usize].fill(PADDING);
        }
        Self { peers: Vec::new(), blocks }
    }

    fn set(&mut self, block: u32, peer: P) {
        let known = self.peers.iter().position(|&p| p == Some(peer));
        let index = known.unwrap_or_else(|| {
            self.peers.push(Some(peer));
            self.peers.len() - 1
        });
        if let Some(slot) = self.blocks.get_mut(block as usize) {
            *slot = u16::try_from(index).ok().filter(|index| *index < PADDING).unwrap_or(UNKNOWN);
        }
    }

    fn of(&self, block: usize) -> Option<P> {
        *self.peers.get(usize::from(*self.blocks.get(block)?))?
    }

    /// The peers whose blocks were kept, each once, in order.
    fn all(&self) -> Vec<P> {
        once((0..self.blocks.len()).filter_map(|block| self.of(block)).collect())
    }

    fn complete(&self) -> bool {
        self.blocks.iter().enumerate().all(|(at, index)| *index == PADDING || self.of(at).is_some())
    }

    fn forget(&mut self, peer: P) {
        for slot in self.peers.iter_mut().filter(|slot| **slot == Some(peer)) {
            *slot = None;
        }
    }
}

/// A failure of a piece: what was sent, and by whom.
struct Failure<P> {
    piece: PieceIndex,
    senders: Senders<P>,
    digests: Vec<Digest>,
}

/// The blame ledger of one torrent.
pub struct Blame<P = PeerKey> {
    geometry: Geometry,
    pads: Pads,
    /// Pieces in progress.
    senders: BTreeMap<PieceIndex, Senders<P>>,
    /// Failed pieces of several senders whose digests are awaited.
    awaited: BTreeMap<PieceIndex, Senders<P>>,
    /// Failures with digests, the oldest first.
    failures: VecDeque<Failure<P>>,
    digests: usize,
    /// In how many failures a peer took part without proof.
    suspicion: BTreeMap<P, u32>,
}

impl<P: Copy + Ord> Blame<P> {
    /// A ledger without entries, of a torrent without padding.
    pub fn new(geometry: Geometry) -> Self {
        Self::with_pads(geometry, Pads::default())
    }

    /// A ledger without entries, of a torrent whose padding nobody sends.
    pub fn with_pads(geometry: Geometry, pads: Pads) -> Self {
        Self {
            geometry,
            pads,
            senders: BTreeMap::new(),
            awaited: BTreeMap::new(),
            failures: VecDeque::new(),
            digests: 0,
            suspicion: BTreeMap::new(),
        }
    }

    /// A block was accepted from a peer.
    pub fn received(&mut self, block: Block, peer: P) {
        let piece = block.piece();
        let new = || Senders::new(self.geometry.blocks_in(piece), self.pads.blocks(&self.geometry, piece));
        self.senders.entry(piece).or_insert_with(new).set(block.index(), peer);
    }

    /// The bytes of a piece are to be fetched anew for a reason that is not the peers' (disk errors): forgets who sent
    /// what of them. What is remembered of earlier failures stays.
    pub fn forget(&mut self, piece: PieceIndex) {
        self.senders.remove(&piece);
        self.awaited.remove(&piece);
    }

    /// The hash of a piece did not match, and its bytes were read without error. The only sender is guilty; several are
    /// suspects from now on.
    pub fn failed(&mut self, piece: PieceIndex) -> Verdict<P> {
        let none = Verdict { guilty: Vec::new(), needs_digests: false };
        let Some(senders) = self.senders.remove(&piece) else { return none };
        let all = senders.all();
        if all.len() <= 1 && senders.complete() {
            return Verdict { guilty: all, ..none };
        }
        for &peer in &all {
            *self.suspicion.entry(peer).or_default() += 1;
        }
        if self.awaited.len() >= MAX_REMEMBERED {
            self.awaited.pop_first();
        }
        self.awaited.insert(piece, senders);
        Verdict { needs_digests: true, ..none }
    }

    /// A piece matched its hash. Digests are needed if an earlier try of it is remembered.
    pub fn passed(&mut self, piece: PieceIndex) -> Verdict<P> {
        self.forget(piece);
        let needs_digests = self.failures.iter().any(|failure| failure.piece == piece);
        Verdict { guilty: Vec::new(), needs_digests }
    }

    /// The SHA-1 of each block of a piece, in order, which a verdict asked for; `None` when it could not be read. Of a piece
    /// that failed they are remembered; with those of a piece that passed, the senders of earlier tries are judged: the
    /// guilty are returned, the others cleared of these failures.
    pub fn digests(&mut self, piece: PieceIndex, digests: Option<&[[u8; 20]]>) -> Vec<P> {
        let awaited = self.awaited.remove(&piece);
        match (awaited, digests) {
            (Some(senders), Some(digests)) => {
                self.remember(piece, senders, digests);
                Vec::new()
            }
            (None, Some(digests)) => self.compare(piece, digests),
            (_, None) => Vec::new(),
        }
    }

    fn remember(&mut self, piece: PieceIndex, senders: Senders<P>, digests: &[[u8; 20]]) {
        if digests.len() > MAX_DIGESTS {
            return;
        }
        let mut tries = self.failures.iter().enumerate().filter(|(_, failure)| failure.piece == piece);
        if let Some((oldest, _)) = tries.next()
            && tries.count() + 1 >= TRIES
        {
            self.drop_failure(oldest);
        }
        while self.failures.len() >= MAX_REMEMBERED || self.digests + digests.len() > MAX_DIGESTS {
            self.drop_failure(0);
        }
        self.digests += digests.len();
        let digests = digests.iter().map(short).collect();
        self.failures.push_back(Failure { piece, senders, digests });
    }

    fn compare(&mut self, piece: PieceIndex, digests: &[[u8; 20]]) -> Vec<P> {
        let mut guilty = Vec::new();
        while let Some(at) = self.failures.iter().position(|failure| failure.piece == piece) {
            let Some(failure) = self.drop_failure(at) else { break };
            let pairs = failure.digests.iter().zip(digests).enumerate();
            let wrong = pairs.filter(|(_, (sent, right))| **sent != short(right));
            guilty.extend(wrong.filter_map(|(block, _)| failure.senders.of(block)));
            for peer in failure.senders.all() {
                self.cleared(peer);
            }
        }
        once(guilty)
    }

    /// The hash of a piece did not match, and the torrent has v2 leaf hashes for it (BEP 52): the leaves that were sent and
    /// those that are right, in order. The guilty are known at once, without a second fetch. Instead of
    /// [`failed`](Blame::failed).
    pub fn guilty_by_leaves(&mut self, piece: PieceIndex, sent: &[[u8; 32]], right: &[[u8; 32]]) -> Vec<P> {
        let Some(senders) = self.senders.remove(&piece) else { return Vec::new() };
        let wrong = sent.iter().zip(right).enumerate().filter(|(_, (sent, right))| sent != right);
        once(wrong.filter_map(|(block, _)| senders.of(block)).collect())
    }

    /// In how many failed pieces the peer took part without proof that it was another.
    pub fn suspicion(&self, peer: P) -> u32 {
        self.suspicion.get(&peer).copied().unwrap_or(0)
    }

    /// Whether the peer should fetch whole pieces alone, so that the next failure is proof.
    pub fn is_suspect(&self, peer: P) -> bool {
        self.suspicion.contains_key(&peer)
    }

    /// The peer is cleared of one failure, for instance because it completed a piece alone.
    pub fn cleared(&mut self, peer: P) {
        if let Some(count) = self.suspicion.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.suspicion.remove(&peer);
            }
        }
    }

    /// Forgets a peer altogether; blocks that it sent are nobody's from now on.
    pub fn forget_peer(&mut self, peer: P) {
        self.suspicion.remove(&peer);
        self.senders.values_mut().for_each(|senders| senders.forget(peer));
        self.awaited.values_mut().for_each(|senders| senders.forget(peer));
        self.failures.iter_mut().for_each(|failure| failure.senders.forget(peer));
    }

    /// Bytes that it takes, about.
    pub fn held_bytes(&self) -> usize {
        let senders = self.senders.values().chain(self.awaited.values());
        let senders = senders.chain(self.failures.iter().map(|failure| &failure.senders));
        let entry = |s: &Senders<P>| s.blocks.len() * 2 + s.peers.len() * size_of::<Option<P>>();
        senders.map(entry).sum::<usize>() + self.digests * size_of::<Digest>()
    }

    fn drop_failure(&mut self, at: usize) -> Option<Failure<P>> {
        let failure = self.failures.remove(at)?;
        self.digests -= failure.digests.len();
        Some(failure)
    }
}

fn once<P: Ord>(mut peers: Vec<P>) -> Vec<P> {
    peers.sort_unstable();
    peers.dedup();
    peers
}

fn short(digest: &[u8; 20]) -> Digest {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::BLOCK;

    const BLOCKS: usize = 4;

    fn ledger(pieces: u64) -> Blame<char> {
        let length = BLOCKS as u64 * u64::from(BLOCK);
        Blame::new(Geometry::contiguous(length, pieces * length).unwrap())
    }

    fn piece(blame: &Blame<char>, index: u32) -> PieceIndex {
        blame.geometry.piece(index).unwrap()
    }

    /// The senders of a piece's blocks, a letter each; ' ' is nobody.
    fn fetch(blame: &mut Blame<char>, index: u32, senders: &str) {
        for (block, peer) in senders.chars().enumerate().filter(|&(_, c)| c != ' ') {
            let block = blame.geometry.block(piece(blame, index), block as u32).unwrap();
            blame.received(block, peer);
        }
    }

    /// Digests of blocks that are right ('.') or wrong in a way of their own.
    fn digests(drawn: &str) -> Vec<[u8; 20]> {
        drawn.bytes().enumerate().map(|(at, b)| [b.wrapping_mul(3).wrapping_add(at as u8); 20]).collect()
    }

    #[test]
    fn the_guilty_are_found_as_in_this_table() {
        /// Who sent each block in each try, and which were wrong; who is guilty at last; name.
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            (&[("aaaa", "x...")], "a", "the only sender"),
            (&[("aabb", "x..."), ("cccc", "....")], "a", "the sender of the wrong block"),
            (&[("aabb", "..xx"), ("aabb", "....")], "b", "though it sent the right one later"),
            (&[("abcd", "x..y"), ("eeee", "....")], "ad", "two of them"),
            (&[("aabb", "x..."), ("ccdd", "..y."), ("eeee", "....")], "ad", "in two tries"),
            (&[("aabb", "x..."), ("cccc", "x..."), ("dddd", "....")], "ac", "one alone, one later"),
            (&[("aa  ", "..x."), ("bbbb", "....")], "", "not who sent only right blocks"),
            (&[("    ", "x..."), ("bbbb", "....")], "", "nobody, when nobody sent anything"),
        ];
        for &(tries, expected, name) in cases {
            let mut blame = ledger(1);
            let the_piece = piece(&blame, 0);
            let mut guilty = Vec::new();
            for (senders, drawn) in tries {
                fetch(&mut blame, 0, senders);
                let wrong = drawn.contains(|c| c != '.');
                let verdict = if wrong { blame.failed(the_piece) } else { blame.passed(the_piece) };
                guilty.extend(verdict.guilty);
                if verdict.needs_digests {
                    guilty.extend(blame.digests(the_piece, Some(&digests(drawn))));
                }
            }
            assert_eq!(once(guilty).into_iter().collect::<String>(), expected, "{name}");
            assert!(blame.suspicion.is_empty(), "{name}: all are cleared in the end");
        }
    }

    #[test]
    fn the_last_sender_of_a_block_is_its_sender() {
        let mut blame = ledger(1);
        fetch(&mut blame, 0, "abbb");
        fetch(&mut blame, 0, "b");
        let the_piece = piece(&blame, 0);
        assert_eq!(blame.failed(the_piece).guilty, ['b']);
    }

    #[test]
    fn a_disk_error_blames_nobody() {
        let mut blame = ledger(1);
        let the_piece = piece(&blame, 0);
        fetch(&mut blame, 0, "aaaa");
        blame.forget(the_piece);
        assert_eq!(blame.failed(the_piece), Verdict { guilty: vec![], needs_digests: false });
        fetch(&mut blame, 0, "aabb");
        assert!(blame.failed(the_piece).needs_digests);
        assert!(blame.digests(the_piece, None).is_empty());
        fetch(&mut blame, 0, "cccc");
        assert!(!blame.passed(the_piece).needs_digests, "nothing to compare with");
    }

    #[test]
    fn suspicion_grows_with_failures_and_is_cleared() {
        let mut blame = ledger(3);
        for index in 0..3 {
            fetch(&mut blame, index, if index < 2 { "aabb" } else { "bbcc" });
            let the_piece = piece(&blame, index);
            assert!(blame.failed(the_piece).needs_digests);
        }
        assert_eq!(['a', 'b', 'c', 'd'].map(|peer| blame.suspicion(peer)), [2, 3, 1, 0]);
        blame.cleared('c');
        blame.cleared('d');
        assert!(!blame.is_suspect('c') && blame.is_suspect('b'));
        blame.forget_peer('b');
        assert!(!blame.is_suspect('b'));
    }

    #[test]
    fn a_forgotten_peer_is_never_guilty() {
        let mut blame = ledger(1);
        let the_piece = piece(&blame, 0);
        fetch(&mut blame, 0, "aabb");
        blame.failed(the_piece);
        blame.digests(the_piece, Some(&digests("xx..")));
        blame.forget_peer('a');
        blame.passed(the_piece);
        assert!(blame.digests(the_piece, Some(&digests("...."))).is_empty());
    }

    #[test]
    fn leaves_tell_the_guilty_at_once() {
        let mut blame = ledger(1);
        let the_piece = piece(&blame, 0);
        fetch(&mut blame, 0, "abca");
        let right = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let sent = [[1; 32], [2; 32], [9; 32], [4; 32]];
        assert_eq!(blame.guilty_by_leaves(the_piece, &sent, &right), ['c']);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut blame = ledger(200);
        for index in 0..200 {
            fetch(&mut blame, index, "aabb");
            let the_piece = piece(&blame, index);
            blame.failed(the_piece);
            blame.digests(the_piece, Some(&digests("x...")));
        }
        assert_eq!(blame.failures.len(), MAX_REMEMBERED);
        assert_eq!(blame.digests, MAX_REMEMBERED * BLOCKS);
        for _ in 0..10 {
            fetch(&mut blame, 199, "aabb");
            let the_piece = piece(&blame, 199);
            blame.failed(the_piece);
            blame.digests(the_piece, Some(&digests("x...")));
        }
        let of_last = blame.failures.iter().filter(|failure| failure.piece.get() == 199).count();
        assert_eq!(of_last, TRIES);
        for index in 0..200 {
            fetch(&mut blame, index, "aabb");
            let the_piece = piece(&blame, index);
            blame.failed(the_piece);
        }
        assert!(blame.awaited.len() <= MAX_REMEMBERED);
    }
}
