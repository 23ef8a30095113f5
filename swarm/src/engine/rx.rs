//! The receiving half of a connection: where the next bytes go, and what they turn out to be.
//!
//! A read is one vectored call. What is certain comes first: the rest of the block being received. After it the
//! bytes are guessed: while requests are outstanding, the likely stream is header, block, header, block. So the
//! slices that follow are laid out like that, over pool buffers:
//!
//! ```text
//!   | rest of block | hdr 13 | block 16384 | hdr 13 | block 16384 | ...
//! ```
//!
//! Where the guess holds, a block lands in its own buffer and is never copied. Where it does not (a `have` in between,
//! a short block), what was read from there on is copied once and parsed as the plain stream that it is; the next
//! read is aligned again. A connection that owes us nothing reads into a shared scratch and owns no buffer.

use std::io::IoSliceMut;

use metainfo::{BLOCK, Block};
use storage::{Buf, Pool};
use wire::Decoded;
use wire::peer::{Limits, Message};

use super::close::Close;

/// Blocks that one read may fill beyond the one in progress.
pub(crate) const AHEAD: usize = 16;
/// Bytes of a `piece` message before its payload.
const HEADER: usize = 13;
const SCRATCH: usize = 16 * 1024;

/// Where one read goes: at most a block in progress, then header and block pairs.
pub struct ReadSlices<'a> {
    slices: [IoSliceMut<'a>; 2 * AHEAD + 2],
    used: usize,
}

impl<'a> ReadSlices<'a> {
    pub(crate) fn new() -> Self {
        Self { slices: std::array::from_fn(|_| IoSliceMut::new(&mut [])), used: 0 }
    }

    pub(crate) fn push(&mut self, slice: &'a mut [u8]) {
        if let Some(place) = self.slices.get_mut(self.used) {
            *place = IoSliceMut::new(slice);
            self.used += 1;
        }
    }

    /// The slices, to fill in order.
    pub fn as_mut_slices(&mut self) -> &mut [IoSliceMut<'a>] {
        &mut self.slices[..self.used]
    }
}

/// What a peer logic answers to the header of a `piece` message.
pub(crate) enum Incoming {
    /// It was asked for: keep the payload.
    Accept(Block),
    /// Not wanted any more: read past the payload.
    Discard,
}

/// Takes what was received.
pub(crate) trait Sink {
    /// Where buffers for payload come from.
    fn pool(&mut self) -> &mut Pool;
    /// A whole message other than `piece`.
    fn message(&mut self, message: Message<'_>) -> Result<(), Close>;
    /// The header of a `piece` message of `len` bytes of payload.
    fn piece(&mut self, index: u32, begin: u32, len: u32) -> Result<Incoming, Close>;
    /// The payload of an accepted block.
    fn block(&mut self, block: Block, data: Buf) -> Result<(), Close>;
}

/// The receiving half of one connection.
#[derive(Default)]
pub(crate) struct Rx {
    state: State,
    /// The start of a message that is not all there; no allocation while empty.
    partial: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    Message,
    Payload {
        block: Block,
        data: Buf,
        filled: usize,
    },
    Discard {
        left: usize,
    },
}

/// The memory behind one read, shared by all connections of a thread.
pub(crate) struct Slots {
    scratch: Box<[u8]>,
    headers: Box<[[u8; HEADER]; AHEAD]>,
    blocks: Vec<Buf>,
    /// Bytes of `headers[0]` in use: a header that began in an earlier read is shorter.
    first_header: usize,
    /// How much of the current block this read may fill.
    current: usize,
    layout: Layout,
    /// What could not be taken in place, made contiguous.
    spill: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Scratch,
    Blocks,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            scratch: vec![0; SCRATCH].into(),
            headers: Box::new([[0; HEADER]; AHEAD]),
            blocks: Vec::with_capacity(AHEAD),
            first_header: 0,
            current: 0,
            layout: Layout::Scratch,
            spill: Vec::new(),
        }
    }

    /// Plain bytes, for a connection whose handshake is not done.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch
    }

    /// The first bytes of the scratch.
    pub(crate) fn filled(&self, n: usize) -> &[u8] {
        &self.scratch[..n.min(self.scratch.len())]
    }

    /// Gives the unused buffers back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        for buf in self.blocks.drain(..) {
            pool.give(buf);
        }
    }
}

