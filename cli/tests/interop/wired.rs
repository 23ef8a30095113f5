//! Two of us on two machines find each other, each time in one way and over one address family only.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::PROGRAM;
use crate::network;
use crate::payload::SINGLE;
use crate::process::{JsonProcess, Process, wait_for};
use crate::wire::{End, Wire};

/// How long they may take to find each other: a magnet looks into the DHT again after a minute.
const LIMIT: Duration = Duration::from_secs(120);

macro_rules! tests {
    ($($name:ident: $by:expr, $address:expr;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            Wire::with(concat!(module_path!(), "::", stringify!($name)), |wire| meet(wire, $by, $address))
        }
    )+};
}

tests! {
    they_meet_in_the_dht_over_ipv6: By::Dht, End::v6;
    they_meet_in_the_dht_over_ipv4: By::Dht, End::v4;
    they_hear_each_other_on_the_local_network_over_ipv6: By::Lsd, End::v6;
    they_hear_each_other_on_the_local_network_over_ipv4: By::Lsd, End::v4;
}

#[test]
fn a_seed_that_listens_everywhere_is_heard_on_each_of_its_interfaces() -> Result<()> {
    let name = concat!(module_path!(), "::a_seed_that_listens_everywhere_is_heard_on_each_of_its_interfaces");
    Wire::with(name, |wire| {
        let dir = TempDir::new()?;
        let data = dir.path().join("seed");
        SINGLE.write(&data)?;
        let torrent = dir.path().join("job.torrent");
        std::fs::write(&torrent, SINGLE.torrent(&[]))?;
        // Two on the other machine, one on ours, each bound to an address of one interface.
        let places = [(End::Far, End::Far.v4()), (End::Far, End::Far.v6()), (End::Near, network::host(5))];
        let mut leeching = Vec::new();
        for (n, (end, address)) in places.into_iter().enumerate() {
            let mut leech = at(wire, end, Some(address), dir.path());
            let to = dir.path().join(format!("leech {n}"));
            leech.args(["download", &format!("magnet:?xt=urn:btih:{}", SINGLE.info_hash()), "-o"]).arg(&to);
            leeching.push((begin(leech, By::Lsd, None, ["one", "two", "three"][n], dir.path())?.0, to));
        }
        let mut seed = at(wire, End::Near, None, dir.path());
        seed.arg("seed").arg(&torrent).arg("-d").arg(&data);
        let _seeding = begin(seed, By::Lsd, None, "seed", dir.path())?;
        for (leech, to) in &mut leeching {
            complete(leech)?;
            SINGLE.verify(to, true)?;
        }
        Ok(())
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// One of them is the node to begin with.
    Dht,
    Lsd,
}

/// A seed on one machine, a magnet link on the other.
fn meet(wire: &Wire, by: By, address: fn(End) -> IpAddr) -> Result<()> {
    let dir = TempDir::new()?;
    let (data, to) = (dir.path().join("seed"), dir.path().join("leech"));
    SINGLE.write(&data)?;
    let torrent = dir.path().join("job.torrent");
    std::fs::write(&torrent, SINGLE.torrent(&[]))?;

    let mut seed = ours(wire, End::Near, address, dir.path());
    seed.arg("seed").arg(&torrent).arg("-d").arg(&data);
    let seeding = begin(seed, by, None, "seed", dir.path())?;
    let mut leech = ours(wire, End::Far, address, dir.path());
    leech.args(["download", &format!("magnet:?xt=urn:btih:{}", SINGLE.info_hash()), "-o"]).arg(&to);
    let node = (by == By::Dht).then_some(seeding.1.as_str());
    let (mut leeching, _) = begin(leech, by, node, "leech", dir.path())?;
    complete(&mut leeching)?;
    SINGLE.verify(&to, true)?;
    if by == By::Dht {
        looked_up(wire, address, &seeding.1, dir.path())?;
    }
    Ok(())
}

/// Waits until a download is complete.
fn complete(leeching: &mut JsonProcess) -> Result<()> {
    let complete = wait_for("the download", LIMIT, || {
        while let Some(line) = leeching.next(Duration::ZERO)? {
            if line["event"] == "complete" {
                return Ok(Some(()));
            }
        }
        Ok(None)
    });
    complete.with_context(|| format!("the leech says:\n{}", leeching.process.log_tail()))
}

/// Starts one of us; where it listens.
fn begin(
    mut command: std::process::Command,
    by: By,
    node: Option<&str>,
    name: &'static str,
    dir: &Path,
) -> Result<(JsonProcess, String)> {
    command.args(["--json", "--port", "0", "--no-pex", "--no-resume"]);
    match by {
        By::Dht => command.arg("--no-lsd"),
        By::Lsd => command.arg("--no-dht"),
    };
    // The first one has nobody to begin with.
    command.args(["--bootstrap", node.unwrap_or("127.0.0.1:9")]);
    let mut process = Process::start_json(name, command, dir)?;
    loop {
        let line = process.next(LIMIT)?.context("it does not start")?;
        if line["event"] == "started" {
            let address = line["listen"][0].as_str().context("an address")?.to_owned();
            return Ok((process, address));
        }
    }
}

/// The command line finds in the DHT what is announced there, and stores and reads an item.
fn looked_up(wire: &Wire, address: fn(End) -> IpAddr, node: &str, dir: &Path) -> Result<()> {
    let ask = |words: &[&str]| -> Result<String> {
        let mut command = ours(wire, End::Far, address, dir);
        command.arg("dht").args(words).args(["--bootstrap", node]);
        let output = command.output()?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let pong: Value = serde_json::from_str(&ask(&["ping", node, "--json"])?)?;
    ensure!(pong["node"] == node, "{pong}");
    let target = ask(&["put", "over the wire"])?;
    let item = ask(&["get", target.trim()])?;
    ensure!(item == "over the wire\n", "{item:?}");
    let peers = ask(&["get-peers", &SINGLE.info_hash()])?;
    let ends = [End::Near, End::Far].map(|end| address(end).to_string());
    ensure!(ends.iter().any(|end| peers.contains(end.as_str())), "{peers:?}");
    Ok(())
}

/// The program on one of the machines, bound to its address of one family.
fn ours(wire: &Wire, end: End, address: fn(End) -> IpAddr, dir: &Path) -> std::process::Command {
    at(wire, end, Some(address(end)), dir)
}

/// The same, bound to an address, or to none.
fn at(wire: &Wire, end: End, address: Option<IpAddr>, dir: &Path) -> std::process::Command {
    let mut command = wire.command(end, Path::new(PROGRAM));
    // The settings of whoever runs the tests do not count here.
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOME"] {
        command.env(name, dir.join(format!("{end:?}")));
    }
    if let Some(address) = address {
        command.env("UNCHOKE_LISTEN", address.to_string());
    }
    command
}
