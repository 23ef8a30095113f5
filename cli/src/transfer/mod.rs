//! Running one torrent in a session, for `download` and `seed`.

mod damage;
mod drive;
mod event;
pub(crate) mod live;
mod origins;
mod recall;
pub(crate) mod records;
mod report;
mod seek;
mod start;
mod waits;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use metainfo::{Magnet, Torrent, TorrentId};
use storage::Allocation;
use swarm::session::http::{Http, HttpConfig, Problem};
use swarm::session::resolve::Resolver;
use swarm::session::{PieceOrder, Placing, Selection};

use crate::exit::{self, Exit, failure};
use crate::flags::Net;
use crate::flags::values::SeedGoal;
use crate::output::Console;
use crate::settings::Chosen;
use crate::stop::Stop;
use event::Event;
pub(crate) use start::{advised, exit_of, resolve, why};

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) what: What,
    /// The folder that holds the torrent's file or folder.
    pub(crate) dir: PathBuf,
    pub(crate) role: Role,
    /// If one was chosen.
    pub(crate) order: Option<PieceOrder>,
    /// Where files lie until they are complete, and what is done with them then.
    pub(crate) placing: Placing,
    /// When files take room, if that was chosen.
    pub(crate) allocation: Option<Allocation>,
    /// Whether files that hold something else are overwritten.
    pub(crate) overwrite: bool,
    /// Whether what was downloaded is read back before it counts.
    pub(crate) verify: bool,
    /// Whether what is there is known to be right.
    pub(crate) is_checked: bool,
}

/// A torrent, described or named.
pub(crate) enum What {
    /// Its metainfo, and which files are wanted, if that was chosen.
    Torrent(Arc<Torrent>, Option<Selection>),
    /// A magnet of it, and which files are wanted when they are known; none leaves it to the magnet.
    Magnet(Box<Magnet>, Chosen),
}

impl What {
    /// What to call it.
    fn name(&self) -> String {
        match self {
            Self::Torrent(torrent, _) => torrent.name().to_owned(),
            Self::Magnet(magnet, _) => magnet.name.clone().unwrap_or_else(|| self.id().to_hex()),
        }
    }

    fn id(&self) -> TorrentId {
        match self {
            Self::Torrent(torrent, _) => torrent.id(),
            Self::Magnet(magnet, _) => magnet.info_hashes.id(),
        }
    }

    /// Whether it is known to be private.
    fn is_private(&self) -> bool {
        self.torrent().is_some_and(|torrent| torrent.private())
    }

    /// Whether nobody chose files.
    fn leaves_files(&self) -> bool {
        match self {
            Self::Torrent(_, files) => files.is_none(),
            Self::Magnet(_, chosen) => chosen.is_empty(),
        }
    }

    fn torrent(&self) -> Option<&Arc<Torrent>> {
        match self {
            Self::Torrent(torrent, _) => Some(torrent),
            Self::Magnet(..) => None,
        }
    }

    fn magnet(&self) -> String {
        match self {
            Self::Torrent(torrent, _) => Magnet::of(torrent).to_string(),
            Self::Magnet(magnet, _) => magnet.to_string(),
        }
    }
}

/// Which way the bytes go first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    /// Get what is missing, then seed as far as this.
    Download(SeedGoal),
    /// Give what is there.
    Seed,
}

/// Runs it to its end.
pub(crate) fn run(plan: &Plan, net: &Net, stop: &Stop, console: &Console) -> Result<Exit> {
    let result = unmet(net, console).and_then(|()| block_on(drive::run(plan, net, stop, console)));
    if let Err(error) = &result {
        tell(error, Some(plan.what.id()), net, console)?;
    }
    result
}

/// Tells programs why it cannot be run.
pub(crate) fn tell(error: &anyhow::Error, id: Option<TorrentId>, net: &Net, console: &Console) -> Result<()> {
    let exit = exit::status(error);
    if !net.json || exit == Exit::Done {
        return Ok(());
    }
    let info_hash = id.map(|id| id.to_hex());
    console.json(&Event::Error { info_hash, message: format!("{error:#}"), exit: exit as u8 })
}

/// Gets what a magnet names from peers, without its content.
pub(crate) fn metadata(magnet: &Magnet, net: &Net, stop: &Stop, console: &Console) -> Result<Arc<Torrent>> {
    unmet(net, console)?;
    block_on(drive::metadata(magnet, net, stop, console))
}

/// Says which flags are not heeded yet, or refuses to go on without.
fn unmet(net: &Net, console: &Console) -> Result<()> {
    if let Some(unmet) = net.later.unmet()? {
        console.note(&format!("unchoke: {unmet}"));
    }
    Ok(())
}

/// The bytes of the torrent at a URL.
pub(crate) fn fetch(url: &str) -> Result<Vec<u8>> {
    block_on(async {
        let fetched = match Http::new(&HttpConfig::default(), &Resolver::new()) {
            Ok(http) => http.fetch_torrent(url).await.map(Into::into),
            Err(error) => Err(error),
        };
        fetched.map_err(|error| {
            let exit = match error.problem {
                Problem::TooLarge(_) => Exit::Failed,
                _ => Exit::Unreachable,
            };
            failure(exit, format!("cannot fetch {error}"))
        })
    })
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let result = runtime.block_on(future);
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}
