//! Choosing blocks for a peer.
//!
//! In this order: the piece it works on; then, piece by piece, what [`Picker::choose`] says: a partial piece that may be
//! joined, or a new piece, rarest first, and of those that are as rare one that it suggested. When nothing is open for the peer, it helps in pieces
//! that others own, and in the endgame it duplicates requests (see `endgame`).
//!
//! No call looks at more than a fixed number of places: the list of joinable pieces and the order of untouched ones are
//! only probed, at random places. When all probes miss, as when all rare pieces are at other peers, the peer's cursor
//! goes on through its own pieces, 64 a step, and a sample of the next open ones decides.

use super::bits::ones;
use super::partial::{Partial, Set};
use super::table::CLASSES;
use super::{Cursor, Have, Manner, Order, PeerKey, PeerView, Picker, Priority, State};
use metainfo::{Block, PieceIndex};
use rand::Rng;
use std::cmp::Reverse;
use std::time::Duration;

/// Probes into the list of joinable pieces, for each piece chosen, and pieces compared.
const JOIN_PROBES: u32 = 48;
const JOIN_SAMPLE: usize = 8;
/// Probes into the order of untouched pieces, for each piece chosen, and into one bucket of it.
const ORDER_PROBES: u32 = 128;
const BUCKET_PROBES: u32 = 24;
/// Pieces compared, and words read for them, when the probes miss.
const SAMPLE: usize = 16;
const SAMPLE_WORDS: u32 = 16;
/// Pieces that a peer takes turns in, and blocks of each: as many as the disk hashes at a time.
pub(in crate::engine) const STRANDS: usize = 4;
const STRIPE: u32 = 16;
/// Pieces looked at in a list that the peer sent.
pub(super) const LISTED: usize = 64;

const WANTED: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

/// A number below `n`, which is not 0.
pub(super) fn below(rng: &mut impl Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// What one call of [`Picker::pick`] is after.
pub(super) struct Ask<'a> {
    pub(super) peer: PeerKey,
    pub(super) have: Have<'a>,
    pub(super) avoid: &'a [PieceIndex],
    pub(super) suggested: &'a [PieceIndex],
    pub(super) manner: Manner,
    pub(super) left: usize,
    pub(super) out: &'a mut Vec<Block>,
}

impl Ask<'_> {
    /// Whether the piece may be asked of the peer.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.have.has(piece) && !self.avoid.iter().any(|avoided| avoided.get() == piece)
    }
}

impl Picker {
    /// Picks up to `count` blocks to ask of a peer, appends them to `out` in the order in which to ask, and marks them as
    /// asked. Blocks of one piece follow each other, a stripe of it at least. A peer is never asked twice for the same block.
    ///
    /// In the endgame at most one block is picked, which others were asked for too; call it then for peers that have
    /// nothing else to do.
    pub fn pick(
        &mut self,
        peer: PeerKey,
        view: PeerView<'_>,
        cursor: &mut Cursor,
        count: usize,
        rng: &mut impl Rng,
        out: &mut Vec<Block>,
    ) {
        self.pick_worth(peer, view, cursor, count, rng, out, |_, _| Some(Duration::ZERO));
    }

    /// The same; in the endgame `gain` says how much sooner than from a peer that was asked for it a block would come, about,
    /// and `None` when it would not come sooner. A block is picked that gains most.
    pub fn pick_worth(
        &mut self,
        peer: PeerKey,
        view: PeerView<'_>,
        cursor: &mut Cursor,
        count: usize,
        rng: &mut impl Rng,
        out: &mut Vec<Block>,
        gain: impl FnMut(Block, PeerKey) -> Option<Duration>,
    ) {
        let PeerView { have, avoid, suggested, manner, .. } = view;
        let mut ask = Ask { peer, have, avoid, suggested, manner, left: count, out };
        if ask.left == 0 || self.finished() {
            return;
        }
        if let Some(allowed) = view.allowed {
            for piece in allowed.iter().take(LISTED) {
                self.take(piece.get(), &mut ask, cursor);
            }
            return;
        }
        let alone = view.manner == Manner::Alone;
        let words = self.words();
        cursor.sync(&mut self.openings, words, self.config.order, alone, rng);
        if view.manner == Manner::Several && self.config.order == Order::RarestFirst {
            self.braid(&mut ask, cursor, rng);
        } else {
            self.unbraid(peer, cursor);
        }
        if let Some(piece) = cursor.piece
            && self.take(piece, &mut ask, cursor) == 0
        {
            cursor.piece = None;
            self.leave(piece, peer);
        }
        // What cannot be begun now must not be taken for dead: then only pieces in progress are looked at.
        while ask.left > 0 && (cursor.dead < words || self.is_full()) {
            let Some(piece) = self.choose(&ask, cursor, rng) else { break };
            if self.take(piece, &mut ask, cursor) == 0 {
                break;
            }
        }
        if ask.left > 0 && cursor.dead == words && !self.is_full() {
            self.take_reopened(&mut ask, cursor);
        }
        if ask.left > 0 && !alone {
            self.help(&mut ask, rng);
            self.duplicate(&mut ask, rng, gain);
        }
    }

