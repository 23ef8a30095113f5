//! Opening the session and adding the torrent.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use storage::record::{Store, StoreError};
use storage::{Operation, StorageError, Trouble};
use swarm::session::resolve::Resolver;
use swarm::session::{
    AddError, AddOptions, AsBefore, Check, Choice, DhtSettings, FilesError, MagnetOptions, Session,
    SessionConfig, StartError, Torrent,
};

use super::{Plan, Role, What};
use crate::dht_state::DhtFile;
use crate::exit::{Exit, failure, of_io};
use crate::flags::values::{HostPort, Rate};
use crate::flags::{self, Net};
use crate::output::human::size;
use crate::settings;

/// Ports that are tried when none is named.
const USUAL_PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// How the DHT is used, if it is of any use.
pub(super) fn dht(net: &Net, file: Option<&DhtFile>, read_only: bool) -> DhtSettings {
    DhtSettings {
        bootstrap: settings::bootstrap(&net.bootstrap),
        saved: file.and_then(DhtFile::load),
        read_only,
    }
}

/// Starts a session as the flags say.
pub(super) async fn session(
    net: &Net,
    store: Option<Arc<dyn Store>>,
    dht: Option<DhtSettings>,
) -> Result<Session> {
    let ports: Vec<u16> = match net.port {
        Some(port) => vec![port],
        None => USUAL_PORTS.chain([0]).collect(),
    };
    for port in &ports {
        match Session::start(config(net, *port, store.clone(), dht.clone())).await {
            Ok(session) => return Ok(session),
            Err(StartError::Listen(error))
                if error.cause.kind() == std::io::ErrorKind::AddrInUse && Some(port) != ports.last() => {}
            Err(error @ StartError::Listen(_)) => {
                let hint = "choose another one by --port or --listen";
                return Err(failure(Exit::Unreachable, format!("{error}; {hint}")));
            }
            Err(error) => return Err(failure(Exit::Failed, format!("cannot start: {error}"))),
        }
    }
    unreachable!("the last port either worked or was an error")
}

fn config(net: &Net, port: u16, store: Option<Arc<dyn Store>>, dht: Option<DhtSettings>) -> SessionConfig {
    let mut config = SessionConfig { port, store, dht, ..SessionConfig::default() };
    config.listen = net.listen.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
    config.engine.pex = !net.no_pex;
    config.engine.lsd = !net.no_lsd;
    config.engine.min_free = net.min_free.0;
    config.engine.memory_budget = usize::try_from(net.memory.0).unwrap_or(usize::MAX);
    let of_program = |rate: Option<Rate>, is_own: bool| rate.filter(|_| !is_own).and_then(Rate::limit);
    config.engine.down_limit = of_program(net.down_limit, net.own_limits.down);
    config.engine.up_limit = of_program(net.up_limit, net.own_limits.up);
    config
}

/// The addresses of the peers that were named.
pub(super) async fn peers(named: &[HostPort]) -> Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for peer in named {
        found.extend(resolve(peer).await.with_context(|| format!("--peer {peer}"))?);
    }
    Ok(found)
}

/// The addresses of a host.
pub(crate) async fn resolve(named: &HostPort) -> Result<Vec<SocketAddr>> {
    let addresses = Resolver::new().lookup(&named.host, named.port, None).await;
    addresses.map_err(|error| failure(Exit::Unreachable, error.to_string()))
}

/// Adds the torrent to the session.
pub(super) async fn add(
    session: &Session,
    plan: &Plan,
    net: &Net,
    peers: Vec<SocketAddr>,
) -> Result<Torrent, AddError> {
    let check = check(plan, net);
    let min_free = Some(net.min_free.0).filter(|bytes| *bytes > 0);
    let of_torrent = |rate: Option<Rate>, is_own: bool| rate.filter(|_| is_own).and_then(Rate::limit);
    let (own, order) = (net.own_limits, plan.order.unwrap_or_default());
    let [down_limit, up_limit] = [of_torrent(net.down_limit, own.down), of_torrent(net.up_limit, own.up)];
    let allocation = plan.allocation.unwrap_or_default();
    let as_before = AsBefore {
        files: plan.what.leaves_files(),
        order: plan.order.is_none(),
        allocation: plan.allocation.is_none(),
        down_limit: !own.down,
        up_limit: !own.up,
        trackers: true,
    };
    match &plan.what {
        What::Torrent(torrent, files) => {
            let options = match plan.role {
                Role::Download(_) => AddOptions::download(torrent.clone(), &plan.dir),
                Role::Seed => AddOptions::seed(torrent.clone(), &plan.dir),
            };
            session
                .add(AddOptions {
                    order,
                    placing: plan.placing.clone(),
                    allocation,
                    down_limit,
                    up_limit,
                    as_before,
                    check,
                    new_folder: net.new_folder,
                    overwrite: plan.overwrite,
                    verify: plan.verify,
                    peers,
                    files: files.clone().unwrap_or_default(),
                    min_free,
                    ..options
                })
                .await
        }
        What::Magnet(magnet, chosen) => {
            let mut options = MagnetOptions::download((**magnet).clone(), &plan.dir);
            if !chosen.is_empty() {
                let chosen = chosen.clone();
                let hints = metainfo::merged(&magnet.select);
                // What the magnet hints at counts as long as no file is named here.
                let is_hinted = move |file: usize| {
                    let file = u32::try_from(file).unwrap_or(u32::MAX);
                    hints.is_empty() || metainfo::covers(&hints, file)
                };
                options.files = Choice::new(move |torrent| {
                    chosen.of(torrent, &is_hinted).map_err(|error| error.to_string())
                });
            }
            session
                .add_magnet(MagnetOptions {
                    order,
                    placing: plan.placing.clone(),
                    allocation,
                    down_limit,
                    up_limit,
                    as_before,
                    check,
                    new_folder: net.new_folder,
                    overwrite: plan.overwrite,
                    verify: plan.verify,
                    peers,
                    min_free,
                    ..options
                })
                .await
        }
    }
}

