//! Finding the first nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::scope::{Scope, may_name};
use crate::session::link::Link;

/// The well-known public nodes that the large clients run.
pub const ROUTERS: &[(&str, u16)] = &[
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
    ("dht.libtorrent.org", 25401),
];

/// Until names are looked up again while no node is known; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// Nodes that are taken from one torrent.
const MAX_NAMED: usize = 16;

/// Whom to ask when no other nodes are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bootstrap {
    /// The [`ROUTERS`]; nobody, if only loopback is listened on.
    #[default]
    Public,
    /// These hosts and ports.
    Nodes(Vec<(String, u16)>),
}

impl Bootstrap {
    fn names(self, listening: &[SocketAddr]) -> Vec<(String, u16)> {
        match self {
            Self::Nodes(nodes) => nodes,
            // Nothing reaches the internet from loopback.
            Self::Public if listening.iter().all(|addr| addr.ip().is_loopback()) => Vec::new(),
            Self::Public => ROUTERS.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect(),
        }
    }
}

/// Tells the DHT the addresses of these nodes, and again while it knows no node.
pub(in crate::session) async fn run(link: Arc<Link>, bootstrap: Bootstrap) {
    let names = bootstrap.names(&link.listening);
    if names.is_empty() {
        return;
    }
    let mut pause = PAUSE;
    loop {
        let mut found = Vec::new();
        for (host, port) in &names {
            match link.resolver.lookup(host, *port, None).await {
                Ok(addrs) => found.extend(addrs),
                Err(error) => tracing::debug!(%error, "no address of a node to begin with"),
            }
        }
        let told = link.ask(move |plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| node.bootstrap(now, &found));
        });
        if told.await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(pause).await;
            let known = link.ask(|plane| {
                let now = plane.now();
                plane.engine().with_dht(now, |node| node.status().nodes)
            });
            match known.await {
                Ok(Some([0, 0])) => break,
                Ok(Some(_)) => pause = LONGEST,
                Ok(None) | Err(_) => return,
            }
        }
        pause = (2 * pause).min(LONGEST);
    }
}

/// Tells the DHT of the nodes that a torrent names (BEP 5). Whoever made it may name hosts of the internet only.
pub(in crate::session) async fn introduce(link: Arc<Link>, torrent: Arc<metainfo::Torrent>) {
    let mut found = Vec::new();
    for (host, port) in torrent.nodes().iter().take(MAX_NAMED) {
        let addrs = link.resolver.lookup(host, *port, None).await.unwrap_or_default();
        found.extend(addrs.into_iter().filter(|addr| may_name(Scope::Global, *addr)));
    }
    // A session that is over needs no nodes.
    let _ = link
        .ask(move |plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| found.into_iter().for_each(|addr| node.add_node(now, addr)))
        })
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_nodes_are_asked_from_where_they_can_be_reached_only() {
        let names = |bootstrap: Bootstrap, listening: &[&str]| {
            let listening: Vec<SocketAddr> = listening.iter().map(|addr| addr.parse().unwrap()).collect();
            bootstrap.names(&listening).len()
        };
        let one = Bootstrap::Nodes(vec![("localhost".into(), 1)]);
        assert_eq!(names(Bootstrap::Public, &["127.0.0.1:1", "[::1]:1"]), 0);
        assert_eq!(names(Bootstrap::Public, &["127.0.0.1:1", "[::]:1"]), ROUTERS.len());
        assert_eq!(names(one, &["127.0.0.1:1"]), 1);
    }
}
