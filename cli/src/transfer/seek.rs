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
    /// Whether the local network is listened to.
    local: bool,
}

impl Seek {
    /// Whether anybody would want to know.
    pub(crate) fn is_needed(status: &TorrentStatus) -> bool {
        status.peers == 0 && status.activity != Activity::Seeding
            || matches!(status.activity, Activity::Metadata { .. } | Activity::Layers { .. })
    }

    pub(crate) async fn of(session: &Session, torrent: &Torrent) -> Result<Self> {
        let is_asked = |state: &TrackerState| {
            !matches!(state, TrackerState::GaveUp | TrackerState::Unsupported(_) | TrackerState::NoFamily)
        };
        let trackers = torrent.trackers().await?;
        let trackers = trackers.iter().filter(|tracker| is_asked(&tracker.state)).count();
        let is_private = torrent.meta().is_some_and(|meta| meta.private());
        let local = session.hears_local_network() && !is_private;
        Ok(Self { trackers, nodes: nodes(session, torrent).await, local })
    }

    /// In words, such as `looking for peers: tracker (2), DHT (120 nodes), LAN`.
    pub(crate) fn words(&self) -> String {
        let trackers = (self.trackers > 0).then(|| format!("tracker ({})", self.trackers));
        let dht = self.nodes.map(|nodes| format!("DHT ({})", count(nodes as u64, "node")));
        let local = self.local.then(|| String::from("LAN"));
        let places: Vec<String> = [trackers, dht, local].into_iter().flatten().collect();
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
    let (have, pieces, peers) = match status.activity {
        Activity::Metadata { have, pieces, peers } => (have, pieces, peers),
        Activity::Layers { have, requests, peers } => return waiting_for_layers(have, requests, peers),
        _ => return String::from("checking what is there"),
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

/// The same of one whose metadata came.
fn waiting_for_layers(have: u32, requests: u32, peers: usize) -> String {
    match peers {
        _ if have == requests => String::from("checking what is there"),
        0 => String::from("waiting for piece layers: no peer has them yet"),
        _ => {
            let peers = count(peers as u64, "peer");
            format!("waiting for piece layers: {peers}, {have} of {}", count(u64::from(requests), "part"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_where_peers_are_looked_for_is_named() {
        for (seek, expected) in [
            (Seek::default(), "waiting for peers"),
            (Seek { local: true, ..Seek::default() }, "looking for peers: LAN"),
            (Seek { trackers: 1, ..Seek::default() }, "looking for peers: tracker (1)"),
            (
                Seek { trackers: 2, nodes: Some(120), local: true },
                "looking for peers: tracker (2), DHT (120 nodes), LAN",
            ),
            (Seek { nodes: Some(0), ..Seek::default() }, "looking for peers: DHT (0 nodes)"),
        ] {
            assert_eq!(seek.words(), expected);
        }
    }
}
