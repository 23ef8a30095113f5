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
const SLOW: u32 = 10_000;

/// One module for each client, with the ways to meet that it has, in both directions.
macro_rules! with_each_client {
    ($($module:ident: $client:expr, seeds by [$($found:ident: $seeds:ident),+], leeches by [$($finds:ident: $leeches:ident),+];)+) => {$(
        mod $module {
            use super::*;

            $(
                #[test]
                fn $found() -> Result<()> {
                    alone(concat!(module_path!(), "::", stringify!($found)), &$client, &Unchoke, Way::$seeds)
                }
            )+

            $(
                #[test]
                fn $finds() -> Result<()> {
                    alone(concat!(module_path!(), "::", stringify!($finds)), &Unchoke, &$client, Way::$leeches)
                }
            )+
        }
    )+};
}

with_each_client! {
    ourselves: Unchoke,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex, is_found_by_lsd: Lsd],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_name: Named, finds_us_by_dht: Dht, finds_us_by_pex: Pex, finds_us_by_lsd: Lsd];
    libtorrent: Libtorrent,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex, is_found_by_lsd: Lsd],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_name: Named, finds_us_by_dht: Dht, finds_us_by_pex: Pex, finds_us_by_lsd: Lsd];
    transmission: Transmission,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex, is_found_by_lsd: Lsd],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_dht: Dht, finds_us_by_pex: Pex, finds_us_by_lsd: Lsd];
    aria2: Aria2,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex, is_found_by_lsd: Lsd],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_dht: Dht, finds_us_by_pex: Pex, finds_us_by_lsd: Lsd];
    qbittorrent: Qbittorrent,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex, is_found_by_lsd: Lsd],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_name: Named, finds_us_by_dht: Dht, finds_us_by_pex: Pex, finds_us_by_lsd: Lsd];
    rtorrent: Rtorrent,
        seeds by [is_found_by_tracker: Tracker, is_found_by_name: Named, is_found_by_dht: Dht, is_found_by_pex: Pex],
        leeches by [finds_us_by_tracker: Tracker, finds_us_by_pex: Pex];
}

/// One transfer by a magnet link in a network of its own, or a skip.
fn alone(name: &str, seeder: &dyn Client, leecher: &dyn Client, way: Way) -> Result<()> {
    if !crate::installed(seeder) || !crate::installed(leecher) {
        return Ok(());
    }
    inside(name, || meet(seeder, leecher, way))
}

fn meet(seeder: &dyn Client, leecher: &dyn Client, way: Way) -> Result<()> {
    let dir = TempDir::new()?;
    let payload = if way == Way::Pex { &SINGLE } else { &MULTI };
    // What a program sends to the local network from no address in particular comes from the first.
    let (seed_host, leech_host) = if seeder.name() == "unchoke" { (2, 1) } else { (1, 2) };
    let mut seed = Job::seed(payload, dir.path(), host(seed_host))?;
    let mut leech = Job::leech(payload, &dir.path().join("leech"), host(leech_host))?;
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
    if way == Way::Lsd && leecher.name() == "unchoke" {
        // It tells nobody of a torrent that may be private, and hears who tells of it: at once, or some minutes later.
        let mut leeching = leecher.start(&leech)?;
        wait_state(&mut *leeching, leecher.name(), &[State::Downloading])?;
        let mut seeding = seeder.start(&seed)?;
        return finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech);
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