impl Rx {
    /// Whether a payload is being received.
    pub(crate) fn in_payload(&self) -> bool {
        !matches!(self.state, State::Message)
    }

    /// Bytes that this connection holds for what is not all there yet.
    pub(crate) fn held(&self) -> usize {
        let block = match &self.state {
            State::Payload { data, .. } => data.capacity(),
            _ => 0,
        };
        self.partial.capacity() + block
    }

    /// Gives back the buffer of a block in progress; the rest of it is read past. Whether there was one.
    pub(crate) fn discard(&mut self, pool: &mut Pool) -> bool {
        match std::mem::take(&mut self.state) {
            State::Payload { block, data, filled } => {
                pool.give(data);
                self.state = State::Discard { left: block.len() as usize - filled };
                true
            }
            other => {
                self.state = other;
                false
            }
        }
    }

    /// Gives back the buffer of a block in progress, with the block.
    pub(crate) fn abandon(&mut self, pool: &mut Pool) -> Option<Block> {
        match std::mem::take(&mut self.state) {
            State::Payload { block, data, .. } => {
                pool.give(data);
                Some(block)
            }
            _ => None,
        }
    }

    /// Lays out the next read of at most `budget` bytes, guessing that up to `expected` blocks follow.
    pub(crate) fn slices<'a>(
        &'a mut self,
        slots: &'a mut Slots,
        pool: &mut Pool,
        budget: usize,
        expected: usize,
        out: &mut ReadSlices<'a>,
    ) {
        debug_assert!(slots.blocks.is_empty());
        let mut left = budget;
        slots.current = 0;
        slots.layout = Layout::Scratch;
        let guess = !matches!(self.state, State::Discard { .. }) && self.partial.len() < HEADER;
        match &mut self.state {
            State::Payload { data, filled, block } => {
                let rest = &mut data.space()[*filled..block.len() as usize];
                slots.current = rest.len().min(left);
                left -= slots.current;
                out.push(&mut rest[..slots.current]);
            }
            State::Discard { left: unwanted } => left = left.min(*unwanted).max(1),
            State::Message => {}
        }
        let blocks = if guess { (left / (HEADER + BLOCK as usize)).min(expected).min(AHEAD) } else { 0 };
        if blocks == 0 {
            if left > 0 {
                let size = left.min(SCRATCH);
                out.push(&mut slots.scratch[..size]);
            }
            return;
        }
        slots.layout = Layout::Blocks;
        slots.first_header = HEADER - self.partial.len();
        slots.blocks.extend((0..blocks).map(|_| pool.take(BLOCK as usize)));
        for (i, (header, block)) in slots.headers.iter_mut().zip(&mut slots.blocks).enumerate() {
            let start = if i == 0 { HEADER - slots.first_header } else { 0 };
            block.set_len(BLOCK as usize);
            out.push(&mut header[start..]);
            out.push(block.as_mut_slice());
        }
    }

    /// Takes the `n` bytes that the driver read into the slices of the last [`Rx::slices`].
    pub(crate) fn advance(
        &mut self,
        slots: &mut Slots,
        n: usize,
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<(), Close> {
        let result = self.take(slots, n, limits, sink);
        slots.release(sink.pool());
        result
    }

    fn take(
        &mut self,
        slots: &mut Slots,
        n: usize,
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<(), Close> {
        let current = slots.current.min(n);
        if current > 0 {
            self.fill(current, sink)?;
        }
        let left = n - current;
        if left == 0 {
            return Ok(());
        }
        if slots.layout == Layout::Scratch {
            return self.feed(&slots.scratch[..left], limits, sink);
        }
        let taken = self.take_aligned(slots, left, sink)?;
        if taken == left {
            return Ok(());
        }
        let mut spill = std::mem::take(&mut slots.spill);
        spill.clear();
        gather(slots, taken, left, &mut spill);
        let result = self.feed(&spill, limits, sink);
        slots.spill = spill;
        result
    }

    /// Takes header and block pairs as long as they lie where they were guessed; says how many bytes it took.
    fn take_aligned(&mut self, slots: &mut Slots, left: usize, sink: &mut impl Sink) -> Result<usize, Close> {
        let mut taken = 0;
        for i in 0..slots.blocks.len() {
            let size = if i == 0 { slots.first_header } else { HEADER };
            if left - taken < size {
                return Ok(taken);
            }
            let mut header = slots.headers[i];
            if i == 0 {
                header[..HEADER - size].copy_from_slice(&self.partial);
            }
            let Some((index, begin, len)) = piece_header(&header) else { return Ok(taken) };
            let got = (left - taken - size).min(BLOCK as usize);
            let rest = left - taken - size;
            if len > BLOCK || (len < BLOCK && rest > len as usize) {
                return Ok(taken);
            }
            self.partial = Vec::new();
            taken += size + got;
            match sink.piece(index, begin, len)? {
                Incoming::Accept(block) => {
                    let data = std::mem::take(&mut slots.blocks[i]);
                    self.state = State::Payload { block, data, filled: 0 };
                    self.fill(got, sink)?;
                }
                Incoming::Discard if got < len as usize => {
                    self.state = State::Discard { left: len as usize - got };
                }
                Incoming::Discard => {}
            }
            if taken == left {
                return Ok(taken);
            }
        }
        Ok(taken)
    }

    /// Counts bytes that are already in the current block.
    fn fill(&mut self, n: usize, sink: &mut impl Sink) -> Result<(), Close> {
        let State::Payload { block, data, filled } = &mut self.state else { return Ok(()) };
        *filled += n;
        if *filled < block.len() as usize {
            return Ok(());
        }
        let block = *block;
        let mut data = std::mem::take(data);
        data.set_len(block.len() as usize);
        self.state = State::Message;
        sink.block(block, data)
    }

    /// Parses a plain stream, copying payload into block buffers.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<(), Close> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Discard { left } => {
                    let n = bytes.len().min(*left);
                    *left -= n;
                    bytes = &bytes[n..];
                    if *left == 0 {
                        self.state = State::Message;
                    }
                }
                State::Payload { block, data, filled } => {
                    let n = bytes.len().min(block.len() as usize - *filled);
                    data.space()[*filled..*filled + n].copy_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    self.fill(n, sink)?;
                }
                State::Message if self.partial.is_empty() => match Message::parse(bytes, limits)? {
                    Decoded::Complete { value, consumed } => {
                        bytes = &bytes[consumed..];
                        self.message(value, sink)?;
                    }
                    Decoded::Incomplete { .. } => {
                        self.partial = bytes.to_vec();
                        return Ok(());
                    }
                },
                State::Message => bytes = self.feed_partial(bytes, limits, sink)?,
            }
        }
        Ok(())
    }

    /// Completes the message that an earlier read began; returns what follows it.
    fn feed_partial<'b>(
        &mut self,
        bytes: &'b [u8],
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<&'b [u8], Close> {
        let mut partial = std::mem::take(&mut self.partial);
        let mut rest = bytes;
        loop {
            match Message::parse(&partial, limits)? {
                Decoded::Complete { value, .. } => {
                    self.message(value, sink)?;
                    return Ok(rest);
                }
                Decoded::Incomplete { needed } => {
                    let n = needed.saturating_sub(partial.len()).max(1).min(rest.len());
                    if n == 0 {
                        self.partial = partial;
                        return Ok(rest);
                    }
                    partial.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                }
            }
        }
    }

    fn message(&mut self, message: Message<'_>, sink: &mut impl Sink) -> Result<(), Close> {
        let Message::Piece { index, begin, len } = message else { return sink.message(message) };
        self.state = match sink.piece(index, begin, len)? {
            Incoming::Accept(block) => {
                State::Payload { block, data: sink.pool().take(block.len() as usize), filled: 0 }
            }
            Incoming::Discard if len > 0 => State::Discard { left: len as usize },
            Incoming::Discard => State::Message,
        };
        Ok(())
    }
}

