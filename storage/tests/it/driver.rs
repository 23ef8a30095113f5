//! Drives a plan by a list of operations read from bytes, beside a model that knows what must come out.
//!
//! Shared by the fuzz target and by the tests of the crate.

use metainfo::{BLOCK, Block, Geometry, PieceIndex, PieceRange};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use storage::plan::{Order, Plan, PlanConfig, Store};
use storage::{
    Buf, Completion, Fault, FaultyStorage, Hashes, Job, MemoryStorage, Pads, PieceDigest, PieceHasher,
    Pieces, StorageError, StoreId, Token,
};

/// Pieces with known bytes.
pub(crate) struct Sample {
    pub(crate) geometry: Geometry,
    pub(crate) is_v2: bool,
    pub(crate) pads: Pads,
    digests: Vec<PieceDigest>,
}

impl Sample {
    /// Pieces of these lengths, each byte a function of its place, zeros in the pads.
    pub(crate) fn new(geometry: Geometry, is_v2: bool, pads: Pads) -> Self {
        let mut sample = Self { geometry, is_v2, pads, digests: Vec::new() };
        for piece in sample.geometry.pieces() {
            let mut hasher = sample.hasher(piece);
            hasher.update(&sample.bytes(sample.geometry.whole(piece)));
            sample.digests.push(hasher.finish());
        }
        sample
    }

    /// The right bytes of a range.
    pub(crate) fn bytes(&self, range: PieceRange) -> Vec<u8> {
        let start = self.geometry.piece_start(range.piece()) + u64::from(range.begin());
        let mut bytes: Vec<u8> =
            (start..start + u64::from(range.len())).map(|at| (at ^ (at >> 7) ^ (at >> 13)) as u8).collect();
        for pad in self.pads.within(start..start + u64::from(range.len())) {
            bytes[(pad.start - start) as usize..(pad.end - start) as usize].fill(0);
        }
        bytes
    }
}

impl Pieces for Sample {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn hasher(&self, piece: PieceIndex) -> PieceHasher {
        if self.is_v2 { PieceHasher::both(self.geometry.piece_len(piece)) } else { PieceHasher::v1() }
    }

    fn verify(&self, piece: PieceIndex, digest: PieceDigest) -> Option<Hashes> {
        let expected = &self.digests[piece.as_usize()];
        let root = |digest: &PieceDigest| digest.v2.clone().map(|tree| tree.finish(32));
        let is_right = expected.v1 == digest.v1 && root(expected) == root(&digest);
        Some(if is_right { Hashes::Match } else { Hashes::Differ })
    }

    fn pads(&self) -> Pads {
        self.pads.clone()
    }
}

/// Bytes as a source of choices; zeros when they run out.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, end: u32) -> u32 {
        let high = if end > 256 { u32::from(self.byte()) << 8 } else { 0 };
        (high | u32::from(self.byte())) % end.max(1)
    }
}

/// What the asker knows about a piece.
#[derive(Default)]
struct Known {
    /// Blocks of this round that were pushed and did not fail.
    pushed: HashSet<u32>,
    /// Those of them that were answered.
    written: HashSet<u32>,
    /// What storage must hold once all pushed jobs are done; `None` before the first write.
    content: Option<Vec<u8>>,
    /// Storage holds bytes of it.
    is_there: bool,
    /// Verdicts owed, in order; the one of a read from storage may be an error.
    verdicts: VecDeque<Expected>,
}

enum Expected {
    Matches(bool),
    NotThere,
}

struct Model {
    plan: Plan,
    sample: Arc<Sample>,
    storage: Arc<FaultyStorage<MemoryStorage>>,
    store: StoreId,
    faulty: bool,
    known: Vec<Known>,
    reads: HashMap<Token, (PieceRange, Option<Vec<u8>>)>,
    syncs: HashSet<Token>,
    probes: usize,
    digests: VecDeque<(PieceIndex, Option<Vec<u8>>)>,
    out: Vec<Order>,
    tokens: u64,
    scratch: Vec<u8>,
}

/// Runs the operations that the bytes name, then finishes everything.
///
/// # Panics
/// When the plan does what it must not.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut model = Model::new(&mut choices);
    while !choices.0.is_empty() {
        model.step(&mut choices);
        model.plan.check_invariant();
    }
    model.finish();
}

