//! The name of a running torrent towards the application.

/// Names a torrent of one engine. A stale key never names a newer torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TorrentKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl TorrentKey {
    pub(crate) const fn slot(self) -> usize {
        self.slot as usize
    }
}
