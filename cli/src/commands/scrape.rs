//! `unchoke scrape`

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use metainfo::{Magnet, TorrentId};
use serde::Serialize;
use swarm::engine::tracker::TrackerUrl;
use swarm::session::{ScrapeCounts, ScrapeError, Session, SessionConfig};
use tokio::task::JoinSet;

use crate::exit::{Exit, failure};
use crate::flags::Scrape;
use crate::input::{self, Kind};
use crate::output::Console;
use crate::output::human::{count, plain};
use crate::transfer;

/// How long the end may take.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Scrape, console: &Console) -> Result<Exit> {
    let (id, trackers) = named(args)?;
    if trackers.is_empty() {
        return Err(failure(Exit::Usage, "it names no tracker; --tracker URL does"));
    }
    transfer::block_on(async {
        let session = start(args).await?;
        let mut asked = JoinSet::new();
        for tracker in trackers {
            let session = session.clone();
            asked.spawn(async move {
                let answer = session.scrape(&tracker, &[id.0]).await;
                (tracker, answer)
            });
        }
        let mut answered = false;
        while let Some(done) = asked.join_next().await {
            let (tracker, answer) = done?;
            let answer = answer.map(|counts| counts.get(&id.0).copied().unwrap_or_default());
            answered |= answer.is_ok();
            tell(&Answer::of(&tracker, &answer), args.json, console)?;
        }
        if let Err(late) = session.shutdown(DEADLINE).await {
            tracing::warn!("{late}");
        }
        if answered { Ok(Exit::Done) } else { Err(failure(Exit::Unreachable, "no tracker answered")) }
    })
}

/// The torrent, and its trackers, each once.
fn named(args: &Scrape) -> Result<(TorrentId, Vec<String>)> {
    let magnet = match input::kind(&args.torrent) {
        Kind::Magnet => input::magnet(&args.torrent)?,
        Kind::Url => return Err(failure(Exit::Usage, "scrape reads files, magnet links and info-hashes")),
        Kind::Path | Kind::Stdin => Magnet::of(&input::torrent(Path::new(&args.torrent))?),
    };
    let mut trackers: Vec<String> = Vec::new();
    for tracker in magnet.trackers.iter().chain(&args.tracker) {
        if !trackers.contains(tracker) {
            trackers.push(tracker.clone());
        }
    }
    Ok((magnet.info_hashes.id(), trackers))
}

async fn start(args: &Scrape) -> Result<Session> {
    let listen = args.listen.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    let mut config = SessionConfig { listen, dht: None, ..SessionConfig::default() };
    config.engine.lsd = false;
    let cannot = |error| failure(Exit::Unreachable, format!("cannot start: {error}"));
    Session::start(config).await.map_err(cannot)
}

/// What a tracker said.
#[derive(Serialize)]
struct Answer {
    /// Its address without secrets.
    tracker: String,
    seeders: Option<u32>,
    leechers: Option<u32>,
    downloaded: Option<u32>,
    error: Option<String>,
}

impl Answer {
    fn of(tracker: &str, answer: &Result<ScrapeCounts, ScrapeError>) -> Self {
        let shown = TrackerUrl::parse(tracker).map_or_else(|_| tracker.to_owned(), |url| url.to_string());
        let counts = answer.as_ref().ok();
        Self {
            tracker: plain(&shown),
            seeders: counts.map(|counts| counts.seeders),
            leechers: counts.map(|counts| counts.leechers),
            downloaded: counts.map(|counts| counts.downloaded),
            error: answer.as_ref().err().map(|error| plain(&error.to_string())),
        }
    }
}

fn tell(answer: &Answer, is_json: bool, console: &Console) -> Result<()> {
    if is_json {
        return console.json(answer);
    }
    match answer {
        Answer { tracker, error: Some(error), .. } => console.note(&format!("{tracker}: {error}")),
        Answer { tracker, seeders, leechers, downloaded, .. } => {
            let number = |n: &Option<u32>, noun| count(u64::from(n.unwrap_or_default()), noun);
            let (seeds, others) = (number(seeders, "seed"), number(leechers, "other peer"));
            let downloads = number(downloaded, "download");
            console.print(&format!("{tracker}: {seeds}, {others}, {downloads}\n"))?;
        }
    }
    Ok(())
}
