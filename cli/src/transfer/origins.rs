//! Where peers come from.

use serde::Serialize;
use swarm::engine::PeerStatus;
use swarm::engine::candidates::Source;

/// Peers by who told of them. One that several told of counts with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Origins {
    /// Trackers.
    pub(super) tracker: usize,
    /// The DHT.
    dht: usize,
    /// Other peers.
    pub(super) pex: usize,
    /// The local network.
    pub(super) lsd: usize,
    /// The user, by `--peer` or by a magnet link.
    user: usize,
    /// Nobody: they connected to us.
    incoming: usize,
    /// An earlier run.
    resume: usize,
}

impl Origins {
    pub(crate) fn of(peers: &[PeerStatus]) -> Self {
        let count = |source| peers.iter().filter(|peer| peer.sources.has(source)).count();
        Self {
            tracker: count(Source::Tracker),
            dht: count(Source::Dht),
            pex: count(Source::Pex),
            lsd: count(Source::Lsd),
            user: count(Source::User)
                + peers
                    .iter()
                    .filter(|peer| peer.sources.has(Source::Link) && !peer.sources.has(Source::User))
                    .count(),
            incoming: count(Source::Incoming),
            resume: count(Source::Resume),
        }
    }

    /// In words, such as `3 by tracker, 2 by DHT`; empty without peers.
    pub(crate) fn words(&self) -> String {
        let parts = [
            (self.tracker, "by tracker"),
            (self.dht, "by DHT"),
            (self.pex, "by PEX"),
            (self.lsd, "by LSD"),
            (self.user, "by you"),
            (self.resume, "from before"),
            (self.incoming, "came"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_named() {
        assert_eq!(Origins::default().words(), "");
        let origins = Origins { tracker: 3, dht: 2, incoming: 1, ..Origins::default() };
        assert_eq!(origins.words(), "3 by tracker, 2 by DHT, 1 came");
        let all = Origins { tracker: 1, dht: 2, pex: 3, lsd: 4, user: 5, incoming: 6, resume: 7 };
        let words = "1 by tracker, 2 by DHT, 3 by PEX, 4 by LSD, 5 by you, 7 from before, 6 came";
        assert_eq!(all.words(), words);
    }
}