    /// Takes a stripe of one piece after the other, so that as many pieces are hashed at a time.
    fn braid(&mut self, ask: &mut Ask<'_>, cursor: &mut Cursor, rng: &mut impl Rng) {
        cursor.strands.extend(cursor.piece.take());
        while ask.left > 0 {
            let goes_on = cursor.strands.front().is_some_and(|&piece| self.is_within_stripe(piece));
            let may_begin = !goes_on && cursor.strands.len() < STRANDS && cursor.dead < self.words();
            let new = may_begin.then(|| self.choose(ask, cursor, rng)).flatten();
            let is_new = new.is_some();
            let Some(piece) = new.or_else(|| cursor.strands.pop_front()) else { return };
            if self.take_part(piece, STRIPE, ask) == 0 {
                self.leave(piece, ask.peer);
                if is_new {
                    return;
                }
            } else if self.is_within_stripe(piece) {
                cursor.strands.push_front(piece);
            } else {
                cursor.strands.push_back(piece);
            }
        }
    }

    /// The peer works on one piece at a time from now on.
    fn unbraid(&mut self, peer: PeerKey, cursor: &mut Cursor) {
        if cursor.piece.is_none() {
            cursor.piece = cursor.strands.pop_front();
        }
        while let Some(piece) = cursor.strands.pop_front() {
            self.leave(piece, peer);
        }
    }

    /// Whether the next free block of the piece is not the first of a stripe.
    fn is_within_stripe(&self, piece: u32) -> bool {
        let next = self.partial(piece).and_then(|partial| partial.first(Set::Free, false));
        next.is_some_and(|block| block % STRIPE != 0)
    }

    /// Takes blocks of a piece for the peer, if the piece is wanted, the peer has it, and it may take part. How many.
    fn take(&mut self, piece: u32, ask: &mut Ask<'_>, cursor: &mut Cursor) -> usize {
        let taken = self.take_part(piece, u32::MAX, ask);
        if taken > 0
            && let Some(left_behind) = cursor.piece.replace(piece).filter(|&before| before != piece)
        {
            self.leave(left_behind, ask.peer);
        }
        taken
    }

    /// Takes blocks of a piece up to the end of a stripe of so many.
    fn take_part(&mut self, piece: u32, stripe: u32, ask: &mut Ask<'_>) -> usize {
        if ask.left == 0 || !self.wanted.contains(piece) || !ask.has(piece) {
            return 0;
        }
        let at = match self.table.state(piece) {
            State::Have => return 0,
            State::Partial(at) => at as usize,
            State::Untouched if self.is_full() => return 0,
            State::Untouched => self.start(self.index(piece)),
        };
        if !may_take(&self.partials[at], ask) {
            return 0;
        }
        let (most, before) = (usize::from(self.config.duplicates), self.before(at));
        let Ask { peer, manner, left, .. } = *ask;
        let partial = &mut self.partials[at];
        let vacant = partial.owner == PeerKey::NONE && partial.free > 0;
        if manner == Manner::Share {
            if partial.owner == peer {
                partial.free_from_owner();
            }
        } else if vacant && partial.asked_only_of(peer) {
            partial.give_to(peer, manner == Manner::Alone);
        }
        let mut taken = 0;
        while taken < left {
            let block = partial.first(Set::Free, false).or_else(|| partial.stale_for(peer, most));
            let Some(block) = block else { break };
            partial.ask(block, peer);
            ask.out.extend(self.geometry.block(partial.piece, block));
            taken += 1;
            if block % stripe == stripe - 1 {
                break;
            }
        }
        self.after(at, before);
        ask.left -= taken;
        taken
    }

