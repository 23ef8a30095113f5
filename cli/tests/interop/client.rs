//! What every driven client offers, and a transfer between any two of them.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::payload::Payload;
use crate::process::{free_addr, wait_for};

/// How long a client may take to start and to check what it has.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long a transfer of a few megabytes may take. Some clients wait 10 s before they unchoke, and rtorrent tells of peers every
/// two minutes.
const TRANSFER_LIMIT: Duration = Duration::from_secs(360);

/// A program that can be started as a seed or a leecher.
pub(crate) trait Client: Sync {
    /// What it is called in messages.
    fn name(&self) -> &'static str;
    /// Its version, or nothing if it is not installed.
    fn version(&self) -> Option<String>;
    /// Whether it connects to loopback addresses by itself.
    fn dials_loopback(&self) -> bool {
        true
    }
    /// Whether it listens on IPv6 addresses.
    fn ipv6(&self) -> bool {
        true
    }
    /// Whether it creates files without bytes.
    fn makes_empty_files(&self) -> bool {
        true
    }
    /// How long it may go on writing after it said that it is complete.
    fn writes_late(&self) -> Duration {
        Duration::ZERO
    }
    /// Starts it on one torrent.
    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>>;
}

/// How clients that were not told of each other meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tracker,
    /// The magnet link names the peer.
    Named,
    Dht,
    Pex,
    Lsd,
}

/// A started client. Dropping it ends it.
pub(crate) trait Running {
    /// What it does now.
    fn state(&mut self) -> Result<State>;
    /// The end of its log, to explain a failure.
    fn log_tail(&self) -> String;
}

/// What a client says that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Starting or checking.
    Busy,
    Downloading,
    Complete,
}

/// What a client is started for.
pub(crate) struct Job<'a> {
    pub(crate) payload: &'a Payload,
    /// The torrent of the payload, where it is not the v1 one.
    pub(crate) made: Option<Made>,
    /// The folder that holds the payload or gets it.
    pub(crate) data: PathBuf,
    /// A folder for settings and logs.
    pub(crate) work: PathBuf,
    pub(crate) listen: SocketAddr,
    /// Peers to connect to.
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) trackers: Vec<String>,
    /// It gets a magnet link with the trackers and peers, not the torrent.
    pub(crate) magnet: bool,
    /// It uses the DHT, which it joins by these nodes.
    pub(crate) dht: Option<Vec<SocketAddr>>,
    pub(crate) pex: bool,
    pub(crate) lsd: bool,
    /// Bytes per second to receive; 0 is no limit.
    pub(crate) down_limit: u32,
}

/// A torrent that a program made of a payload. It names no trackers.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) torrent: Vec<u8>,
    /// What names it on the network, in hex.
    pub(crate) id: String,
}

