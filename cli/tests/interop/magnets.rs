//! Magnet links: we and a real client get a torrent from each other, known by its hash alone, and meet in one way only.

use std::net::SocketAddr;

use anyhow::Result;
use tempfile::TempDir;

use crate::client::{Client, Job, Running, State, Way, finish, wait_state};
use crate::clients::{Aria2, Libtorrent, Qbittorrent, Rtorrent, Transmission, Unchoke};
use crate::network::{host, inside};
use crate::payload::{MULTI, SINGLE};
use crate::static_tracker::StaticTracker;

/// What a peer that is not to be complete may receive in a second: some minutes' worth of the payload.
const SLOW: u32 = 20_000;

/// Way, seed and leecher of what was not seen to work within two minutes; which side is at fault is not known.
const UNSEEN: &[(Way, &str, &str)] = &[
    (Way::Dht, "qbittorrent", "unchoke"),
    (Way::Dht, "unchoke", "qbittorrent"),
    (Way::Dht, "unchoke", "rtorrent"),
    (Way::Pex, "unchoke", "qbittorrent"),
    (Way::Pex, "unchoke", "rtorrent"),
    (Way::Pex, "aria2", "unchoke"),
    (Way::Pex, "transmission", "unchoke"),
    (Way::Pex, "rtorrent", "unchoke"),
    (Way::Lsd, "unchoke", "transmission"),
];

/// One module for each client, with the ways to meet, in both directions.
macro_rules! with_each_client {
    ($($module:ident: $client:expr),+ $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn is_found_by_tracker() -> Result<()> {
                alone(concat!(module_path!(), "::is_found_by_tracker"), &$client, &Unchoke, Way::Tracker)
            }

            #[test]
            fn finds_us_by_tracker() -> Result<()> {
                alone(concat!(module_path!(), "::finds_us_by_tracker"), &Unchoke, &$client, Way::Tracker)
            }

            #[test]
            fn is_found_by_name() -> Result<()> {
                alone(concat!(module_path!(), "::is_found_by_name"), &$client, &Unchoke, Way::Named)
            }

            #[test]
            fn finds_us_by_name() -> Result<()> {
                alone(concat!(module_path!(), "::finds_us_by_name"), &Unchoke, &$client, Way::Named)
            }

            #[test]
            fn is_found_by_dht() -> Result<()> {
                alone(concat!(module_path!(), "::is_found_by_dht"), &$client, &Unchoke, Way::Dht)
            }

            #[test]
            fn finds_us_by_dht() -> Result<()> {
                alone(concat!(module_path!(), "::finds_us_by_dht"), &Unchoke, &$client, Way::Dht)
            }

            #[test]
            fn is_found_by_pex() -> Result<()> {
                alone(concat!(module_path!(), "::is_found_by_pex"), &$client, &Unchoke, Way::Pex)
            }

            #[test]
            fn finds_us_by_pex() -> Result<()> {
                alone(concat!(module_path!(), "::finds_us_by_pex"), &Unchoke, &$client, Way::Pex)
            }

            #[test]
            fn is_found_by_lsd() -> Result<()> {
                alone(concat!(module_path!(), "::is_found_by_lsd"), &$client, &Unchoke, Way::Lsd)
            }

            #[test]
            fn finds_us_by_lsd() -> Result<()> {
                alone(concat!(module_path!(), "::finds_us_by_lsd"), &Unchoke, &$client, Way::Lsd)
            }
        }
    )+};
}

with_each_client! {
    ourselves: Unchoke,
    libtorrent: Libtorrent,
    transmission: Transmission,
    aria2: Aria2,
    qbittorrent: Qbittorrent,
    rtorrent: Rtorrent,
}

/// One transfer by a magnet link in a network of its own, or a skip.
fn alone(name: &str, seeder: &dyn Client, leecher: &dyn Client, way: Way) -> Result<()> {
    let all = crate::installed(seeder) && crate::installed(leecher);
    // Any seed can be named.
    let ways = leecher.finds(way) && (way == Way::Named || seeder.finds(way));
    if !all || !ways || UNSEEN.contains(&(way, seeder.name(), leecher.name())) {
        return Ok(());
    }
    inside(name, || meet(seeder, leecher, way))
}

fn meet(seeder: &dyn Client, leecher: &dyn Client, way: Way) -> Result<()> {
    let dir = TempDir::new()?;
    let payload = if way == Way::Pex { &SINGLE } else { &MULTI };
    let mut seed = Job::seed(payload, dir.path(), host(1))?;
    let mut leech = Job::leech(payload, &dir.path().join("leech"), host(2))?;
    leech.magnet = true;
    let mut others: Vec<Box<dyn Running>> = Vec::new();
    let mut tracker = None;
    match way {
        Way::Tracker => {
            let tracker = tracker.insert(StaticTracker::start(host(3), &[seed.listen])?);
            leech.trackers.push(tracker.url());
        }
        Way::Named => leech.peers.push(seed.listen),
        Way::Lsd => (seed.lsd, leech.lsd) = (true, true),
        Way::Dht => {
            let nodes = dht(&dir, &mut others)?;
            (seed.dht, leech.dht) = (Some(nodes.clone()), Some(nodes));
        }
        Way::Pex => (seed.pex, leech.pex) = (true, true),
    }
    let mut seeding = seeder.start(&seed)?;
    wait_state(&mut *seeding, seeder.name(), &[State::Complete])?;
    if way == Way::Pex {
        // It knows the seed, has the metadata, and gets too little of the rest to be of use.
        let mut middle = Job::leech(payload, &dir.path().join("middle"), host(3))?;
        (middle.pex, middle.down_limit) = (true, SLOW);
        middle.peers.push(seed.listen);
        let between: &dyn Client = if seeder.name() == "unchoke" { leecher } else { seeder };
        let mut running = between.start(&middle)?;
        wait_state(&mut *running, between.name(), &[State::Downloading])?;
        leech.peers.push(middle.listen);
        others.push(running);
    }
    let mut leeching = leecher.start(&leech)?;
    let result = finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech);
    drop((others, tracker));
    result
}

/// A small DHT that neither of the two is a part of at first: sessions of ours that have something else to seed. Transmission
/// takes one of eight nodes or fewer for broken.
fn dht(dir: &TempDir, running: &mut Vec<Box<dyn Running>>) -> Result<Vec<SocketAddr>> {
    let mut nodes = Vec::new();
    for n in 4..15 {
        let mut job = Job::seed(&SINGLE, &dir.path().join(format!("node{n}")), host(n))?;
        job.dht = Some(nodes.clone());
        let mut node = Unchoke.start(&job)?;
        wait_state(&mut *node, "a node", &[State::Complete])?;
        running.push(node);
        nodes.push(job.listen);
    }
    Ok(nodes)
}