fn check(plan: &Plan, net: &Net) -> Check {
    match net.check {
        _ if plan.is_checked => Check::Never,
        flags::Check::Auto => Check::Auto,
        flags::Check::Always => Check::Always,
        flags::Check::Never => Check::Never,
    }
}

/// Why it was not added, with its status.
pub(super) fn refused(plan: &Plan, error: &AddError) -> anyhow::Error {
    let exit = match error {
        AddError::Storage(error) => of_io(&error.cause),
        AddError::NoSpace { .. } | AddError::Recorded { .. } => Exit::Disk,
        AddError::Store(StoreError::Io { cause, .. }) => of_io(cause),
        // Of its files, and not of itself.
        AddError::Store(StoreError::Locked { torrent: Some(_), .. }) => Exit::Disk,
        AddError::NoSuchFile { .. } | AddError::Selection(_) => Exit::Usage,
        AddError::Cancelled => Exit::Unfinished,
        _ => Exit::Failed,
    };
    let what = match plan.role {
        Role::Download(_) => "download",
        Role::Seed => "seed",
    };
    let dir = plan.dir.display();
    let why = match error {
        AddError::Store(StoreError::Locked { path, by, torrent: Some(torrent) }) => {
            let who = by.map_or(String::from("another process"), |pid| format!("process {pid}"));
            format!(
                "{} is written to by {who}, for torrent {torrent}; -o names another folder",
                path.display()
            )
        }
        AddError::Store(StoreError::Locked { by, .. }) => {
            let who = by.map_or(String::from("another process"), |pid| format!("process {pid}"));
            format!("{who} downloads or seeds it in {dir} already")
        }
        AddError::Store(error) => {
            format!("{error}; --state chooses another place for records, --no-resume does without")
        }
        AddError::Storage(error) if error.is_gone() => format!(
            "{error}. Nothing was written. If the folder is meant to be empty or another one now, --new-folder \
             starts with what is in it"
        ),
        AddError::NoSpace { dir, needed, free, reserve } => format!(
            "{} are needed in {} and {} are free, of which {} are to be left (--min-free); nothing was written. \
             Free some space, --select fewer files, or try all the same with --min-free 0",
            size(*needed),
            dir.display(),
            size(*free),
            size(*reserve)
        ),
        AddError::Storage(error) if error.trouble() == Trouble::Missing && error.path == plan.dir => {
            let hint = match plan.role {
                Role::Download(_) => "choose another folder by -o",
                Role::Seed => "name the folder that holds the data by -d",
            };
            format!("{error}; {hint}")
        }
        AddError::Storage(error) if error.trouble() == Trouble::Foreign => {
            format!("{error}. {UNTOUCHED}")
        }
        AddError::Recorded { .. } => format!("{error}. {UNTOUCHED}"),
        AddError::Storage(error) => advised(error),
        error => error.to_string(),
    };
    failure(exit, format!("cannot {what} {:?}: {why}", plan.what.name()))
}

/// What to do about a file that is not the torrent's.
const UNTOUCHED: &str = "Nothing was written. Move it away, name another folder by -o, or let the torrent be \
                         downloaded over it by --overwrite";

/// An error of the storage with what can be done about it.
pub(crate) fn advised(error: &StorageError) -> String {
    match error.advice() {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// Why something about files cannot be done, with what can be done about it.
pub(crate) fn why(error: &FilesError) -> String {
    match error {
        FilesError::Storage(error)
            if error.operation == Operation::Link && error.trouble() != Trouble::Exists =>
        {
            format!("{}; --link copy copies", advised(error))
        }
        FilesError::Storage(error) => advised(error),
        FilesError::Cancelled => String::from("it was stopped"),
        error => error.to_string(),
    }
}

/// The status for it.
pub(crate) fn exit_of(error: &FilesError) -> Exit {
    match error {
        FilesError::Storage(error) if error.cause.kind() == std::io::ErrorKind::InvalidInput => Exit::Usage,
        FilesError::Storage(error) => of_io(&error.cause),
        FilesError::Store(StoreError::Io { cause, .. }) => of_io(cause),
        FilesError::NoSuchFile { .. } => Exit::Usage,
        FilesError::Cancelled => Exit::Unfinished,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        net: Net,
    }

    #[test]
    fn flags_switch_exchange_and_the_local_network_off() {
        for (words, expected) in [
            (&["unchoke"][..], (true, true)),
            (&["unchoke", "--no-pex"], (false, true)),
            (&["unchoke", "--no-lsd"], (true, false)),
            (&["unchoke", "--no-pex", "--no-lsd"], (false, false)),
        ] {
            let config = config(&Flags::parse_from(words).net, 0, None, None);
            assert_eq!((config.engine.pex, config.engine.lsd), expected, "{words:?}");
        }
    }
}
