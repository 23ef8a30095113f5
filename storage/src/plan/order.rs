//! What the plan wants done next, and how it is done.
//!
//! Whoever executes an order takes it, calls [`Order::execute`] on a thread that may wait, and gives it back to
//! [`Plan::done`](super::Plan::done), in any order among several. An order that was not executed, or whose
//! execution panicked, is a failed one.

use crate::sha1::digest_each;
use crate::{Buf, FileChange, Hashes, Operation, PieceHasher, Pieces, Storage, StorageError, StoreId, Token};
use metainfo::{BLOCK, Block, PieceRange};
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;

/// Slices given to a backend in one call.
const SLICES: usize = 64;

/// A storage and what its bytes are checked against.
#[derive(Clone)]
pub struct Store {
    /// Where the bytes are.
    pub storage: Arc<dyn Storage>,
    /// What the pieces are checked against.
    pub pieces: Arc<dyn Pieces>,
}

/// One thing for one thread to do.
#[derive(Debug)]
pub enum Order {
    /// Hash what is in order, then write it: one stripe for each lane of the hash.
    Write(Vec<Stripe>),
    /// Read ranges of one piece.
    Read(Reads),
    /// Read blocks of one piece back and digest them.
    ReadBack(ReadBack),
    /// Make a store durable.
    Sync(StoreSync),
    /// Try whether a store can be written to.
    Probe(StoreProbe),
    /// Find out what others did to the files of a store.
    Look(StoreLook),
}

/// Adjacent blocks of one piece.
#[derive(Debug)]
pub struct Stripe {
    pub(super) slot: usize,
    pub(super) store: StoreId,
    pub(super) epoch: u64,
    pub(super) range: PieceRange,
    pub(super) blocks: Vec<Block>,
    pub(super) buffers: Vec<Buf>,
    /// The running hash, when these blocks are next in it.
    pub(super) hasher: Option<PieceHasher>,
    pub(super) ends: bool,
    /// On success the verdict, if the piece ends here.
    pub(super) result: Outcome<Option<Verdict>>,
}

/// Reads of one piece, sorted by place.
#[derive(Debug)]
pub struct Reads {
    pub(super) slot: usize,
    pub(super) store: StoreId,
    pub(super) parts: Vec<ReadPart>,
}

#[derive(Debug)]
pub(super) struct ReadPart {
    pub(super) token: Token,
    pub(super) range: PieceRange,
    pub(super) data: Buf,
    pub(super) result: Outcome<()>,
}

/// Blocks that are digested from storage.
#[derive(Debug)]
pub struct ReadBack {
    pub(super) slot: usize,
    pub(super) store: StoreId,
    pub(super) range: PieceRange,
    pub(super) blocks: Range<u32>,
    pub(super) work: BackWork,
    pub(super) ends: bool,
    pub(super) result: Outcome<Option<Verdict>>,
}

#[derive(Debug)]
pub(super) enum BackWork {
    /// Continues the hash of a piece that is being written.
    Continue(PieceHasher),
    /// Checks a piece.
    Check(PieceHasher),
    /// Digests each block.
    Digests(Vec<[u8; 20]>),
}

/// A sync that answers these tokens.
#[derive(Debug)]
pub struct StoreSync {
    pub(super) store: StoreId,
    pub(super) tokens: Vec<Token>,
    pub(super) result: Outcome<()>,
}

/// A test of a store.
#[derive(Debug)]
pub struct StoreProbe {
    pub(super) store: StoreId,
    pub(super) write: bool,
    pub(super) result: Outcome<()>,
}

/// A look at the files of a store.
#[derive(Debug)]
pub struct StoreLook {
    pub(super) store: StoreId,
    pub(super) result: Outcome<Vec<FileChange>>,
}

/// What came of an order; `None` before it is executed.
pub(super) type Outcome<T> = Option<Result<T, StorageError>>;

/// Whether a piece matches, or that its hash is not known.
pub(super) type Verdict = Result<Hashes, StorageError>;

impl Order {
    /// Does it, or what is left of it after [`fail`](Self::fail). `store` finds a store by its id; `scratch` is kept between calls for reading back.
    pub fn execute(&mut self, store: impl Fn(StoreId) -> Option<Store>, scratch: &mut Vec<u8>) {
        match self {
            Self::Write(stripes) => {
                let mut open: Vec<_> = stripes.iter_mut().filter(|stripe| stripe.result.is_none()).collect();
                let hashers = hash(&open);
                for (stripe, hasher) in open.iter_mut().zip(hashers) {
                    let written = found(&store, stripe.store);
                    stripe.result = Some(written.and_then(|store| stripe.write(&store, hasher)));
                }
            }
            Self::Read(reads) => match found(&store, reads.store) {
                Ok(store) => reads.execute(&store),
                Err(error) => reads.fail(&error),
            },
            Self::ReadBack(back) => {
                let store = found(&store, back.store);
                back.result = Some(store.and_then(|store| back.execute(&store, scratch)));
            }
            Self::Sync(sync) => {
                sync.result = Some(found(&store, sync.store).and_then(|store| store.storage.sync()));
            }
            Self::Probe(probe) => {
                probe.result =
                    Some(found(&store, probe.store).and_then(|store| store.storage.probe(probe.write)));
            }
            Self::Look(look) => {
                look.result = Some(found(&store, look.store).and_then(|store| store.storage.look()));
            }
        }
    }

