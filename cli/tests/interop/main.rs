//! Transfers between `unchoke` and real programs, over loopback, compared byte by byte.
//!
//! A program that is not installed is skipped with a message, and so is a network of its own that a test cannot have;
//! `UNCHOKE_INTEROP=require` makes their absence a failure, and `UNCHOKE_INTEROP=off` skips everything. `.ci/install` installs them all.
//! The tests wait more than they work: `--test-threads 8` is faster.

mod base64;
mod client;
mod clients;
mod dht;
mod http;
mod magnets;
mod network;
mod opentracker;
mod payload;
mod placing;
mod private;
mod process;
mod static_tracker;
mod v2;
mod watch;
mod wire;
mod wired;

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Mutex;

use anyhow::Result;
use tempfile::TempDir;

use crate::client::{Client, Job, State, finish, transfer, wait_state};
use crate::clients::{Aria2, Libtorrent, Qbittorrent, Rtorrent, Transmission, Unchoke};
use crate::opentracker::Opentracker;
use crate::payload::{MULTI, Payload, SINGLE};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The tests that every client has to pass with us, and two that prove its driver.
macro_rules! with_each_client {
    ($($module:ident: $client:expr),+ $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn seeds_a_single_file_to_us() -> Result<()> {
                check(&$client, &Unchoke, &SINGLE, V4)
            }

            #[test]
            fn seeds_many_files_to_us() -> Result<()> {
                check(&$client, &Unchoke, &MULTI, V4)
            }

            #[test]
            fn takes_a_single_file_from_us() -> Result<()> {
                check(&Unchoke, &$client, &SINGLE, V4)
            }

            #[test]
            fn takes_many_files_from_us() -> Result<()> {
                check(&Unchoke, &$client, &MULTI, V4)
            }

            #[test]
            fn seeds_to_us_over_ipv6() -> Result<()> {
                check(&$client, &Unchoke, &MULTI, V6)
            }

            #[test]
            fn takes_from_us_over_ipv6() -> Result<()> {
                check(&Unchoke, &$client, &MULTI, V6)
            }

            #[test]
            fn driver_takes_from_libtorrent() -> Result<()> {
                check(&Libtorrent, &$client, &MULTI, V4)
            }

            #[test]
            fn driver_seeds_to_libtorrent() -> Result<()> {
                check(&$client, &Libtorrent, &MULTI, V4)
            }
        }
    )+};
}

with_each_client! {
    libtorrent: Libtorrent,
    transmission: Transmission,
    aria2: Aria2,
    qbittorrent: Qbittorrent,
    rtorrent: Rtorrent,
}

/// The ways to meet at a tracker.
mod at_opentracker {
    use super::*;

    #[test]
    fn we_find_libtorrent_over_http() -> Result<()> {
        meet(&Libtorrent, &Unchoke, "http")
    }

    #[test]
    fn we_find_libtorrent_over_udp() -> Result<()> {
        meet(&Libtorrent, &Unchoke, "udp")
    }

    #[test]
    fn libtorrent_finds_us_over_http() -> Result<()> {
        meet(&Unchoke, &Libtorrent, "http")
    }

    #[test]
    fn libtorrent_finds_us_over_udp() -> Result<()> {
        meet(&Unchoke, &Libtorrent, "udp")
    }

    #[test]
    fn we_find_ourselves_over_http() -> Result<()> {
        meet(&Unchoke, &Unchoke, "http")
    }

    #[test]
    fn driver_lets_libtorrent_find_itself_over_http() -> Result<()> {
        meet(&Libtorrent, &Libtorrent, "http")
    }

    #[test]
    fn driver_lets_libtorrent_find_itself_over_udp() -> Result<()> {
        meet(&Libtorrent, &Libtorrent, "udp")
    }
}

/// One transfer between two clients that are told of each other, or a skip.
fn check(seeder: &dyn Client, leecher: &dyn Client, payload: &Payload, host: IpAddr) -> Result<()> {
    if !(installed(seeder) && installed(leecher) && speaks(seeder, host) && speaks(leecher, host)) {
        return Ok(());
    }
    transfer(seeder, leecher, payload, host)
}

/// One transfer between two clients that know a tracker only, or a skip.
fn meet(seeder: &dyn Client, leecher: &dyn Client, scheme: &str) -> Result<()> {
    if !(installed(seeder) && installed(leecher) && present("opentracker", Opentracker::find().is_some())) {
        return Ok(());
    }
    let dir = TempDir::new()?;
    let tracker = Opentracker::start(V4, &SINGLE)?;
    let mut seed = Job::seed(&SINGLE, dir.path(), V4)?;
    let mut leech = Job::leech(&SINGLE, &dir.path().join("leech"), V4)?;
    seed.trackers.push(tracker.url(scheme));
    leech.trackers.push(tracker.url(scheme));
    let mut seeding = seeder.start(&seed)?;
    wait_state(&mut *seeding, seeder.name(), &[State::Complete])?;
    tracker.wait_seeds(1)?;
    let mut leeching = leecher.start(&leech)?;
    finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech)
}

fn installed(client: &dyn Client) -> bool {
    present(client.name(), client.version().is_some())
}

/// What is to be done about what is not there.
fn mode() -> String {
    env::var("UNCHOKE_INTEROP").unwrap_or_default()
}

/// Whether to go on. Absence is reported once for each program, past the capture of test output.
fn present(name: &'static str, found: bool) -> bool {
    static REPORTED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mode = mode();
    let off = mode == "off";
    if found && !off {
        return true;
    }
    assert!(mode != "require", "{name} is not installed; run .ci/install");
    if REPORTED.lock().is_ok_and(|mut reported| reported.insert(if off { "" } else { name })) {
        let why = if off { "UNCHOKE_INTEROP=off".to_owned() } else { format!("{name} is not installed") };
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    false
}

/// Whether both the client and this machine have the address family.
fn speaks(client: &dyn Client, host: IpAddr) -> bool {
    host.is_ipv4() || client.ipv6() && UdpSocket::bind((host, 0)).is_ok()
}