/// The fields of a `piece` header, if it is one.
fn piece_header(header: &[u8; HEADER]) -> Option<(u32, u32, u32)> {
    const PIECE: u8 = 7;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let len = word(0).checked_sub(9).filter(|&len| len > 0)?;
    (header[4] == PIECE).then(|| (word(5), word(9), len))
}

/// Copies the bytes from `from` to `to` of a guessed layout into one stretch. Blocks before `from` may have been
/// taken already; their place still counts.
fn gather(slots: &Slots, from: usize, to: usize, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut push = |bytes: &[u8], size: usize| {
        let (start, end) = (from.max(at), to.min(at + size));
        if start < end {
            out.extend_from_slice(&bytes[start - at..end - at]);
        }
        at += size;
    };
    for (i, (header, block)) in slots.headers.iter().zip(&slots.blocks).enumerate() {
        let header = if i == 0 { &header[HEADER - slots.first_header..] } else { &header[..] };
        push(header, header.len());
        push(block.as_slice(), BLOCK as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::Geometry;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Keeps what it is told; accepts the even pieces.
    struct Log {
        pool: Pool,
        geometry: Geometry,
        messages: Vec<String>,
        blocks: Vec<(Block, Vec<u8>)>,
    }

    impl Log {
        fn new() -> Self {
            let geometry = Geometry::contiguous(1 << 18, (1 << 22) - 5000).unwrap();
            Self { pool: Pool::new(64), geometry, messages: Vec::new(), blocks: Vec::new() }
        }
    }

    impl Sink for Log {
        fn pool(&mut self) -> &mut Pool {
            &mut self.pool
        }
        fn message(&mut self, message: Message<'_>) -> Result<(), Close> {
            self.messages.push(format!("{message:?}"));
            Ok(())
        }
        fn piece(&mut self, index: u32, begin: u32, len: u32) -> Result<Incoming, Close> {
            let block = self.geometry.block_at(index, begin, len)?;
            Ok(if index.is_multiple_of(2) { Incoming::Accept(block) } else { Incoming::Discard })
        }
        fn block(&mut self, block: Block, data: Buf) -> Result<(), Close> {
            self.blocks.push((block, data.as_slice().to_vec()));
            self.pool.give(data);
            Ok(())
        }
    }

    fn content(block: Block) -> Vec<u8> {
        let mark = block.piece().get().wrapping_mul(31).wrapping_add(block.index()) as u8;
        (0..block.len()).map(|i| mark.wrapping_add(i as u8)).collect()
    }

    /// A stream of blocks with other messages strewn in.
    fn stream(log: &Log, rng: &mut ChaCha8Rng) -> (Vec<u8>, Vec<Block>, usize) {
        let (mut bytes, mut accepted, mut others) = (Vec::new(), Vec::new(), 0);
        for piece in log.geometry.pieces() {
            for index in 0..log.geometry.blocks_in(piece) {
                if rng.random_bool(0.1) {
                    let payload = vec![7; rng.random_range(0..3000)];
                    let message = Message::Extended { id: 3, payload: &payload };
                    if rng.random_bool(0.5) { message } else { Message::Have(piece.get()) }
                        .encode(&mut bytes);
                    others += 1;
                }
                let block = log.geometry.block(piece, index).unwrap();
                let header = Message::Piece { index: piece.get(), begin: block.begin(), len: block.len() };
                header.encode(&mut bytes);
                bytes.extend(content(block));
                if piece.get().is_multiple_of(2) {
                    accepted.push(block);
                }
            }
        }
        (bytes, accepted, others)
    }

    /// Reads the stream through slices, `size` bytes at most at a time.
    fn read_all(bytes: &[u8], log: &mut Log, mut size: impl FnMut() -> (usize, usize)) -> Result<(), Close> {
        let (mut rx, mut slots) = (Rx::default(), Slots::new());
        let limits = Limits::for_pieces(log.geometry.piece_count());
        let mut at = 0;
        while at < bytes.len() {
            let (budget, expected) = size();
            let mut slices = ReadSlices::new();
            rx.slices(&mut slots, &mut log.pool, budget, expected, &mut slices);
            let mut n = 0;
            for slice in slices.as_mut_slices() {
                let take = slice.len().min(bytes.len() - at).min(budget - n);
                slice[..take].copy_from_slice(&bytes[at..at + take]);
                at += take;
                n += take;
            }
            assert!(n > 0 && n <= budget, "{n} of {budget}");
            rx.advance(&mut slots, n, &limits, log)?;
        }
        assert!(!rx.in_payload() && rx.partial.is_empty());
        Ok(())
    }

    #[test]
    fn any_split_and_any_guess_give_the_same_blocks() {
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut log = Log::new();
            let (bytes, accepted, others) = stream(&log, &mut rng);
            let most = [40, 5000, 70_000, 300_000][seed as usize % 4];
            read_all(&bytes, &mut log, || (rng.random_range(1..=most), rng.random_range(0..=20))).unwrap();
            assert_eq!(log.messages.len(), others, "seed {seed}");
            let found: Vec<_> = log.blocks.iter().map(|(block, _)| *block).collect();
            assert_eq!(found, accepted, "seed {seed}");
            assert!(log.blocks.iter().all(|(block, data)| *data == content(*block)), "seed {seed}");
        }
    }

    #[test]
    fn blocks_that_lie_where_they_were_guessed_are_not_copied() {
        let mut log = Log::new();
        let (mut rx, mut slots) = (Rx::default(), Slots::new());
        let limits = Limits::for_pieces(log.geometry.piece_count());
        let piece = log.geometry.piece(0).unwrap();
        let mut bytes = Vec::new();
        for index in 0..16 {
            let block = log.geometry.block(piece, index).unwrap();
            Message::Piece { index: 0, begin: block.begin(), len: block.len() }.encode(&mut bytes);
            bytes.extend(content(block));
        }
        let mut slices = ReadSlices::new();
        rx.slices(&mut slots, &mut log.pool, 1 << 20, 64, &mut slices);
        let mut rest = &bytes[..];
        for slice in slices.as_mut_slices() {
            let (now, later) = rest.split_at(slice.len().min(rest.len()));
            slice[..now.len()].copy_from_slice(now);
            rest = later;
        }
        assert!(rest.is_empty());
        rx.advance(&mut slots, bytes.len(), &limits, &mut log).unwrap();
        assert_eq!(log.blocks.len(), 16);
        assert_eq!(slots.spill.capacity(), 0, "nothing was copied");
    }

    #[test]
    fn an_absurd_length_is_refused_from_its_prefix() {
        for len in [u32::MAX, 1 << 31, 64 << 20] {
            let mut log = Log::new();
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.push(20);
            assert!(matches!(read_all(&bytes, &mut log, || (16384, 0)), Err(Close::Wire(_))));
        }
    }

    #[test]
    fn an_idle_connection_holds_nothing() {
        let mut log = Log::new();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (bytes, ..) = stream(&log, &mut rng);
        let mut rx = Rx::default();
        rx.feed(&bytes, &Limits::for_pieces(log.geometry.piece_count()), &mut log).unwrap();
        assert_eq!(rx.held(), 0);
        let _ = rng.next_u32();
    }
}
