//! Finding the first nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::dht::DhtStatus;
use crate::engine::scope::{Scope, may_name};
use crate::session::link::{Link, Unavailable};

/// The well-known public nodes that the large clients run.
pub const ROUTERS: &[(&str, u16)] = &[
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
    ("dht.libtorrent.org", 25401),
];

/// How long the nodes of the last run may take to answer before names are looked up.
const GRACE: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody answers while that is to be soon.
const GLANCE: Duration = Duration::from_millis(500);
/// Until names are looked up again while nobody answers; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// Questions without an answer, and none since, after which nobody is reached any more.
const LOST: u32 = 16;
/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nodes that are taken from one torrent.
const MAX_NAMED: usize = 16;
/// Addresses that are taken of one name, in each family.
const MAX_ADDRESSES: usize = 4;

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

/// Tells the DHT the addresses of these nodes while nobody else answers: at the start, and whenever the network went away.
pub(in crate::session) async fn run(link: Arc<Link>, bootstrap: Bootstrap) {
    let is_chosen = matches!(bootstrap, Bootstrap::Nodes(_));
    let names = bootstrap.names(&link.listening);
    if !names.is_empty() {
        // It ends with the session.
        let _ = watch(&link, &names, is_chosen).await;
    }
}

/// Tells the DHT of the nodes that a torrent names (BEP 5). Whoever made it may name hosts of the internet only.
pub(in crate::session) async fn introduce(link: Arc<Link>, torrent: Arc<metainfo::Torrent>) {
    let names: Vec<_> = torrent.nodes().iter().take(MAX_NAMED).cloned().collect();
    let mut lookups = look_up(&link, &names);
    while let Some(found) = lookups.join_next().await {
        let found = worldwide(found.unwrap_or_default());
        let told = link.ask(move |plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| found.into_iter().for_each(|addr| node.add_node(now, addr)))
        });
        if told.await.is_err() {
            return;
        }
    }
}

/// What anybody may send others to.
fn worldwide(mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    found.retain(|addr| may_name(Scope::Global, *addr));
    found
}

/// The DHT, and who looks names up for it.
trait World {
    /// The addresses of a host.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = Vec<SocketAddr>> + Send + 'static;
    /// Gives the DHT nodes to begin with.
    async fn tell(&self, nodes: Vec<SocketAddr>) -> Result<(), Unavailable>;
    /// How the DHT stands.
    async fn status(&self) -> Result<DhtStatus, Unavailable>;
}

impl World for Arc<Link> {
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = Vec<SocketAddr>> + Send + 'static {
        let (resolver, host) = (self.resolver.clone(), host.to_owned());
        async move {
            let found = resolver.lookup(&host, port, None).await;
            found.unwrap_or_else(|error| {
                tracing::debug!(%error, "no address of a node of the DHT");
                Vec::new()
            })
        }
    }

    async fn tell(&self, nodes: Vec<SocketAddr>) -> Result<(), Unavailable> {
        let told = self.ask(move |plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| node.bootstrap(now, &nodes))
        });
        told.await?.ok_or(Unavailable::Over)
    }

    async fn status(&self) -> Result<DhtStatus, Unavailable> {
        let asked = self.ask(|plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| node.status())
        });
        asked.await?.ok_or(Unavailable::Over)
    }
}

/// Nodes that the user chose do not wait for those of the last run.
async fn watch(world: &impl World, names: &[(String, u16)], is_chosen: bool) -> Result<(), Unavailable> {
    let is_first = is_chosen || world.status().await?.nodes == [0, 0];
    let mut wait = if is_first { Duration::ZERO } else { GRACE };
    let mut pause = PAUSE;
    loop {
        if is_reached(world, wait).await? {
            (wait, pause) = (LONGEST, PAUSE);
            tokio::time::sleep(LONGEST).await;
            continue;
        }
        // Each one as it comes: a name that hangs holds up none that does not.
        let mut lookups = look_up(world, names);
        while let Some(found) = lookups.join_next().await {
            world.tell(found.unwrap_or_default()).await?;
        }
        (wait, pause) = (pause, (2 * pause).min(LONGEST));
    }
}

