//! An info dictionary as it came.

use std::fmt;
use std::sync::Arc;

/// An info dictionary in the pieces that it came in. Clones share the bytes, which were copied once, from the socket:
/// putting them together is left to whoever has the time for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Info(Arc<[Box<[u8]>]>);

impl Info {
    pub(super) fn of(pieces: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        Self(pieces.into_iter().collect())
    }

    /// Bytes of the whole.
    pub fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole. Copies up to 64 MiB.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Info").field("len", &self.len()).finish()
    }
}