    /// The peer turned to another piece: what is free of this one is for everybody.
    fn leave(&mut self, piece: u32, peer: PeerKey) {
        if let State::Partial(at) = self.table.state(piece)
            && self.partials[at as usize].owner == peer
            && self.partials[at as usize].free > 0
        {
            self.edit(at as usize, Partial::free_from_owner);
        }
    }

    /// The exhausted peer looks at what opened since and at what it gained since.
    fn take_reopened(&mut self, ask: &mut Ask<'_>, cursor: &mut Cursor) {
        while let Some(&piece) = cursor.gained.last() {
            self.take(piece, ask, cursor);
            if ask.left == 0 {
                return;
            }
            cursor.gained.pop();
        }
        while cursor.seen < self.openings.seq {
            let piece = self.openings.get(cursor.seen);
            self.take(piece, ask, cursor);
            if ask.left == 0 {
                return;
            }
            cursor.seen += 1;
        }
    }

    /// The piece from which the peer should take blocks next; `None` when nothing is open for it.
    fn choose(&self, ask: &Ask<'_>, cursor: &mut Cursor, rng: &mut impl Rng) -> Option<u32> {
        let joined = self.probe_joinable(ask, rng);
        if let Some(piece) = joined {
            let priority = self.table.priority(piece);
            let more_urgent = WANTED.into_iter().take_while(|&p| p > priority);
            let begins = if self.is_full() { None } else { self.probe_order(more_urgent, ask, rng) };
            return begins.or(joined);
        }
        if self.is_full() {
            return None;
        }
        let new = match self.config.order {
            Order::Sequential => self.probe_order([Priority::High], ask, rng),
            Order::RarestFirst if self.counts.have < self.config.random_first => {
                let any = self.probe_anywhere(ask, rng);
                any.map(|any| self.suggested(ask, |piece| self.is_as_urgent(piece, any)).unwrap_or(any))
            }
            Order::RarestFirst => {
                let rare = self.probe_order(WANTED, ask, rng);
                let urgency = rare.map(|piece| self.table.urgency(piece));
                let is_as_rare = |piece| urgency.is_some_and(|rare| self.table.urgency(piece) <= rare);
                self.suggested(ask, is_as_rare).or(rare)
            }
        };
        new.or_else(|| self.go_round(ask, cursor))
    }

    /// An untouched piece that the peer suggested and for which this holds.
    fn suggested(&self, ask: &Ask<'_>, holds: impl Fn(u32) -> bool) -> Option<u32> {
        let mut pieces = ask.suggested.iter().take(LISTED).map(|piece| piece.get());
        pieces.find(|&piece| self.table.queued(piece) && ask.has(piece) && holds(piece))
    }

    fn is_as_urgent(&self, piece: u32, as_this: u32) -> bool {
        self.table.priority(piece) >= self.table.priority(as_this)
    }

    /// The best of some joinable pieces: by priority, then the one with the fewest free blocks.
    fn probe_joinable(&self, ask: &Ask<'_>, rng: &mut impl Rng) -> Option<u32> {
        let len = self.joinable_list.len() as u32;
        if len == 0 {
            return None;
        }
        let crowded = self.is_full() || self.partials.len() - self.counts.claimed > self.config.target;
        let start = below(rng, len);
        let sequential = self.config.order == Order::Sequential;
        (0..len.min(JOIN_PROBES))
            .map(|i| self.joinable_list[((start + i) % len) as usize])
            .filter(|&piece| ask.has(piece))
            .filter_map(|piece| Some((piece, self.partial(piece)?)))
            .filter(|(_, partial)| match ask.manner {
                Manner::Whole | Manner::Several if !crowded => {
                    partial.free > 0 && partial.asked_only_of(ask.peer)
                }
                _ => self.offers(partial, ask),
            })
            .take(JOIN_SAMPLE)
            .max_by_key(|&(piece, partial)| {
                let ripe = Reverse(if sequential { piece } else { partial.free });
                (self.table.priority(piece), ripe)
            })
            .map(|(piece, _)| piece)
    }