/// Waits until somebody answers, at most for so long. Whether somebody does.
async fn is_reached(world: &impl World, wait: Duration) -> Result<bool, Unavailable> {
    let end = Instant::now() + wait;
    loop {
        let status = world.status().await?;
        if status.good != [0, 0] && status.unanswered < LOST {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        tokio::time::sleep(left.min(GLANCE.max(wait / 8))).await;
    }
}

/// Looks all names up at the same time.
fn look_up(world: &impl World, names: &[(String, u16)]) -> JoinSet<Vec<SocketAddr>> {
    let mut lookups = JoinSet::new();
    for (host, port) in names {
        let found = world.resolve(host, *port);
        lookups.spawn(async move {
            let found = tokio::time::timeout(PATIENCE, found).await.unwrap_or_default();
            let of = |ipv4: bool| {
                let all = found.iter().filter(move |addr| addr.is_ipv4() == ipv4);
                all.take(MAX_ADDRESSES).copied()
            };
            of(true).chain(of(false)).collect()
        });
    }
    lookups
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_torrent_names_nodes_of_the_internet_only() {
        let all = [
            "127.0.0.1:6881",
            "10.0.0.1:6881",
            "[fd00::1]:6881",
            "224.0.0.1:6881",
            "9.9.9.9:0",
            "9.9.9.9:6881",
        ];
        let found = worldwide(all.iter().map(|addr| addr.parse().unwrap()).collect());
        assert_eq!(found, ["9.9.9.9:6881".parse().unwrap()]);
    }

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

    /// A network that is there from some time on, and names of which some are never found.
    struct Scripted {
        /// Nodes of the last run are in the table.
        saved: usize,
        /// The user named the nodes.
        is_chosen: bool,
        /// When those answer.
        alive_from: Option<Duration>,
        /// When the network comes.
        network_from: Duration,
        began: Instant,
        /// When which node was told.
        told: Mutex<Vec<(Duration, Vec<SocketAddr>)>>,
        resolved: Arc<Mutex<Vec<Duration>>>,
    }

    impl Scripted {
        fn new(saved: usize, alive_from: Option<u64>, network_from: u64) -> Self {
            Self {
                saved,
                is_chosen: false,
                alive_from: alive_from.map(Duration::from_secs),
                network_from: Duration::from_secs(network_from),
                began: Instant::now(),
                told: Mutex::default(),
                resolved: Arc::default(),
            }
        }

        async fn run(&self, seconds: u64) -> Vec<(Duration, Vec<SocketAddr>)> {
            let names: Vec<_> = (1..=4).map(|port| ("node.example".to_owned(), port)).collect();
            let watched =
                tokio::time::timeout(Duration::from_secs(seconds), watch(self, &names, self.is_chosen));
            assert!(watched.await.is_err(), "it goes on for as long as the session");
            self.told.lock().unwrap().clone()
        }
    }

    impl World for Scripted {
        fn resolve(&self, _: &str, port: u16) -> impl Future<Output = Vec<SocketAddr>> + Send + 'static {
            let there = self.began.elapsed() >= self.network_from;
            self.resolved.lock().unwrap().push(self.began.elapsed());
            async move {
                match port {
                    // The server for this name is down.
                    1 => std::future::pending().await,
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                }
                let all = ["9.9.9.1", "9.9.9.2", "9.9.9.3", "9.9.9.4", "9.9.9.5", "2606:4700::1"];
                let addrs = all.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
                if there { addrs.collect() } else { Vec::new() }
            }
        }

        async fn tell(&self, nodes: Vec<SocketAddr>) -> Result<(), Unavailable> {
            if !nodes.is_empty() {
                self.told.lock().unwrap().push((self.began.elapsed(), nodes));
            }
            Ok(())
        }

        async fn status(&self) -> Result<DhtStatus, Unavailable> {
            let is_alive = self.alive_from.is_some_and(|at| self.began.elapsed() >= at);
            let good = usize::from(is_alive || !self.told.lock().unwrap().is_empty());
            Ok(DhtStatus { nodes: [self.saved + good, 0], good: [good, 0], ..DhtStatus::default() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_together_and_one_that_hangs_holds_up_none() {
        let told = Scripted::new(0, None, 0).run(60).await;
        assert_eq!(told.len(), 3);
        for (at, nodes) in told {
            assert_eq!(at.as_secs(), 1);
            let v6 = nodes.iter().filter(|addr| addr.is_ipv6()).count();
            assert_eq!((nodes.len(), v6), (MAX_ADDRESSES + 1, 1), "both families, few of a name");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_wait_for_the_nodes_of_the_last_run_for_three_seconds() {
        let world = Scripted::new(100, Some(2), 0);
        assert_eq!(world.run(600).await, []);
        assert!(world.resolved.lock().unwrap().is_empty());
        let told = Scripted::new(100, None, 0).run(600).await;
        assert_eq!(told[0].0.as_secs(), 4, "all of them are dead");
        assert_eq!(told.len(), 3, "and once is enough");
        let told = Scripted { is_chosen: true, ..Scripted::new(100, Some(2), 0) }.run(600).await;
        assert_eq!(told[0].0.as_secs(), 1, "those that the user named do not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_network_names_are_looked_up_again_until_there_is_one() {
        let world = Scripted::new(0, None, 3600);
        let told = world.run(7200).await;
        assert!((3600..3700).contains(&told[0].0.as_secs()), "{told:?}");
        let rounds = world.resolved.lock().unwrap().len() / 4;
        assert!((50..70).contains(&rounds), "once in 70 s at rest: {rounds}");
    }
}
