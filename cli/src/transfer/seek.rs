//! What somebody who waits wants to know: what is being waited for, and where peers are looked for.

use anyhow::Result;
use swarm::engine::{Activity, TorrentStatus};
use swarm::session::{Session, Torrent, TrackerState};

use crate::output::human::count;

/// Where peers are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seek {
    /// Trackers that are asked.
    trackers: usize,
    /// Nodes of the DHT that are known, if it is used.
    nodes: Option<usize>,
}

impl Seek {
    /// Whether anybody would want to know.
    pub(crate) fn is_needed(status: &TorrentStatus) -> bool {
        status.peers == 0 && status.activity != Activity::Seeding
            || matches!(status.activity, Activity::Metadata { .. })
    }

    pub(crate) async fn of(session: &Session, torrent: &Torrent) -> Result<Self> {
        let is_asked = |state: &TrackerState| {
            !matches!(state, TrackerState::GaveUp | TrackerState::Unsupported(_) | TrackerState::NoFamily)
        };
        let trackers = torrent.trackers().await?;
        let trackers = trackers.iter().filter(|tracker| is_asked(&tracker.state)).count();
        Ok(Self { trackers, nodes: nodes(session, torrent).await })
    }

    /// In words, such as `looking for peers: tracker (2), DHT (120 nodes)`.
    pub(crate) fn words(&self) -> String {
        let trackers = (self.trackers > 0).then(|| format!("tracker ({})", self.trackers));
        let dht = self.nodes.map(|nodes| format!("DHT ({})", count(nodes as u64, "node")));
        let places: Vec<String> = trackers.into_iter().chain(dht).collect();
        if places.is_empty() {
            return String::from("waiting for peers");
        }
        format!("looking for peers: {}", places.join(", "))
    }
}

/// Nodes of the DHT that are known, if the session has a part in it.
async fn nodes(session: &Session, torrent: &Torrent) -> Option<usize> {
    if torrent.meta().is_some_and(|meta| meta.private()) {
        return None;
    }
    let numbers = session.dht()?.status().await.ok()?.numbers;
    Some(numbers.nodes.iter().sum())
}

/// What a torrent waits for that is only known by a magnet.
pub(crate) fn waiting(status: &TorrentStatus) -> String {
    let Activity::Metadata { have, pieces, peers } = status.activity else {
        return String::from("checking what is there");
    };
    match pieces {
        Some(pieces) if have == pieces => String::from("checking what is there"),
        Some(pieces) => {
            let peers = count(peers as u64, "peer");
            format!("waiting for metadata: {peers}, {have} of {}", count(u64::from(pieces), "piece"))
        }
        None if status.peers > 0 => {
            format!("waiting for metadata: {}, none has them yet", count(status.peers as u64, "peer"))
        }
        None => String::from("waiting for metadata: no peers yet"),
    }
}
