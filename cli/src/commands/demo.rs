//! `unchoke demo`: a whole swarm on this machine.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use metainfo::{Builder, Torrent};
use storage::{FileOptions, FileStorage, ScanOptions, Verdict, recheck};
use swarm::engine::{Activity, TorrentStatus, tracker::server};
use swarm::session::tracker_server::TrackerServer;
use swarm::session::{self, AddOptions, Check, Session, SessionConfig};
use tokio::time::{MissedTickBehavior, interval};

use crate::commands::create;
use crate::exit::{Exit, failure};
use crate::flags::Demo;
use crate::output::human::{BAD, GOOD, count, exact_size, percent, piece_size, rate, size, styled, took};
use crate::output::{Console, log};
use crate::stop::Stop;
use crate::transfer::{self, live};

/// Everything happens here.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LEECHERS: usize = 3;
/// Between two looks at the leechers.
const PACE: Duration = Duration::from_millis(100);
/// How long the end may take.
const DEADLINE: Duration = Duration::from_secs(4);

pub(crate) fn run(args: &Demo, console: &Console) -> Result<Exit> {
    let named = Arc::new(OnceLock::new());
    let stop = Stop::removing(Arc::clone(&named))?;
    let folder = tempfile::Builder::new().prefix("unchoke-demo-").tempdir();
    let folder = folder.context("cannot make a temporary folder; TMPDIR says where they are made")?;
    named.get_or_init(|| folder.path().to_owned());
    let source = folder.path().join("seeder/content.bin");
    write_content(&source, args.size.0).with_context(|| format!("cannot write {}", source.display()))?;
    let result = transfer::block_on(async {
        let tracker = TrackerServer::bind(SocketAddr::new(LOCAL, 0), server::Config::default()).await;
        let tracker = tracker
            .map_err(|error| failure(Exit::Unreachable, format!("cannot start a tracker: {error}")))?;
        let describe = |builder: Builder| builder.tracker(tracker.http_url());
        let torrent = Arc::new(create::make(&source, describe, None, &stop, console)?.torrent);
        console.note(&introduction(&torrent, &tracker, folder.path()));
        let swarm = Swarm::start(&torrent, folder.path()).await?;
        let outcome = swarm.watch(&stop, console).await;
        swarm.end().await;
        let Some(moved) = outcome? else {
            return Err(failure(Exit::Unfinished, "stopped before the leechers had everything"));
        };
        Ok((torrent, moved))
    });
    let (torrent, moved) = result?;
    judge(&torrent, folder.path(), &moved, console)
}

/// Content that nothing could guess or compress, the same each time.
fn write_content(path: &Path, len: u64) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    // xorshift64
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = len;
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_le_bytes();
        let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        file.write_all(&bytes[..now])?;
        left -= now as u64;
    }
    file.flush()
}

fn introduction(torrent: &Torrent, tracker: &TrackerServer, folder: &Path) -> String {
    let geometry = torrent.geometry();
    let pieces = count(u64::from(geometry.piece_count()), "piece");
    format!(
        "made {} of content: {pieces} of {}, info-hash {}\n\
         tracker at {}\n\
         one seeder and {LEECHERS} leechers, each a session of its own, over TCP on this machine, in {}",
        exact_size(torrent.layout().payload()),
        piece_size(geometry.piece_length()),
        torrent.id(),
        tracker.http_url(),
        folder.display(),
    )
}

/// A session with its torrent.
struct Node {
    session: Session,
    torrent: session::Torrent,
}

/// The seeder and those that want what it has.
struct Swarm {
    seeder: Node,
    leechers: Vec<Node>,
    started: Instant,
}

/// What was moved.
struct Moved {
    took: Duration,
    /// What the leechers have; they began with nothing.
    bytes: u64,
    by_seeder: u64,
    by_leechers: u64,
}

impl Swarm {
    async fn start(torrent: &Arc<Torrent>, folder: &Path) -> Result<Self> {
        let source = AddOptions::seed(Arc::clone(torrent), folder.join("seeder"));
        let seeder = node(AddOptions { check: Check::Never, ..source }).await?;
        let started = Instant::now();
        let mut leechers = Vec::new();
        for dir in copies(folder) {
            leechers.push(node(AddOptions::download(Arc::clone(torrent), dir)).await?);
        }
        Ok(Self { seeder, leechers, started })
    }

