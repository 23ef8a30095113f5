//! A victim among honest peers, and someone who attacks it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use swarm::engine::{Close, Config, Event};
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, Log, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, Message, Request};

/// What happened to an attacker.
pub(crate) type Seen = Rc<RefCell<Log>>;

/// Pieces of the arena's torrent, of 64 KiB each.
pub(crate) const PIECES: u32 = 32;
pub(crate) const PIECE: u32 = 64 * 1024;
pub(crate) const BLOCK: u32 = 16 * 1024;

/// A victim with half of a torrent, a seed it takes the rest from, and a friend that takes everything from both.
pub(crate) struct Arena {
    pub(crate) world: World,
    pub(crate) content: Content,
    pub(crate) victim: NodeId,
    seed: NodeId,
    friend: NodeId,
    attackers: Vec<NodeId>,
    met: bool,
}

impl Arena {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    /// An arena whose victim has settings of its own.
    pub(crate) fn with(seed: u64, adjust: impl FnOnce(&mut Config)) -> Self {
        let content = Content::new(seed, (PIECES * PIECE) as usize, PIECE);
        let mut world = World::new(seed);
        let access = Access::symmetric(400_000);
        let mut half = Bitfield::new(PIECES);
        (0..PIECES / 2).for_each(|piece| {
            half.set(piece);
        });
        let victim = world.add_with(&content, Role::Partial(half), access, DiskSpeed::default(), adjust);
        let seed = world.add(&content, Role::Seed, access);
        let friend = world.add(&content, Role::Leech, access);
        Self { world, content, victim, seed, friend, attackers: Vec::new(), met: false }
    }

    /// Puts an attacker beside the victim. Who does not dial by itself is dialled by the victim.
    pub(crate) fn attack(
        &mut self,
        peer: impl FnOnce(Scripted, std::net::SocketAddr) -> Scripted,
        script: impl FnMut(&mut Line<'_>, Heard<'_>) + 'static,
    ) -> Seen {
        let peer = peer(Scripted::new(&self.content), self.world.addr(self.victim));
        let access = Access::symmetric(20_000_000);
        let (id, log) = peer.enter(&mut self.world, access, script);
        self.attackers.push(id);
        log
    }

    /// An attacker that dials the victim.
    pub(crate) fn caller(&mut self, script: impl FnMut(&mut Line<'_>, Heard<'_>) + 'static) -> Seen {
        self.attack(Scripted::dials, script)
    }

    /// An attacker that dials the victim and says `bytes` after its handshake.
    pub(crate) fn says(&mut self, bytes: Vec<u8>) -> Seen {
        self.caller(move |line, heard| {
            if heard == Heard::Open {
                line.raw(&bytes);
            }
        })
    }

    /// Brings the honest ones together.
    pub(crate) fn meet(&mut self) {
        self.met = true;
        self.world.introduce(self.victim, self.seed);
        self.world.introduce(self.friend, self.victim);
        self.world.introduce(self.friend, self.seed);
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        let end = self.world.now + Duration::from_secs(seconds);
        self.world.run_until(end, |_| false);
    }

    /// Lets the honest ones finish, 60 s at most, and sees that nothing was done to them.
    ///
    /// # Panics
    /// When they were harmed.
    pub(crate) fn finish(&mut self) {
        let end = self.world.now + Duration::from_secs(60);
        if !self.met {
            self.meet();
        }
        let done = self.world.run_until_complete(&[self.victim, self.friend], end);
        assert!(done.is_some(), "the honest ones were held up: {:?}", self.status());
        self.world.check();
        let honest = [self.victim, self.seed, self.friend].map(|id| self.world.addr(id).ip());
        for id in [self.victim, self.friend] {
            for (at, event) in &self.world.node(id).events {
                let Event::PeerBanned { addr, .. } = event else { continue };
                assert!(!honest.contains(&addr.ip()), "{addr} was banned at {at:?}");
            }
        }
    }

    fn status(&self) -> Vec<Option<u32>> {
        let now = self.world.now;
        let nodes = [self.victim, self.friend].map(|id| self.world.node(id));
        nodes.map(|node| node.engine.torrent_status(now, node.torrent).map(|s| s.pieces_done)).to_vec()
    }

    /// Why the victim closed its connections with attackers.
    pub(crate) fn reasons(&self) -> Vec<Close> {
        let attackers: Vec<IpAddr> = self.attackers.iter().map(|id| self.world.addr(*id).ip()).collect();
        let left = self.world.node(self.victim).events.iter().filter_map(|(_, event)| match event {
            Event::PeerLeft { addr, reason, .. } if attackers.contains(&addr.ip()) => Some(reason.clone()),
            _ => None,
        });
        left.collect()
    }

    /// Whether the victim banned an attacker.
    pub(crate) fn banned(&self) -> bool {
        let events = &self.world.node(self.victim).events;
        events.iter().any(|(_, event)| matches!(event, Event::PeerBanned { .. }))
    }

    /// The most bytes that the victim held.
    pub(crate) fn held(&self) -> usize {
        self.world.node(self.victim).most_held
    }
}

/// One message as bytes.
pub(crate) fn bytes(message: Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// A length prefix, an id and a body, right or wrong.
pub(crate) fn frame(len: u32, id: u8, body: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], &[id], body].concat()
}

/// A request for the first block of a piece.
pub(crate) fn first_block(index: u32) -> Request {
    Request { index, begin: 0, len: BLOCK }
}
