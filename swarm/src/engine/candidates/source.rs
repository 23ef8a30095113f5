//! Where addresses come from.

/// Who told us of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The user asked for it.
    User,
    /// Found on the local network (BEP 14).
    Lsd,
    /// It was known from an earlier run.
    Resume,
    /// It connected to us and told its port.
    Incoming,
    /// A tracker.
    Tracker,
    /// Another peer (BEP 11).
    Pex,
    /// The DHT (BEP 5).
    Dht,
    /// The magnet link that the user gave (`x.pe`, BEP 9).
    Link,
}

/// A set of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources(u8);

impl Sources {
    /// Every source.
    pub const ALL: Self = Self(0xff);
    /// What a private torrent may use (BEP 27).
    pub const PRIVATE: Self = Self::of(&[Source::User, Source::Resume, Source::Incoming, Source::Tracker]);

    /// These sources.
    pub const fn of(sources: &[Source]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < sources.len() {
            bits |= 1 << sources[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Who names peers to all the world, which a private torrent is not told to.
    const OPEN: Self = Self::of(&[Source::Lsd, Source::Pex, Source::Dht, Source::Link]);
    /// Who knows of a private torrent.
    const MEMBERS: Self = Self::of(&[Source::User, Source::Resume, Source::Tracker]);

    /// Whether a peer was named by others than those who know of a private torrent. One that is not named at all dialled us:
    /// its tracker may have named us.
    pub const fn are_open(self) -> bool {
        self.and(Self::OPEN).0 != 0 && self.and(Self::MEMBERS).0 == 0
    }

    /// Whether the source is in the set.
    pub const fn has(self, source: Source) -> bool {
        self.0 & (1 << source as u8) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn insert(&mut self, source: Source) {
        *self = Self(self.0 | Self::of(&[source]).0);
    }

    pub(super) const fn without(self, source: Source) -> Self {
        Self(self.0 & !Self::of(&[source]).0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How little the best of the sources is trusted: 0 the user's word, 1 what we or the local network know, 2
    /// trackers, 3 the word of strangers.
    pub(super) const fn distrust(self) -> u8 {
        if self.has(Source::User) || self.has(Source::Link) {
            0
        } else if self.has(Source::Lsd) || self.has(Source::Resume) || self.has(Source::Incoming) {
            1
        } else if self.has(Source::Tracker) {
            2
        } else {
            3
        }
    }
}
