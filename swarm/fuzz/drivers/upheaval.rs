//! Users and disks that do what the input tells them to, at any moment, to four live engines that exchange a torrent.
//!
//! Whatever is asked and whatever happens to the files, no engine panics or breaks its books (the world looks after each
//! step), who only seeds fetches nothing, and when the disks are well again, and nobody was refused for what files of
//! others had in them, all become complete.

use std::io::ErrorKind;
use std::time::Duration;

use metainfo::{Builder, PieceIndex};
use storage::Operation;
use swarm::engine::picker::Priority;
use swarm::engine::{Direction, Event, PieceOrder, Time};
use swarm::sim::{Access, Content, Failing, Node, NodeId, Role, SimStore, World};
use wire::peer::Bitfield;

const PIECE: u32 = 32 * 1024;
/// The pieces of the files overlap, and the last one is short.
const FILES: [usize; 3] = [150_000, 10, 170_000];
const LEN: usize = FILES[0] + FILES[1] + FILES[2];
const PIECES: u32 = LEN.div_ceil(PIECE as usize) as u32;
/// What a run may do.
const MAX_STEPS: usize = 200;

/// Plays one input.
///
/// # Panics
/// When anything that must hold does not.
pub fn run(data: &[u8]) {
    let mut play = Play::new(data);
    for _ in 0..MAX_STEPS {
        if play.input.is_empty() {
            break;
        }
        play.step();
    }
    play.end();
}

struct Play<'a> {
    input: &'a [u8],
    world: World,
    /// Who only seeds; who believes without looking; who has every other piece; who has nothing.
    nodes: [NodeId; 4],
}

impl<'a> Play<'a> {
    fn new(input: &'a [u8]) -> Self {
        let names = FILES.iter().zip(["a", "b", "c"]);
        let builder = names.fold(Builder::folder("t"), |builder, (len, name)| {
            builder.file([String::from(name)], *len as u64)
        });
        let content = Content::build(1, LEN, builder.piece_length(PIECE));
        let geometry = content.torrent.geometry().clone();
        let mut world = World::new(input.first().copied().map_or(0, u64::from));
        let mut half = Bitfield::new(PIECES);
        (0..PIECES).step_by(2).for_each(|piece| _ = half.set(piece));
        let access = Access::symmetric(200_000);
        let believed = SimStore::with(content.clone(), geometry.pieces());
        let nodes = [
            world.add(&content, Role::Seed, access),
            world.add_unverified(&content, believed, access),
            world.add(&content, Role::Partial(half), access),
            world.add(&content, Role::Leech, access),
        ];
        let mut play = Self { input, world, nodes };
        play.introduce();
        play
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.input.split_first() else { return 0 };
        self.input = rest;
        *first
    }

    fn piece(&mut self) -> PieceIndex {
        let index = u32::from(self.byte()) % PIECES;
        let geometry = self.world.node(self.nodes[0]).content.torrent.geometry().clone();
        geometry.piece(index).expect("it has so many")
    }

    fn introduce(&mut self) {
        for (at, one) in self.nodes.into_iter().enumerate() {
            for other in self.nodes.into_iter().skip(at + 1) {
                self.world.introduce(other, one);
            }
        }
    }

    fn step(&mut self) {
        let id = self.nodes[usize::from(self.byte() % 4)];
        let now = self.world.now;
        let kind = self.byte() % 22;
        let store = self.world.node(id).store.clone();
        match kind {
            0..=4 => {
                let wait = Duration::from_millis(u64::from(self.byte()) * 30);
                self.world.run_until(now + wait, |_| false);
            }
            5 => store.remove_file(usize::from(self.byte()) % FILES.len()),
            6 => store.replace_file(usize::from(self.byte()) % FILES.len()),
            7 => store.restore_file(usize::from(self.byte()) % FILES.len()),
            8 => store.corrupt(self.piece(), 1),
            9 => store.break_piece(self.piece()),
            10 => store.mend(),
            11 => {
                let room = self.byte();
                store.fill_up_after((room < 200).then_some(u64::from(room) * 1000));
            }
            12 => store.fail(Some(self.failing())),
            13 => store.set_gone(self.byte().is_multiple_of(2)),
            14 => self.introduce(),
            _ => self.ask(id, kind),
        }
        self.world.touch(id);
    }

    /// What a user asks for.
    fn ask(&mut self, id: NodeId, kind: u8) {
        let now = self.world.now;
        let (piece, shape) = (self.piece(), self.byte());
        let Node { engine, torrent, .. } = self.world.node_mut(id);
        let key = *torrent;
        match kind {
            15 => engine.recheck(now, key),
            16 if shape.is_multiple_of(2) => engine.pause(now, key),
            16 => engine.resume(now, key),
            17 => {
                let priority = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];
                engine.set_priorities(now, key, [(piece, priority[usize::from(shape % 4)])]);
            }
            18 => {
                let order = [PieceOrder::Rarest, PieceOrder::Sequential, PieceOrder::FirstLast];
                engine.set_order(now, key, order[usize::from(shape % 3)]);
            }
            19 => {
                let due = now + Duration::from_millis(u64::from(shape) * 10);
                engine.set_deadlines(now, key, vec![(piece, due)]);
            }
            20 => engine.sync(now, key),
            _ => {
                let rate = (shape < 200).then_some(u64::from(shape) * 1000);
                engine.set_torrent_limit(now, key, Direction::Read, rate);
            }
        }
    }

    fn failing(&mut self) -> Failing {
        let operations = [Operation::Read, Operation::Write, Operation::Sync, Operation::Open];
        let operation = operations[usize::from(self.byte() % 4)];
        let kinds = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other];
        let kind = kinds[usize::from(self.byte() % 3)];
        Failing { operation, nth: u64::from(self.byte() % 8), lasting: self.byte().is_multiple_of(2), kind }
    }

    /// The disks are well again, and everything is wanted.
    fn end(mut self) {
        for id in self.nodes {
            let now = self.world.now;
            let pieces: Vec<_> = self.world.node(id).content.torrent.geometry().pieces().collect();
            let store = self.world.node(id).store.clone();
            store.mend();
            store.fill_up_after(None);
            (0..FILES.len()).for_each(|file| store.restore_file(file));
            let Node { engine, torrent, .. } = self.world.node_mut(id);
            let key = *torrent;
            engine.resume(now, key);
            engine.set_torrent_limit(now, key, Direction::Read, None);
            engine.set_priorities(now, key, pieces.into_iter().map(|piece| (piece, Priority::Normal)));
            engine.recheck(now, key);
            self.world.touch(id);
        }
        let end = self.world.now + Duration::from_secs(120);
        self.world.run_until(end, |_| false);
        self.introduce();
        let end = self.world.now + Duration::from_secs(600);
        let is_done = |world: &World| self.nodes.iter().all(|id| done(world, *id) == PIECES);
        let all = self.world.run_until(end, is_done);
        self.world.check();
        let is_ban = |(_, event): &(Time, Event)| matches!(event, Event::PeerBanned { .. });
        let banned = self.nodes.iter().any(|id| self.world.node(*id).events.iter().any(is_ban));
        let found = self.nodes.map(|id| done(&self.world, id));
        assert!(all || banned, "not all are complete: {found:?} of {PIECES}");
        let seed = self.world.node(self.nodes[0]);
        let status = seed.engine.torrent_status(self.world.now, seed.torrent).expect("it runs");
        assert_eq!(status.totals.downloaded, 0, "a seed fetches nothing");
    }
}

fn done(world: &World, id: NodeId) -> u32 {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).map_or(0, |status| status.pieces_done)
}