impl<'a> Job<'a> {
    /// A seed below `dir`: its payload is written there.
    pub(crate) fn seed(payload: &'a Payload, dir: &Path, host: IpAddr) -> Result<Job<'a>> {
        let job = Job::leech(payload, &dir.join("seed"), host)?;
        payload.write(&job.data)?;
        Ok(job)
    }

    /// A leecher below `dir`.
    pub(crate) fn leech(payload: &'a Payload, dir: &Path, host: IpAddr) -> Result<Job<'a>> {
        let job = Job {
            payload,
            made: None,
            data: dir.join("data"),
            work: dir.join("work"),
            listen: free_addr(host),
            peers: Vec::new(),
            trackers: Vec::new(),
            magnet: false,
            dht: None,
            pex: false,
            lsd: false,
            down_limit: 0,
        };
        std::fs::create_dir_all(&job.data)?;
        std::fs::create_dir_all(&job.work)?;
        Ok(job)
    }

    /// The torrent with the trackers of the job and perhaps more.
    pub(crate) fn torrent(&self, more_trackers: &[String]) -> Vec<u8> {
        match &self.made {
            Some(made) => made.torrent.clone(),
            None => self.payload.torrent(&[&self.trackers[..], more_trackers].concat()),
        }
    }

    /// What names the torrent on the network, in hex.
    pub(crate) fn id(&self) -> String {
        self.made.as_ref().map_or_else(|| self.payload.info_hash(), |made| made.id.clone())
    }

    /// The magnet link with the trackers of the job and perhaps more, and with its peers.
    pub(crate) fn magnet_link(&self, more_trackers: &[String]) -> String {
        let made = self.made.as_ref().and_then(|made| metainfo::Torrent::parse(&made.torrent).ok());
        let mut link = match made.and_then(|meta| meta.info_hashes().v2()) {
            Some(v2) => format!("magnet:?xt=urn:btmh:1220{}", v2.to_hex()),
            None => format!("magnet:?xt=urn:btih:{}", self.payload.info_hash()),
        };
        for tracker in self.trackers.iter().chain(more_trackers) {
            link += &format!("&tr={}", tracker.replace(':', "%3A").replace('/', "%2F"));
        }
        for peer in &self.peers {
            link += &format!("&x.pe={peer}");
        }
        link
    }

    /// The same as a file.
    pub(crate) fn torrent_file(&self, more_trackers: &[String]) -> Result<PathBuf> {
        let file = self.work.join("job.torrent");
        std::fs::write(&file, self.torrent(more_trackers))?;
        Ok(file)
    }
}

/// Waits until a client is in `state`.
pub(crate) fn wait_state(running: &mut dyn Running, name: impl Display, states: &[State]) -> Result<()> {
    let limit = if states.contains(&State::Downloading) { START_LIMIT } else { TRANSFER_LIMIT };
    let waited = wait_for(&format!("{name} to be {states:?}"), limit, || {
        let now = running.state()?;
        Ok(states.contains(&now).then_some(()))
    });
    waited.with_context(|| format!("{name} says:\n{}", running.log_tail()))
}

/// Lets `seeder` give the payload to `leecher`, connected directly, and compares every byte.
///
/// The one that is dialled starts first. A leecher that does not dial loopback addresses is dialled by
/// the seed.
pub(crate) fn transfer(
    seeder: &dyn Client,
    leecher: &dyn Client,
    payload: &Payload,
    host: IpAddr,
) -> Result<()> {
    transfer_made(seeder, leecher, payload, host, |_| Ok(None))
}

/// The same by a torrent that `make` makes of the folder of the payload, if it makes one.
pub(crate) fn transfer_made(
    seeder: &dyn Client,
    leecher: &dyn Client,
    payload: &Payload,
    host: IpAddr,
    make: impl FnOnce(&Path) -> Result<Option<Made>>,
) -> Result<()> {
    let dir = TempDir::new()?;
    let mut seed = Job::seed(payload, dir.path(), host)?;
    let mut leech = Job::leech(payload, &dir.path().join("leech"), host)?;
    seed.made = make(&seed.data)?;
    leech.made = seed.made.clone();
    let ready = &[State::Downloading, State::Complete];
    if leecher.dials_loopback() {
        leech.peers.push(seed.listen);
        let mut seeding = seeder.start(&seed)?;
        wait_state(&mut *seeding, seeder.name(), &[State::Complete])?;
        let mut leeching = leecher.start(&leech)?;
        finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech)
    } else if seeder.dials_loopback() {
        seed.peers.push(leech.listen);
        let mut leeching = leecher.start(&leech)?;
        wait_state(&mut *leeching, leecher.name(), ready)?;
        let mut seeding = seeder.start(&seed)?;
        finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech)
    } else {
        bail!("neither {} nor {} dials loopback addresses", seeder.name(), leecher.name());
    }
}

/// Waits for the leecher and compares what it got.
pub(crate) fn finish(
    leeching: &mut dyn Running,
    leecher: &dyn Client,
    seeding: &mut dyn Running,
    seeder: &dyn Client,
    job: &Job<'_>,
) -> Result<()> {
    wait_state(leeching, leecher.name(), &[State::Complete])
        .with_context(|| format!("the seed, {}, says:\n{}", seeder.name(), seeding.log_tail()))?;
    let end = Instant::now() + leecher.writes_late();
    wait_for("the last bytes on disk", leecher.writes_late(), || {
        match job.payload.verify(&job.data, leecher.makes_empty_files()) {
            Err(_) if Instant::now() < end => Ok(None),
            verdict => verdict.map(Some),
        }
    })
}
