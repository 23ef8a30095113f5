//! Plays operations read from bytes to a picker and to a naive model of it, and compares them after each.

use metainfo::{BLOCK, Block, Geometry, PieceIndex};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use swarm::engine::picker::{
    BlockState, Config, Cursor, Have, Manner, Order, PeerKey, PeerView, Picker, Priority, Received, Run,
};
use wire::peer::Bitfield;

const PEERS: usize = 6;
const SOURCE: PeerKey = PeerKey(100);
const DUPLICATES: u8 = 2;

/// Plays `data`.
///
/// # Panics
/// When picker and model disagree.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some(mut game) = Game::new(&mut input) else { return };
    while game.step(&mut input).is_some() {
        game.check();
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> Option<usize> {
        Some(usize::from(self.byte()?) % n.max(1))
    }
}

#[derive(Clone, Default)]
struct Model {
    received: bool,
    written: bool,
    asked: Vec<PeerKey>,
    stale: bool,
}

impl Model {
    fn free(&self) -> bool {
        !self.received && !self.written && self.asked.is_empty()
    }

    fn state(&self) -> BlockState {
        match self.asked.len() {
            _ if self.written => BlockState::Written,
            _ if self.received => BlockState::Received,
            0 => BlockState::Free,
            n => BlockState::Asked(n as u8),
        }
    }
}

struct Peer {
    key: PeerKey,
    /// `None` is a seed.
    bits: Option<Bitfield>,
    cursor: Cursor,
}

impl Peer {
    fn have(&self) -> Have<'_> {
        self.bits.as_ref().map_or(Have::All, Have::Some)
    }

    fn has(&self, piece: PieceIndex) -> bool {
        self.bits.as_ref().is_none_or(|bits| bits.get(piece.get()))
    }
}

struct Game {
    picker: Picker,
    rng: ChaCha8Rng,
    peers: Vec<Option<Peer>>,
    have: Vec<bool>,
    priority: Vec<Priority>,
    blocks: Vec<Vec<Model>>,
    runs: Vec<Run>,
    /// Whether a peer ever worked alone: nobody helps in its pieces.
    suspects: bool,
}

