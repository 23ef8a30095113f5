//! The sending half of a connection: what is queued, in order, and how far it was written.
//!
//! Small messages gather in byte segments; a block is queued as its 13-byte header and the pooled buffer that the disk
//! filled, so that payload is never copied before the system call.

use std::collections::VecDeque;
use std::io::IoSlice;

use metainfo::{BLOCK, PieceRange};
use storage::{Buf, Pool};
use wire::peer::Message;

/// Slices in one write: the system takes up to 1,024, but 64 blocks are 1 MiB already.
const MAX_SLICES: usize = 64;
/// Small messages are gathered up to this many bytes in one segment.
const SEGMENT: usize = 4096;

/// Bytes of small messages that may wait at a peer that does not read; above it the peer is closed.
pub(crate) const MAX_CONTROL: usize = 1 << 20;

/// The sending half of one connection. An idle one owns no memory.
#[derive(Default)]
pub(crate) struct Tx {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that were written already.
    written: usize,
    control: usize,
    buffers: usize,
}

/// Bytes of the buffer that a range is read into: the pool has none smaller than a block.
pub(crate) fn buffer_of(range: PieceRange) -> usize {
    range.len().max(BLOCK) as usize
}

enum Segment {
    Control(Vec<u8>),
    Block { header: [u8; 13], range: PieceRange, data: Buf },
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Control(bytes) => bytes.len(),
            Self::Block { data, .. } => 13 + data.len(),
        }
    }
}

/// What one write brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Payload bytes of blocks, in full once their last byte is written.
    pub(crate) payload: u64,
    /// Bytes of the buffers of those blocks.
    pub(crate) buffers: usize,
}

impl Tx {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes of buffers of blocks that wait.
    pub(crate) fn buffers(&self) -> usize {
        self.buffers
    }

    /// Bytes of small messages that wait.
    pub(crate) fn control(&self) -> usize {
        self.control
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: &Message<'_>) {
        self.push_with(|out| message.encode(out));
    }

    /// Queues raw bytes: a handshake.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_with(|out| out.extend_from_slice(bytes));
    }

    fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.segments.back(), Some(Segment::Control(bytes)) if bytes.len() < SEGMENT) {
            self.segments.push_back(Segment::Control(Vec::new()));
        }
        if let Some(Segment::Control(bytes)) = self.segments.back_mut() {
            let before = bytes.len();
            encode(bytes);
            self.control += bytes.len() - before;
        }
    }

    /// Queues a block that was read from disk, perhaps with zeros behind it.
    pub(crate) fn push_block(&mut self, range: PieceRange, data: Buf) {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let message = Message::Piece { index: range.piece().get(), begin: range.begin(), len };
        let mut header = [0; 13];
        let mut bytes = Vec::with_capacity(13);
        message.encode(&mut bytes);
        header.copy_from_slice(&bytes);
        self.buffers += buffer_of(range);
        self.segments.push_back(Segment::Block { header, range, data });
    }

    /// Takes a block out of the queue again, if none of it was written.
    pub(crate) fn cancel(&mut self, range: PieceRange, pool: &mut Pool) -> bool {
        let begun = usize::from(self.written > 0);
        let found = |s: &Segment| matches!(s, Segment::Block { range: r, .. } if *r == range);
        let Some(at) = self.segments.iter().skip(begun).position(found) else { return false };
        if let Some(Segment::Block { data, .. }) = self.segments.remove(begun + at) {
            self.buffers -= buffer_of(range);
            pool.give(data);
        }
        true
    }

    /// The next bytes to write, at most `budget`.
    pub(crate) fn slices<'a>(&'a self, budget: usize, out: &mut WriteSlices<'a>) {
        let mut left = budget;
        let mut skip = self.written;
        let mut push = |bytes: &'a [u8]| {
            if left == 0 {
                return false;
            }
            let from = skip.min(bytes.len());
            skip -= from;
            let bytes = &bytes[from..];
            let bytes = &bytes[..bytes.len().min(left)];
            left -= bytes.len();
            bytes.is_empty() || out.push(bytes)
        };
        for segment in &self.segments {
            let room = match segment {
                Segment::Control(bytes) => push(bytes),
                Segment::Block { header, data, .. } => push(header) && push(data.as_slice()),
            };
            if !room {
                return;
            }
        }
    }

    /// Counts `n` bytes as written and gives the buffers of finished blocks back.
    pub(crate) fn advance(&mut self, n: usize, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        self.written += n;
        while let Some(first) = self.segments.front() {
            let len = first.len();
            if self.written < len {
                break;
            }
            self.written -= len;
            match self.segments.pop_front() {
                Some(Segment::Control(bytes)) => self.control -= bytes.len(),
                Some(Segment::Block { range, data, .. }) => {
                    self.buffers -= buffer_of(range);
                    sent.buffers += buffer_of(range);
                    sent.payload += data.len() as u64;
                    pool.give(data);
                }
                None => {}
            }
        }
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
        sent
    }

    /// Drops all that waits and gives its buffers back.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for segment in std::mem::take(self).segments {
            if let Segment::Block { data, .. } = segment {
                pool.give(data);
            }
        }
    }
}

/// What one write takes from.
pub struct WriteSlices<'a> {
    slices: [IoSlice<'a>; MAX_SLICES],
    used: usize,
}

impl<'a> WriteSlices<'a> {
    pub(crate) fn new() -> Self {
        Self { slices: [IoSlice::new(&[]); MAX_SLICES], used: 0 }
    }

    fn push(&mut self, bytes: &'a [u8]) -> bool {
        let Some(place) = self.slices.get_mut(self.used) else { return false };
        *place = IoSlice::new(bytes);
        self.used += 1;
        true
    }

    /// The slices, to write in order.
    pub fn as_slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.used]
    }
}
