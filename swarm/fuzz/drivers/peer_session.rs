//! A peer that says what the input tells it to, to a live engine with a simulated disk, beside an honest seed.
//!
//! Whatever it says, the engine neither panics nor breaks its books, claims no piece that is wrong, holds a bounded
//! amount of memory, and takes what it wants from the seed.

use std::net::SocketAddr;
use std::time::Duration;

use swarm::engine::Time;
use swarm::sim::{Access, Content, Heard, Line, Role, Scripted, World};
use wire::peer::{
    Bitfield, DontHave, ExtendedHandshake, HashRequest, Message, MetadataMessage, PexFlags, PexMessage,
    PexPeer, Request, Reserved,
};

const PIECES: u32 = 10;
const PIECE: u32 = 32 * 1024;
const BLOCK: u32 = 16 * 1024;
/// The last piece is short.
const LEN: usize = (PIECES * PIECE) as usize - 5000;

/// Plays one input: a byte for what the peer speaks, then operations.
///
/// # Panics
/// When anything that must hold does not.
pub fn run(data: &[u8]) {
    let Some((&first, script)) = data.split_first() else { return };
    let content = Content::new(1, LEN, PIECE);
    let mut world = World::new(u64::from(first));
    let mut half = Bitfield::new(PIECES);
    (0..PIECES).step_by(2).for_each(|piece| {
        half.set(piece);
    });
    let role = if first & 16 != 0 { Role::Magnet } else { Role::Partial(half) };
    let victim = world.add(&content, role, Access::default());
    let seed = world.add(&content, Role::Seed, Access::symmetric(100_000));
    let mut reserved = Reserved::NONE;
    if first & 1 != 0 {
        reserved = reserved.with_fast();
    }
    if first & 2 != 0 {
        reserved = reserved.with_extended();
    }
    let mut peer = Scripted::new(&content).reserved(reserved);
    if first & 4 != 0 {
        peer = peer.mute();
    }
    if first & 8 == 0 {
        peer = peer.dials(world.addr(victim));
    }
    let mut play = Play { input: script.to_vec(), at: 0, asked: Vec::new() };
    let (id, _) = peer.enter(&mut world, Access::default(), move |line, heard| match heard {
        Heard::Message(Message::Request(request)) => play.asked.push(request),
        Heard::Open | Heard::Wake => play.on(line),
        _ => {}
    });
    if first & 8 != 0 {
        world.introduce(victim, id);
    }
    world.run_until(Time::from_secs(5), |_| false);
    world.introduce(victim, seed);
    let done = world.run_until_complete(&[victim], Time::from_secs(300));
    assert!(done.is_some(), "the honest seed was not enough");
    let end = world.now + Duration::from_secs(20);
    world.run_until(end, |_| false);
    world.check();
    let held = world.node(victim).most_held;
    assert!(held < 3 << 20, "{held} bytes held");
}

struct Play {
    input: Vec<u8>,
    at: usize,
    /// Requests that were not answered yet.
    asked: Vec<Request>,
}