impl Model {
    fn new(choices: &mut Choices<'_>) -> Self {
        let blocks = u64::from(choices.below(20) + 1);
        let piece_length = blocks * u64::from(BLOCK);
        let short = u64::from(choices.below(40_000));
        let geometry =
            Geometry::contiguous(piece_length, 2 * piece_length + short + 1).expect("a small torrent");
        let flags = choices.byte();
        let pads = if flags & 1 == 0 {
            Pads::default()
        } else {
            let end = piece_length;
            Pads::new(std::iter::once(end - piece_length.min(u64::from(choices.below(60_000)))..end))
        };
        let faulty = flags & 4 != 0;
        let fault = Fault {
            operation: None,
            nth: if faulty { choices.below(40).into() } else { u64::MAX },
            lasting: flags & 8 != 0,
            kind: ErrorKind::StorageFull,
            torn: flags & 16 != 0,
        };
        let config = PlanConfig {
            stripe: choices.below(6) + 1,
            lanes: choices.below(4) as usize + 1,
            linger: choices.below(12) as usize * BLOCK as usize,
            background: choices.below(2) as usize + 1,
            orders: usize::from(flags >> 5) + 1,
            upkeep: 1,
            ..PlanConfig::default()
        };
        let sample = Arc::new(Sample::new(geometry.clone(), flags & 2 != 0, pads.clone()));
        let memory = MemoryStorage::with_pads(geometry.clone(), pads);
        let mut plan = Plan::new(config);
        let store = plan.attach(sample.clone());
        Self {
            plan,
            storage: Arc::new(FaultyStorage::new(memory, fault)),
            store,
            faulty,
            known: geometry.pieces().map(|_| Known::default()).collect(),
            sample,
            reads: HashMap::new(),
            syncs: HashSet::new(),
            probes: 0,
            digests: VecDeque::new(),
            out: Vec::new(),
            tokens: 0,
            scratch: Vec::new(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let index = choices.below(self.known.len() as u32);
        let piece = self.sample.geometry.piece(index).expect("below the count");
        match what % 16 {
            0..=3 => self.write_in_order(piece, choices),
            4..=6 => self.write_any(piece, choices),
            7 => self.read(piece, choices),
            8 | 9 => self.out.extend(self.plan.next_order()),
            10 | 11 => self.end_one(choices),
            12 => self.plan.tick(),
            13 => self.answer(),
            14 => self.restart(piece),
            _ => match choices.below(7) {
                4 | 5 => self.adopt(piece, choices),
                6 => self.probe(),
                0 => self.check(piece),
                1 => self.digest(piece),
                2 => self.sync(),
                _ => self.plan.flush(),
            },
        }
    }

    fn is_pad(&self, block: Block) -> bool {
        self.sample.pads.covers(&self.sample.geometry, block)
    }

    fn missing(&self, piece: PieceIndex) -> Vec<u32> {
        let geometry = &self.sample.geometry;
        (0..geometry.blocks_in(piece))
            .filter(|&at| geometry.block(piece, at).is_some_and(|block| !self.is_pad(block)))
            .filter(|at| !self.known[piece.as_usize()].pushed.contains(at))
            .collect()
    }

    fn write_in_order(&mut self, piece: PieceIndex, choices: &mut Choices<'_>) {
        let count = choices.below(5) as usize + 1;
        for block in self.missing(piece).into_iter().take(count) {
            self.write(piece, block, false);
        }
    }

    fn write_any(&mut self, piece: PieceIndex, choices: &mut Choices<'_>) {
        let missing = self.missing(piece);
        let wrong = choices.byte() > 240;
        if let Some(&block) = missing.get(choices.below(missing.len() as u32) as usize) {
            self.write(piece, block, wrong);
        }
    }

    fn write(&mut self, piece: PieceIndex, index: u32, wrong: bool) {
        let block = self.sample.geometry.block(piece, index).expect("a block of the piece");
        let mut bytes = self.sample.bytes(block.range());
        if wrong {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x5A);
        }
        let len = self.sample.geometry.piece_len(piece) as usize;
        let known = &mut self.known[piece.as_usize()];
        known.pushed.insert(index);
        let content = known.content.get_or_insert_with(|| vec![0; len]);
        content[block.begin() as usize..][..bytes.len()].copy_from_slice(&bytes);
        for pad in self.pad_bytes(piece) {
            self.known[piece.as_usize()].content.as_mut().expect("just made")[pad].fill(0);
        }
        self.plan.push(Job::Write { store: self.store, block, data: Buf::from(&bytes[..]) });
        if self.missing(piece).is_empty() && !self.faulty {
            let matches = self.matches(piece);
            self.known[piece.as_usize()].verdicts.push_back(matches);
        }
    }

    fn pad_bytes(&self, piece: PieceIndex) -> Vec<std::ops::Range<usize>> {
        let start = self.sample.geometry.piece_start(piece);
        let end = start + u64::from(self.sample.geometry.piece_len(piece));
        let pads = self.sample.pads.within(start..end);
        pads.map(|pad| (pad.start - start) as usize..(pad.end - start) as usize).collect()
    }

    /// What storage will say about a range.
    fn content(&self, range: PieceRange) -> Option<Vec<u8>> {
        let bytes = range.begin() as usize..range.end() as usize;
        let all_pad =
            self.pad_bytes(range.piece()).iter().any(|pad| pad.start <= bytes.start && bytes.end <= pad.end);
        match &self.known[range.piece().as_usize()].content {
            Some(content) => Some(content[bytes].to_vec()),
            None if all_pad => Some(vec![0; bytes.len()]),
            None => None,
        }
    }

    fn matches(&self, piece: PieceIndex) -> Expected {
        let whole = self.sample.geometry.whole(piece);
        match self.content(whole) {
            Some(content) => Expected::Matches(content == self.sample.bytes(whole)),
            None => Expected::NotThere,
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn read(&mut self, piece: PieceIndex, choices: &mut Choices<'_>) {
        let len = self.sample.geometry.piece_len(piece);
        let begin = choices.below(len.div_ceil(BLOCK)) * BLOCK;
        let want = [BLOCK, 1, 2 * BLOCK][choices.below(3) as usize].min(len - begin);
        let range =
            self.sample.geometry.range_at(piece.get(), begin, want, u32::MAX).expect("inside the piece");
        let token = self.token();
        self.reads.insert(token, (range, self.content(range)));
        self.plan.push(Job::Read {
            store: self.store,
            token,
            range,
            data: Buf::with_capacity(want as usize),
        });
    }

    fn restart(&mut self, piece: PieceIndex) {
        let known = &mut self.known[piece.as_usize()];
        let quiet = known.written.len() == known.pushed.len() && known.verdicts.is_empty();
        if !self.faulty || quiet {
            known.pushed.clear();
            known.written.clear();
            self.plan.push(Job::Restart { store: self.store, piece });
        }
    }

    fn check(&mut self, piece: PieceIndex) {
        if !self.faulty {
            let matches = self.matches(piece);
            self.known[piece.as_usize()].verdicts.push_back(matches);
            self.plan.push(Job::Check { store: self.store, piece });
        }
    }

    fn digest(&mut self, piece: PieceIndex) {
        self.digests.push_back((piece, self.content(self.sample.geometry.whole(piece))));
        self.plan.push(Job::BlockDigests { store: self.store, piece });
    }

    /// Blocks that storage holds from before a restart, right or wrong, are taken for written.
    fn adopt(&mut self, piece: PieceIndex, choices: &mut Choices<'_>) {
        if self.faulty || !self.known[piece.as_usize()].is_there {
            return;
        }
        let missing = self.missing(piece);
        let all = choices.byte() > 200;
        let blocks: Vec<u32> = missing.iter().copied().filter(|_| all || choices.byte() & 1 == 1).collect();
        if !missing.is_empty() && missing.len() == blocks.len() {
            let matches = self.matches(piece);
            self.known[piece.as_usize()].verdicts.push_back(matches);
        }
        self.known[piece.as_usize()].pushed.extend(&blocks);
        self.plan.push(Job::Adopt { store: self.store, piece, blocks });
    }

    fn probe(&mut self) {
        self.probes += 1;
        self.plan.push(if self.probes.is_multiple_of(3) {
            Job::Look { store: self.store }
        } else {
            Job::Probe { store: self.store, write: self.probes.is_multiple_of(2) }
        });
    }

    fn sync(&mut self) {
        let token = self.token();
        self.syncs.insert(token);
        self.plan.push(Job::Sync { store: self.store, token });
    }

    fn end_one(&mut self, choices: &mut Choices<'_>) {
        if self.out.is_empty() {
            return;
        }
        let at = choices.below(self.out.len() as u32) as usize;
        let mut order = self.out.swap_remove(at);
        let store = Store { storage: self.storage.clone(), pieces: self.sample.clone() };
        order.execute(|id| (id == self.store).then(|| store.clone()), &mut self.scratch);
        self.plan.done(order);
    }

    fn answer(&mut self) {
        let mut completions = Vec::new();
        self.plan.drain(&mut completions);
        for completion in completions {
            match completion {
                Completion::Written { piece, blocks, buffers, result, .. } => {
                    assert_eq!(blocks.len(), buffers.len());
                    self.answer_written(piece, &blocks, &result);
                }
                Completion::Piece { piece, result, .. } => self.answer_piece(piece, &result),
                Completion::Read { token, range, data, result, .. } => {
                    let (asked, content) = self.reads.remove(&token).expect("a read is answered once");
                    assert_eq!(range, asked);
                    if !self.faulty {
                        assert_eq!(result.is_ok(), content.is_some(), "{result:?} for {range:?}");
                        if let Some(content) = content {
                            assert!(data.as_slice() == content, "a read that does not see what was written");
                        }
                    }
                }
                Completion::BlockDigests { piece, result, .. } => {
                    let at = self.digests.iter().position(|(asked, _)| *asked == piece);
                    let (_, content) =
                        self.digests.remove(at.expect("digests are answered once")).expect("found");
                    if !self.faulty {
                        assert_eq!(result.is_ok(), content.is_some());
                        let blocks = self.sample.geometry.blocks_in(piece) as usize;
                        assert!(result.is_err() || result.is_ok_and(|digests| digests.len() == blocks));
                    }
                }
                Completion::Synced { token, .. } => {
                    assert!(self.syncs.remove(&token), "a sync is answered once");
                }
                Completion::Probed { .. } | Completion::Looked { .. } => {
                    self.probes = self.probes.checked_sub(1).expect("a probe is answered once");
                }
            }
        }
    }

    fn answer_written(&mut self, piece: PieceIndex, blocks: &[Block], result: &Result<(), StorageError>) {
        let known = &mut self.known[piece.as_usize()];
        known.is_there |= result.is_ok();
        for block in blocks {
            assert_eq!(block.piece(), piece);
            match result {
                // Without faults a round may have been left behind by a restart.
                Ok(()) if self.faulty => assert!(known.written.insert(block.index()), "answered twice"),
                Ok(()) => {}
                Err(error) => {
                    assert!(self.faulty, "{error}");
                    assert!(known.pushed.remove(&block.index()), "failed twice");
                }
            }
        }
        let pieces = &self.sample.geometry;
        if self.faulty && !blocks.is_empty() && result.is_ok() {
            let all = (0..pieces.blocks_in(piece)).filter_map(|at| pieces.block(piece, at));
            let wanted = all.filter(|&block| !self.is_pad(block)).count();
            if self.known[piece.as_usize()].written.len() == wanted {
                let matches = self.matches(piece);
                self.known[piece.as_usize()].verdicts.push_back(matches);
            }
        }
    }

    fn answer_piece(&mut self, piece: PieceIndex, result: &Result<Hashes, StorageError>) {
        let expected = self.known[piece.as_usize()].verdicts.pop_front().expect("a verdict that is owed");
        match (expected, result) {
            (Expected::Matches(matches), Ok(verdict)) => assert_eq!(verdict.is_match(), matches, "{piece:?}"),
            (Expected::NotThere, Err(error)) => assert_eq!(error.cause.kind(), ErrorKind::NotFound),
            (_, Err(error)) if self.faulty => assert_eq!(error.cause.kind(), ErrorKind::StorageFull),
            (_, other) => panic!("{piece:?}: {other:?}"),
        }
        if self.faulty && matches!(result, Ok(Hashes::Match)) {
            let kept = self.storage.inner().piece(piece).expect("a good piece is there");
            assert!(kept == self.sample.bytes(self.sample.geometry.whole(piece)), "announced, but not there");
        }
    }

    /// Executes all that is left; then nothing may be owed.
    fn finish(&mut self) {
        let mut none = Choices(&[]);
        for round in 0.. {
            assert!(round < 10_000, "the plan never comes to an end");
            self.plan.flush();
            self.out.extend(self.plan.next_order());
            if self.out.is_empty() {
                break;
            }
            self.end_one(&mut none);
            self.plan.check_invariant();
        }
        self.answer();
        assert!(self.plan.is_idle() && self.plan.held() == 0);
        assert!(self.reads.is_empty() && self.syncs.is_empty() && self.digests.is_empty());
        assert_eq!(self.probes, 0);
        assert!(self.known.iter().all(|known| known.verdicts.is_empty()), "a verdict is owed");
        self.plan.detach(self.store);
        assert_eq!(self.plan.take_closed(), [self.store]);
        assert_eq!(self.plan.active_pieces(), 0);
        self.plan.check_invariant();
    }
}