    /// The first hit among untouched pieces of these priorities, from the rarest class on.
    fn probe_order(
        &self,
        priorities: impl IntoIterator<Item = Priority>,
        ask: &Ask<'_>,
        rng: &mut impl Rng,
    ) -> Option<u32> {
        // What only seeds have is not at a peer that is no seed.
        let first = usize::from(matches!(ask.have, Have::Some(_)));
        let mut budget = ORDER_PROBES;
        for priority in priorities {
            for class in first..CLASSES {
                let places = self.table.bucket((3 - priority as usize) * CLASSES + class);
                let len = places.end - places.start;
                if len == 0 {
                    continue;
                }
                let (start, probes) = (below(rng, len), len.min(BUCKET_PROBES).min(budget));
                let mut pieces = (0..probes).map(|i| self.table.at(places.start + (start + i) % len));
                let hit = pieces.find(|&piece| ask.has(piece));
                if hit.is_some() {
                    return hit;
                }
                budget -= probes;
                if budget == 0 {
                    return None;
                }
            }
        }
        None
    }

    /// Any untouched piece of the highest priority there is, whether rare or not.
    fn probe_anywhere(&self, ask: &Ask<'_>, rng: &mut impl Rng) -> Option<u32> {
        let groups = WANTED.into_iter().map(|priority| self.table.group(priority));
        let places = groups.into_iter().find(|places| !places.is_empty())?;
        let len = places.end - places.start;
        let start = below(rng, len);
        (0..len.min(ORDER_PROBES))
            .map(|i| self.table.at(places.start + (start + i) % len))
            .find(|&piece| ask.has(piece))
    }

    /// Moves the cursor to the next word that holds something for the peer, and chooses from there on: the first piece when
    /// sequential, else the most urgent of a sample.
    fn go_round(&self, ask: &Ask<'_>, cursor: &mut Cursor) -> Option<u32> {
        let words = self.words();
        while cursor.dead < words {
            let first = self.open_in((cursor.start + cursor.dead) % words, ask).next();
            if first.is_none() {
                cursor.dead += 1;
                continue;
            }
            if self.config.order == Order::Sequential {
                return first;
            }
            let window = cursor.dead..words.min(cursor.dead + SAMPLE_WORDS);
            let open = window.flat_map(|d| self.open_in((cursor.start + d) % words, ask));
            return open.take(SAMPLE).min_by_key(|&piece| self.table.urgency(piece));
        }
        None
    }

    /// The pieces of a word from which the peer can take blocks.
    fn open_in(&self, w: u32, ask: &Ask<'_>) -> impl Iterator<Item = u32> + use<> {
        let avoided = ask.avoid.iter().filter(|piece| piece.get() / 64 == w);
        let avoided = avoided.fold(0, |word, piece| word | super::bits::mask(piece.get()));
        let (w, have) = (w as usize, ask.have.word(w as usize) & !avoided);
        let joinable = self.joinable.word(w) & have;
        let offered = match joinable {
            0 => 0,
            _ => ones(w, joinable)
                .filter(|&piece| self.partial(piece).is_some_and(|partial| self.offers(partial, ask)))
                .fold(0, |word, piece| word | super::bits::mask(piece)),
        };
        ones(w, self.untouched.word(w) & have | offered)
    }

    /// Whether the peer could take a block of this joinable piece.
    fn offers(&self, partial: &Partial, ask: &Ask<'_>) -> bool {
        let most = usize::from(self.config.duplicates);
        may_take(partial, ask) && (partial.free > 0 || partial.stale_for(ask.peer, most).is_some())
    }

    fn partial(&self, piece: u32) -> Option<&Partial> {
        match self.table.state(piece) {
            State::Partial(at) => Some(&self.partials[at as usize]),
            _ => None,
        }
    }
}

/// Whether the peer may take part in the piece at all.
fn may_take(partial: &Partial, ask: &Ask<'_>) -> bool {
    let vacant = partial.owner == PeerKey::NONE || partial.owner == ask.peer;
    vacant && (ask.manner != Manner::Alone || [PeerKey::NONE, ask.peer].contains(&partial.sole))
}