impl Play {
    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.input.get(self.at - 1).copied().unwrap_or(0)
    }

    /// A number that is mostly small, sometimes at an edge.
    fn number(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => 1 << 31,
            n => u32::from(n) % (PIECES + 2),
        }
    }

    fn request(&mut self) -> Request {
        let index = self.number();
        let shape = self.byte();
        let begin = [0, BLOCK, 1, PIECE, u32::MAX][usize::from(shape % 5)];
        let len = [BLOCK, BLOCK, 1, PIECE, 0, u32::MAX][usize::from(shape / 5 % 6)];
        Request { index, begin, len }
    }

    /// Plays on until it is to wait, or the end.
    fn on(&mut self, line: &mut Line<'_>) {
        while self.at < self.input.len() {
            match self.byte() % 28 {
                0 => {
                    let n = usize::from(self.byte());
                    let bytes: Vec<u8> = (0..n).map(|_| self.byte()).collect();
                    line.raw(&bytes);
                }
                1 => {
                    let wait = Duration::from_millis(u64::from(self.byte()) * 40);
                    return line.wake_in(wait);
                }
                2 => line.say(Message::Choke),
                3 => line.say(Message::Unchoke),
                4 => line.say(Message::Interested),
                5 => line.say(Message::NotInterested),
                6 => line.say(Message::Have(self.number())),
                7 => {
                    let bits = [self.byte(), self.byte() & 0b1100_0000];
                    line.say(Message::Bitfield(&bits));
                }
                8 => line.say(Message::HaveAll),
                9 => line.say(Message::HaveNone),
                10 => line.say(Message::Request(self.request())),
                11 => line.say(Message::Cancel(self.request())),
                12 => line.say(Message::AllowedFast(self.number())),
                13 => line.say(Message::Suggest(self.number())),
                14 => line.say(Message::Reject(self.request())),
                15..=17 => self.answer(line, |_| {}),
                18 => self.answer(line, |data| data[0] ^= 1),
                19 => {
                    if let Some(request) = self.asked.pop() {
                        line.say(Message::Reject(request));
                    }
                }
                20 => {
                    let request = self.request();
                    line.piece(request, |_| {});
                }
                21 => {
                    let n = usize::from(self.byte());
                    let payload: Vec<u8> = (0..n).map(|_| self.byte()).collect();
                    line.say(Message::Extended { id: self.byte() % 3, payload: &payload });
                }
                22 => line.say(Message::HashRequest(HashRequest {
                    pieces_root: [7; 32],
                    base_layer: self.number(),
                    index: self.number(),
                    length: self.number(),
                    proof_layers: self.number(),
                })),
                23 => self.offer(line),
                24 => self.metadata(line),
                25 => {
                    let count = self.byte();
                    let addr = |n: u8| SocketAddr::from(([70, n, 1, 1], 7000));
                    let peer = |n| PexPeer { addr: addr(n), flags: PexFlags(n) };
                    let message =
                        PexMessage { added: (0..count).map(peer).collect(), dropped: vec![addr(count)] };
                    let mut payload = Vec::new();
                    message.encode(&mut payload);
                    line.say(Message::Extended { id: 1, payload: &payload });
                }
                26 => {
                    let mut payload = Vec::new();
                    DontHave(self.number()).encode(&mut payload);
                    line.say(Message::Extended { id: 3, payload: &payload });
                }
                _ => {
                    line.say(Message::KeepAlive);
                    if self.byte() == 0 {
                        return line.close();
                    }
                }
            }
        }
    }

    /// An extension handshake, true or not.
    fn offer(&mut self, line: &mut Line<'_>) {
        let right = line.content.torrent.info_bytes().len() as u64;
        let shape = self.byte();
        let metadata_size = [Some(right), Some(right), Some(right + 1), None, Some(64 << 20), Some(2 << 30)]
            [usize::from(shape % 6)];
        let ids =
            [("ut_metadata", shape / 64), ("ut_pex", self.byte() % 4), ("lt_donthave", self.byte() % 4)];
        let said = ExtendedHandshake {
            extensions: ids.into_iter().collect(),
            metadata_size,
            port: Some(7000),
            upload_only: (shape & 8 != 0).then_some(shape & 16 != 0),
            ..ExtendedHandshake::default()
        };
        let mut payload = Vec::new();
        said.encode(&mut payload);
        line.say(Message::Extended { id: 0, payload: &payload });
    }

    /// A message about metadata, right or wrong, asked for or not.
    fn metadata(&mut self, line: &mut Line<'_>) {
        let (kind, piece) = (self.byte(), self.number());
        let info = line.content.torrent.info_bytes();
        let wrong = vec![7; info.len()];
        let total = Some(info.len() as u64);
        let message = match kind % 5 {
            0 => MetadataMessage::Request { piece },
            1 => MetadataMessage::Reject { piece },
            2 => MetadataMessage::Data { piece: 0, total_size: total, data: info },
            3 => MetadataMessage::Data { piece: 0, total_size: total, data: &wrong },
            _ => MetadataMessage::Data { piece, total_size: Some(u64::from(piece)), data: &wrong[..1] },
        };
        let mut payload = Vec::new();
        message.encode(&mut payload);
        line.say(Message::Extended { id: 2, payload: &payload });
    }

    fn answer(&mut self, line: &mut Line<'_>, spoil: impl FnOnce(&mut [u8])) {
        if !self.asked.is_empty() {
            let request = self.asked.remove(0);
            line.piece(request, spoil);
        }
    }
}