    /// Makes it a failed order, whatever was done of it; of several stripes, the first that has no result yet. Whether
    /// others are left to [`execute`](Self::execute).
    pub fn fail(&mut self, error: &StorageError) -> bool {
        match self {
            Self::Write(stripes) => {
                let mut open = stripes.iter_mut().filter(|stripe| stripe.result.is_none());
                if let Some(stripe) = open.next() {
                    stripe.result = Some(Err(error.clone()));
                }
                return open.next().is_some();
            }
            Self::Read(reads) => reads.fail(error),
            Self::ReadBack(back) => back.result = Some(Err(error.clone())),
            Self::Sync(sync) => sync.result = Some(Err(error.clone())),
            Self::Probe(probe) => probe.result = Some(Err(error.clone())),
            Self::Look(look) => look.result = Some(Err(error.clone())),
        }
        false
    }

    /// Whether it is a sync, a probe or a look, which may take long and move no bytes.
    pub(super) fn is_upkeep(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::Probe(_) | Self::Look(_))
    }

    /// Bytes that are read or written, to estimate what it costs.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Write(stripes) => stripes.iter().map(|stripe| u64::from(stripe.range.len())).sum(),
            Self::Read(reads) => reads.parts.iter().map(|part| u64::from(part.range.len())).sum(),
            Self::ReadBack(back) => back.range.len().into(),
            Self::Sync(_) | Self::Probe(_) | Self::Look(_) => 0,
        }
    }
}

impl Stripe {
    pub(super) fn first(&self) -> u32 {
        self.range.begin() / BLOCK
    }

    /// Writes what `hasher` has counted in. The running hash moves on only when both are done.
    fn write(&mut self, store: &Store, hasher: Option<PieceHasher>) -> Result<Option<Verdict>, StorageError> {
        write_all(&*store.storage, &*store.pieces, self.range, &self.buffers)?;
        let Some(hasher) = hasher else { return Ok(None) };
        if self.ends {
            return Ok(Some(verdict(store, self.range, hasher)));
        }
        self.hasher = Some(hasher);
        Ok(None)
    }
}

impl Reads {
    /// One call for each run of adjacent ranges.
    fn execute(&mut self, store: &Store) {
        for run in self.parts.chunk_by_mut(|a, b| a.range.end() == b.range.begin()) {
            for part in run.chunks_mut(SLICES) {
                match (read_run(store, part), part) {
                    (Ok(()), _) => {}
                    (Err(error), [single]) => single.result = Some(Err(error)),
                    // One by one, so that each is told its own error, and only those that have one.
                    (Err(_), part) => part.chunks_mut(1).for_each(|single| {
                        let result = read_run(store, single);
                        single[0].result = Some(result);
                    }),
                }
            }
        }
    }

    fn fail(&mut self, error: &StorageError) {
        self.parts.iter_mut().for_each(|part| part.result = Some(Err(error.clone())));
    }
}

impl ReadBack {
    fn execute(&mut self, store: &Store, scratch: &mut Vec<u8>) -> Result<Option<Verdict>, StorageError> {
        scratch.resize(scratch.len().max(self.range.len() as usize), 0);
        let bytes = &mut scratch[..self.range.len() as usize];
        store.storage.read(self.range, &mut [IoSliceMut::new(bytes)])?;
        match &mut self.work {
            BackWork::Continue(hasher) | BackWork::Check(hasher) => {
                hasher.update(bytes);
                Ok(self.ends.then(|| verdict(store, self.range, hasher.clone())))
            }
            BackWork::Digests(digests) => {
                digests.extend(digest_each(bytes.chunks(BLOCK as usize)));
                Ok(None)
            }
        }
    }
}

/// The running hashes after these stripes, of all in order together.
fn hash(stripes: &[&mut Stripe]) -> Vec<Option<PieceHasher>> {
    let mut hashers: Vec<_> = stripes.iter().map(|stripe| stripe.hasher.clone()).collect();
    let pairs = hashers.iter_mut().zip(stripes);
    let mut messages: Vec<_> =
        pairs.filter_map(|(hasher, stripe)| Some((hasher.as_mut()?, &stripe.buffers[..]))).collect();
    PieceHasher::update_together(&mut messages);
    hashers
}

fn verdict(store: &Store, range: PieceRange, hasher: PieceHasher) -> Verdict {
    store.pieces.verify(range.piece(), hasher.finish()).ok_or_else(|| {
        let name = format!("piece {}", range.piece().get());
        StorageError::new(Operation::Read, name, None, io::Error::other("the hash of the piece is not known"))
    })
}

fn write_all(
    storage: &dyn Storage,
    pieces: &dyn Pieces,
    range: PieceRange,
    buffers: &[Buf],
) -> Result<(), StorageError> {
    let mut begin = range.begin();
    for part in buffers.chunks(SLICES) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, buf) in slices.iter_mut().zip(part) {
            *slice = IoSlice::new(buf.as_slice());
        }
        let len: usize = part.iter().map(Buf::len).sum();
        let within = super::range(pieces.geometry(), range.piece(), begin..begin + len as u32);
        storage.write(within, &slices[..part.len()])?;
        begin = within.end();
    }
    Ok(())
}

/// Reads adjacent ranges in one call.
fn read_run(store: &Store, run: &mut [ReadPart]) -> Result<(), StorageError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
    let piece = first.range.piece();
    let whole = super::range(store.pieces.geometry(), piece, first.range.begin()..last.range.end());
    let mut slices: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    let count = run.len();
    for (slice, part) in slices.iter_mut().zip(run) {
        part.data.set_len(part.range.len() as usize);
        part.result = Some(Ok(()));
        *slice = IoSliceMut::new(part.data.as_mut_slice());
    }
    store.storage.read(whole, &mut slices[..count])
}

fn found(store: &impl Fn(StoreId) -> Option<Store>, id: StoreId) -> Result<Store, StorageError> {
    store(id).ok_or_else(|| super::no_store(id))
}