impl Game {
    fn new(input: &mut Input<'_>) -> Option<Self> {
        let seed = u64::from(input.byte()?);
        let (pieces, blocks) = (1 + input.below(60)? as u64, 1 + input.below(5)? as u64);
        let length = blocks * u64::from(BLOCK);
        let total = pieces * length - input.below(length as usize)? as u64 * 40 % length;
        let geometry = Geometry::contiguous(length, total).ok()?;
        let order = if input.byte()? % 4 == 0 { Order::Sequential } else { Order::RarestFirst };
        let config = Config { order, random_first: 1, target: 3, duplicates: DUPLICATES };
        let blocks = geometry.pieces().map(|p| vec![Model::default(); geometry.blocks_in(p) as usize]);
        Some(Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            peers: (0..PEERS).map(|_| None).collect(),
            have: vec![false; geometry.piece_count() as usize],
            priority: vec![Priority::Normal; geometry.piece_count() as usize],
            blocks: blocks.collect(),
            runs: Vec::new(),
            suspects: false,
            picker: Picker::new(geometry, config),
        })
    }

    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 24 {
            0 | 1 => self.join(input)?,
            2 => self.leave(input)?,
            3 => self.announce(input)?,
            4..=8 => self.pick(input)?,
            9..=11 => self.receive(input)?,
            12 => self.release(input)?,
            13 | 14 => self.write(input)?,
            15 | 16 => self.end_piece(input)?,
            17 => self.prioritise(input)?,
            18 => self.lose(input)?,
            19 => self.stale(input)?,
            20 => self.claim(input)?,
            21 => self.accept(input)?,
            22 => self.find(input)?,
            _ => self.configure(input)?,
        }
        Some(())
    }

    fn piece(&self, input: &mut Input<'_>) -> Option<PieceIndex> {
        let n = input.below(self.have.len())?;
        self.picker.geometry().piece(n as u32).ok()
    }

    fn wanted(&self, piece: PieceIndex) -> bool {
        !self.have[piece.as_usize()] && self.priority[piece.as_usize()] != Priority::Skip
    }

    fn model(&mut self, block: Block) -> &mut Model {
        &mut self.blocks[block.piece().as_usize()][block.index() as usize]
    }

    /// One of the blocks that meet a condition.
    fn some_block(&self, input: &mut Input<'_>, fits: impl Fn(&Model) -> bool) -> Option<Option<Block>> {
        let geometry = self.picker.geometry();
        let all = geometry
            .pieces()
            .flat_map(|p| (0..geometry.blocks_in(p)).filter_map(move |b| geometry.block(p, b)));
        let fitting: Vec<_> =
            all.filter(|b| fits(&self.blocks[b.piece().as_usize()][b.index() as usize])).collect();
        Some(fitting.get(input.below(fitting.len())?).copied())
    }

    fn join(&mut self, input: &mut Input<'_>) -> Option<()> {
        let at = input.below(PEERS)?;
        let pattern = input.byte()?;
        if self.peers[at].is_some() {
            return Some(());
        }
        let bits = (pattern % 4 != 0).then(|| {
            let mut bits = Bitfield::new(self.have.len() as u32);
            for piece in 0..bits.len() {
                if pattern.rotate_left(piece) % 4 == 1 || pattern % 4 == 3 {
                    bits.set(piece);
                }
            }
            bits
        });
        match &bits {
            Some(bits) => self.picker.add_bitfield(bits),
            None => self.picker.add_seed(),
        }
        self.peers[at] = Some(Peer { key: PeerKey(at as u32), bits, cursor: Cursor::new() });
        Some(())
    }

    fn leave(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(peer) = self.peers[input.below(PEERS)?].take() else { return Some(()) };
        match &peer.bits {
            Some(bits) => self.picker.remove_bitfield(bits),
            None => self.picker.remove_seed(),
        }
        self.release_all_of(peer.key);
        Some(())
    }

    fn release_all_of(&mut self, peer: PeerKey) {
        let geometry = self.picker.geometry().clone();
        for piece in geometry.pieces() {
            for block in (0..geometry.blocks_in(piece)).filter_map(|b| geometry.block(piece, b)) {
                self.release_one(block, peer);
            }
        }
    }

    fn release_one(&mut self, block: Block, peer: PeerKey) {
        let model = self.model(block);
        let held = model.asked.contains(&peer);
        model.asked.retain(|&p| p != peer);
        model.stale &= !model.asked.is_empty();
        assert_eq!(self.picker.release(block, peer), held);
    }

    fn announce(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (at, piece) = (input.below(PEERS)?, self.piece(input)?);
        if let Some(peer) = &mut self.peers[at]
            && let Some(bits) = &mut peer.bits
            && !bits.get(piece.get())
        {
            bits.set(piece.get());
            self.picker.add_have(piece, &mut peer.cursor);
        }
        Some(())
    }

    fn pick(&mut self, input: &mut Input<'_>) -> Option<()> {
        let at = input.below(PEERS)?;
        let (count, how) = (input.below(12)?, input.byte()?);
        let Some(mut peer) = self.peers[at].take() else { return Some(()) };
        let manner = match how % 8 {
            0..4 => Manner::Share,
            4..7 => Manner::Whole,
            _ => Manner::Alone,
        };
        self.suspects |= manner == Manner::Alone;
        let listed: Vec<_> =
            self.picker.geometry().pieces().filter(|p| p.get() % 5 == u32::from(how % 5)).collect();
        let allowed = (how >= 224).then_some(&listed[..]);
        let suggested = if how & 16 == 0 { &[][..] } else { &listed };
        let have = peer.bits.as_ref().map_or(Have::All, Have::Some);
        let view = PeerView { have, allowed, suggested, avoid: &[], manner };
        let mut out = Vec::new();
        self.picker.pick(peer.key, view, &mut peer.cursor, count, &mut self.rng, &mut out);
        assert!(out.len() <= count);
        self.check_picked(&peer, &out);
        if allowed.is_none() && out.len() < count {
            self.check_nothing_open(&peer, manner, out.is_empty());
        }
        self.peers[at] = Some(peer);
        Some(())
    }

    fn check_picked(&mut self, peer: &Peer, out: &[Block]) {
        for &block in out {
            assert!(peer.has(block.piece()) && self.wanted(block.piece()), "{block:?}");
            let model = self.model(block);
            assert!(!model.received && !model.written && !model.asked.contains(&peer.key), "{block:?}");
            assert!(model.asked.len() <= usize::from(DUPLICATES), "{block:?}");
            if !model.asked.is_empty() && !model.stale {
                assert!(self.all_asked(), "duplicate outside of the endgame: {block:?}");
            }
            let model = self.model(block);
            model.stale = false;
            model.asked.push(peer.key);
        }
    }

    /// The pick could have given more: nothing may be open for the peer.
    fn check_nothing_open(&self, peer: &Peer, manner: Manner, empty: bool) {
        for piece in self.picker.geometry().pieces().filter(|&p| peer.has(p) && self.wanted(p)) {
            let partial = self.picker.partials().find(|partial| partial.piece() == piece);
            let Some(partial) = partial else {
                assert!(self.picker.is_full(), "{piece:?} is untouched");
                continue;
            };
            if manner == Manner::Alone {
                continue;
            }
            if partial.owner().is_none_or(|owner| owner == peer.key) {
                assert_eq!(partial.free(), 0, "{piece:?} has free blocks");
                let more = |m: &Model| m.stale && m.asked.len() <= 2 && !m.asked.contains(&peer.key);
                let stale = self.blocks[piece.as_usize()].iter().any(more);
                assert!(!stale || partial.owner().is_some(), "{piece:?} has stale blocks");
            } else if empty && !self.suspects {
                assert_eq!(partial.free(), 0, "{piece:?} could be helped");
            }
        }
    }

    fn all_asked(&self) -> bool {
        self.picker
            .geometry()
            .pieces()
            .all(|p| !self.wanted(p) || self.blocks[p.as_usize()].iter().all(|model| !model.free()))
    }

    fn receive(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(block) = self.some_block(input, |model| !model.asked.is_empty())? else { return Some(()) };
        let who = input.byte()?;
        let model = self.model(block);
        if who >= 250 {
            let stranger = PeerKey(u32::from(who));
            assert_eq!(self.picker.received(block, stranger), Received::NotRequested);
            return Some(());
        }
        let peer = model.asked[usize::from(who) % model.asked.len()];
        let losers: Vec<_> = model.asked.drain(..).filter(|&p| p != peer).collect();
        (model.received, model.stale) = (true, false);
        let Received::First { others } = self.picker.received(block, peer) else { panic!("{block:?}") };
        assert!(others.as_slice().iter().all(|p| losers.contains(p)));
        assert_eq!(others.as_slice().len(), losers.len());
        assert_eq!(self.picker.received(block, peer), Received::Duplicate);
        Some(())
    }

    fn accept(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(block) = self.some_block(input, |model| model.free())? else { return Some(()) };
        if self.have[block.piece().as_usize()] {
            return Some(());
        }
        assert_eq!(self.picker.received(block, PeerKey(3)), Received::NotRequested);
        assert!(
            matches!(self.picker.accept(block, PeerKey(3)), Received::First { others } if others.as_slice().is_empty())
        );
        self.model(block).received = true;
        Some(())
    }

    fn release(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(block) = self.some_block(input, |model| !model.asked.is_empty())? else { return Some(()) };
        let how = input.byte()?;
        let model = self.model(block);
        let peer = model.asked[usize::from(how) % model.asked.len()];
        if how < 200 {
            self.release_one(block, peer);
        } else {
            self.release_all_of(peer);
        }
        Some(())
    }

    fn write(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(block) = self.some_block(input, |model| model.received && !model.written)? else {
            return Some(());
        };
        if input.byte()? < 230 {
            self.picker.written(block);
            *self.model(block) = Model { written: true, ..Model::default() };
        } else {
            self.picker.write_failed(block);
            *self.model(block) = Model::default();
        }
        Some(())
    }

    fn end_piece(&mut self, input: &mut Input<'_>) -> Option<()> {
        let passed = input.byte()? < 200;
        let geometry = self.picker.geometry().clone();
        let full = geometry.pieces().find(|p| {
            !self.have[p.as_usize()] && self.blocks[p.as_usize()].iter().all(|m| m.received || m.written)
        });
        let Some(piece) = full else { return Some(()) };
        if passed {
            self.picker.piece_passed(piece);
            self.now_have(piece);
        } else {
            self.picker.piece_failed(piece);
            self.blocks[piece.as_usize()].fill(Model::default());
        }
        Some(())
    }

    fn now_have(&mut self, piece: PieceIndex) {
        self.have[piece.as_usize()] = true;
        self.blocks[piece.as_usize()].fill(Model { written: true, ..Model::default() });
    }

    fn prioritise(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (piece, how) = (self.piece(input)?, input.byte()?);
        let priority =
            [Priority::Skip, Priority::Low, Priority::Normal, Priority::High][usize::from(how) % 4];
        if how < 128 {
            self.priority[piece.as_usize()] = priority;
            self.picker.set_priority(piece, priority);
            return Some(());
        }
        let rest: Vec<_> = self.picker.geometry().pieces().skip(piece.as_usize()).collect();
        self.priority[piece.as_usize()..].fill(priority);
        self.picker.set_priorities(rest.into_iter().map(|p| (p, priority)));
        Some(())
    }

    fn lose(&mut self, input: &mut Input<'_>) -> Option<()> {
        let piece = self.piece(input)?;
        self.picker.lost(piece);
        if std::mem::take(&mut self.have[piece.as_usize()]) {
            self.blocks[piece.as_usize()].fill(Model::default());
        }
        Some(())
    }

    fn find(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (first, second) = (self.piece(input)?, self.piece(input)?);
        if first == second {
            self.picker.have(first);
        } else {
            let mut found = Bitfield::new(self.have.len() as u32);
            found.set(first.get());
            found.set(second.get());
            self.picker.have_all_of(&found);
            self.now_have(second);
        }
        self.now_have(first);
        Some(())
    }

    fn stale(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some(block) = self.some_block(input, |_| true)? else { return Some(()) };
        let model = self.model(block);
        model.stale = !model.asked.is_empty();
        let asked = model.stale;
        assert_eq!(self.picker.stale(block), asked);
        Some(())
    }

    fn claim(&mut self, input: &mut Input<'_>) -> Option<()> {
        let how = input.byte()?;
        let geometry = self.picker.geometry().clone();
        if how < 100 {
            if let Some(run) = self.runs.pop() {
                self.picker.unclaim(SOURCE, run);
                for piece in run.pieces(&geometry) {
                    for model in &mut self.blocks[piece.as_usize()] {
                        model.asked.retain(|&p| p != SOURCE);
                        model.stale &= !model.asked.is_empty();
                    }
                }
            }
            return Some(());
        }
        let untouched = |game: &Self, p: PieceIndex| {
            game.wanted(p) && game.picker.partials().all(|partial| partial.piece() != p)
        };
        let any = geometry.pieces().any(|p| untouched(self, p));
        let before: Vec<_> = geometry.pieces().map(|p| untouched(self, p)).collect();
        let Some(run) = self.picker.claim_range(SOURCE, 1 + u32::from(how % 8)) else {
            assert!(!any || self.picker.is_full(), "something could be claimed");
            return Some(());
        };
        assert!((1..=1 + u32::from(how % 8)).contains(&run.count));
        for piece in run.pieces(&geometry) {
            assert!(before[piece.as_usize()], "{piece:?} was begun");
            for model in &mut self.blocks[piece.as_usize()] {
                model.asked.push(SOURCE);
            }
        }
        self.runs.push(run);
        Some(())
    }

    fn configure(&mut self, input: &mut Input<'_>) -> Option<()> {
        let how = input.byte()?;
        match how % 6 {
            0 => self.picker.set_order(Order::Sequential),
            1 => self.picker.set_order(Order::RarestFirst),
            2 => self.picker.set_limit(if how < 128 { usize::from(how / 6) } else { usize::MAX }),
            3 => self.adopt(input)?,
            4 => self.hurry(input)?,
            _ => self.picker.set_target(usize::from(how / 3)),
        }
        Some(())
    }

    /// Blocks of an earlier run are there.
    fn adopt(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (piece, some) = (self.piece(input)?, input.byte()?);
        let at = piece.as_usize();
        let blocks: Vec<_> = (0..self.blocks[at].len() as u32).filter(|b| some >> (b % 8) & 1 == 1).collect();
        self.picker.adopt(piece, &blocks);
        for block in blocks {
            let model = &mut self.blocks[at][block as usize];
            model.written |= model.free();
        }
        Some(())
    }

    /// Somebody waits for a piece.
    fn hurry(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (piece, late) = (self.piece(input)?, input.byte()? < 128);
        self.picker.hurry(piece, late);
        for model in &mut self.blocks[piece.as_usize()] {
            model.stale |= late && !model.asked.is_empty();
        }
        Some(())
    }

    fn check(&self) {
        self.picker.check_invariant();
        let geometry = self.picker.geometry();
        let mut wanted = 0;
        for piece in geometry.pieces() {
            let at = piece.as_usize();
            wanted += u32::from(self.wanted(piece));
            assert_eq!(self.picker.is_wanted(piece), self.wanted(piece));
            assert_eq!(self.picker.has(piece), self.have[at]);
            assert_eq!(self.picker.priority(piece), self.priority[at]);
            let copies = self.peers.iter().flatten().filter(|peer| peer.has(piece)).count();
            assert_eq!(self.picker.availability(piece) as usize, copies);
            for (index, model) in self.blocks[at].iter().enumerate() {
                let block = geometry.block(piece, index as u32).expect("a block of the model");
                assert_eq!(self.picker.block_state(block), model.state(), "{block:?}");
            }
        }
        assert_eq!(self.picker.wanted_left(), wanted);
        assert_eq!(self.picker.finished(), wanted == 0);
        assert_eq!(self.picker.endgame(), wanted > 0 && self.all_asked());
        for peer in self.peers.iter().flatten() {
            let count = geometry.pieces().filter(|&p| self.wanted(p) && peer.has(p)).count();
            assert_eq!(self.picker.count_wanted(peer.have()) as usize, count);
            assert_eq!(self.picker.interesting(peer.have()), count > 0);
        }
    }
}