    /// Shows how it goes, until all have everything. `None` when it was stopped before.
    async fn watch(&self, stop: &Stop, console: &Console) -> Result<Option<Moved>> {
        let board = Board::new(console, self.leechers.len());
        let mut tick = interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if stop.is_asked() {
                return Ok(None);
            }
            let took = self.started.elapsed();
            let mut states = Vec::new();
            for leecher in &self.leechers {
                states.push(leecher.torrent.status().await?);
            }
            board.show(&states);
            if let Some(Activity::Failed(error)) = states
                .iter()
                .map(|state| &state.activity)
                .find(|activity| matches!(activity, Activity::Failed(_)))
            {
                return Err(error.clone().into());
            }
            if states.iter().all(|state| state.activity == Activity::Seeding) {
                let seeder = self.seeder.torrent.status().await?;
                return Ok(Some(Moved {
                    took,
                    bytes: states.iter().map(|state| state.done).sum(),
                    by_seeder: seeder.totals.uploaded,
                    by_leechers: states.iter().map(|state| state.totals.uploaded).sum(),
                }));
            }
        }
    }

    async fn end(self) {
        for node in self.leechers.into_iter().chain([self.seeder]) {
            if let Err(late) = node.session.shutdown(DEADLINE).await {
                tracing::warn!("{late}");
            }
        }
    }
}

/// Where the leechers put their copies.
fn copies(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=LEECHERS).map(|number| folder.join(format!("leecher {number}")))
}

async fn node(options: AddOptions) -> Result<Node> {
    let config =
        SessionConfig { listen: vec![SocketAddr::new(LOCAL, 0)], dht: None, ..SessionConfig::default() };
    let session = Session::start(config).await;
    let session =
        session.map_err(|error| failure(Exit::Unreachable, format!("cannot start a session: {error}")))?;
    let torrent = session.add(options).await?;
    Ok(Node { session, torrent })
}

/// A line for each leecher, on a terminal.
struct Board {
    bars: Vec<ProgressBar>,
    _lines: MultiProgress,
}

impl Board {
    fn new(console: &Console, leechers: usize) -> Self {
        let lines = MultiProgress::new();
        if !console.is_live() {
            lines.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bars = (1..=leechers).map(|number| {
            let bar = lines.add(ProgressBar::new(1)).with_prefix(format!("leecher {number}"));
            log::above(&bar);
            live::style(&bar, "{prefix}  {bar:20.cyan/dim} {wide_msg}");
            bar
        });
        Self { bars: bars.collect(), _lines: lines }
    }

    fn show(&self, states: &[TorrentStatus]) {
        for (bar, state) in self.bars.iter().zip(states) {
            bar.set_length(state.wanted.max(1));
            bar.set_position(state.done);
            let share = percent(state.done, state.wanted);
            let (down, up) = (rate(state.down_rate), rate(state.up_rate));
            bar.set_message(format!(
                "{share:>6}  down {down}  up {up}  {}",
                count(state.peers as u64, "peer")
            ));
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
    }
}

/// Checks every copy from the disk, and says how it was.
fn judge(torrent: &Arc<Torrent>, folder: &Path, moved: &Moved, console: &Console) -> Result<Exit> {
    let speed = rate((moved.bytes as f64 / moved.took.as_secs_f64().max(0.001)) as u64);
    let text = format!(
        "moved {} to {LEECHERS} leechers in {}: {speed} together\n\
         {} of what was sent came from the seeder, the rest from each other\n",
        size(moved.bytes),
        took(moved.took),
        percent(moved.by_seeder, moved.by_seeder + moved.by_leechers),
    );
    console.print(&text)?;
    let (mut good, mut all) = (0, 0);
    for dir in copies(folder) {
        let files = FileStorage::open(&dir, Arc::clone(torrent), FileOptions::default())?;
        let found = recheck(&files, torrent, &ScanOptions::default());
        good += found.count(Verdict::Good);
        all += found.verdicts.len();
    }
    if good == all {
        let verdict = styled(GOOD, "every hash matches");
        console
            .print(&format!("{verdict}: {all} pieces in {LEECHERS} copies, read again from the disk\n"))?;
        return Ok(Exit::Done);
    }
    let verdict = styled(BAD, "not every hash matches");
    console.print(&format!("{verdict}: {good} of {all} pieces in {LEECHERS} copies\n"))?;
    Ok(Exit::Mismatch)
}
