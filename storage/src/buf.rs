//! Buffers for blocks, and the pool that recycles them.
//!
//! First touch of fresh memory costs more than copying into warm memory, so buffers go round: pool, socket, disk,
//! pool. A [`Pool`] belongs to one thread and takes no lock; a [`Buf`] travels through jobs and comes back in
//! their completions. A buffer that is dropped on the way is only freed.

use metainfo::BLOCK;

/// An owned buffer of fixed capacity, filled up to a length.
#[derive(Default)]
pub struct Buf {
    bytes: Box<[u8]>,
    len: usize,
}

impl Buf {
    /// A zeroed buffer of this capacity, of length 0.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), len: 0 }
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that count.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes count.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets how many of the bytes count; what lies between is whatever was there.
    ///
    /// # Panics
    /// When `len` is above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.bytes.len(), "{len} bytes in a buffer of {}", self.bytes.len());
        self.len = len;
    }

    /// The whole capacity, to read into.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes that count.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The bytes that count, to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), len: bytes.len() }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} of {})", self.len, self.bytes.len())
    }
}

/// Spare buffers of one block each, for one thread.
#[derive(Debug)]
pub struct Pool {
    spare: Vec<Buf>,
    keep: usize,
}

impl Pool {
    /// A pool that keeps at most `keep` spare buffers.
    pub fn new(keep: usize) -> Self {
        Self { spare: Vec::new(), keep }
    }

    /// A buffer that holds at least `len` bytes, of length 0. Those of one block or less are recycled.
    pub fn take(&mut self, len: usize) -> Buf {
        if len > BLOCK as usize {
            return Buf::with_capacity(len);
        }
        self.spare.pop().unwrap_or_else(|| Buf::with_capacity(BLOCK as usize))
    }

    /// Gives a buffer back. One of another size, or one too many, is freed.
    pub fn give(&mut self, mut buf: Buf) {
        if buf.capacity() == BLOCK as usize && self.spare.len() < self.keep {
            buf.set_len(0);
            self.spare.push(buf);
        }
    }

    /// Bytes held by spare buffers.
    pub fn spare_bytes(&self) -> usize {
        self.spare.len() * BLOCK as usize
    }

    /// Frees all spare buffers but `keep`.
    pub fn shrink_to(&mut self, keep: usize) {
        self.spare.truncate(keep);
        self.spare.shrink_to(keep);
    }
}
