//! `unchoke download`

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use metainfo::Torrent;

use crate::exit::{Exit, failure, of_io};
use crate::flags::Download;
use crate::input::{self, Kind};
use crate::output::json::TorrentJson;
use crate::output::{Console, torrent};
use crate::settings::{self, Chosen};
use crate::stop::Stop;
use crate::transfer::{self, Plan, Role, What};

pub(crate) fn run(args: &Download, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    if args.list {
        return list(args, &stop, console);
    }
    match reusable(args).and_then(|()| what(args)) {
        Ok(what) => transfer::run(&plan(args, what), &args.net, &stop, console),
        Err(error) => {
            transfer::tell(&error, None, &args.net, console)?;
            Err(error)
        }
    }
}

/// That what --reuse names is there: without it, all that it has would be downloaded.
fn reusable(args: &Download) -> Result<()> {
    for path in &args.placing.reuse {
        std::fs::metadata(path).map_err(|cause| {
            failure(of_io(&cause), format!("cannot look at {} for --reuse: {cause}", path.display()))
        })?;
    }
    Ok(())
}

/// Shows the files, and which of them are chosen.
fn list(args: &Download, stop: &Stop, console: &Console) -> Result<Exit> {
    let torrent = match input::kind(&args.torrent) {
        Kind::Magnet => transfer::metadata(&input::magnet(&args.torrent)?, &args.net, stop, console)?,
        _ => torrent(args)?,
    };
    let files = chosen(args).of(&torrent, |_| true)?;
    if args.net.json {
        console.json(&TorrentJson::of(&torrent))?;
    } else {
        console.print(&torrent::files(&torrent, |file| files.has(file)))?;
    }
    Ok(Exit::Done)
}

/// What is to be downloaded.
fn what(args: &Download) -> Result<What> {
    if input::kind(&args.torrent) == Kind::Magnet {
        return Ok(What::Magnet(input::magnet(&args.torrent)?.into(), chosen(args)));
    }
    let torrent = torrent(args)?;
    let chosen = chosen(args);
    let files = if chosen.is_empty() { None } else { Some(chosen.of(&torrent, |_| true)?) };
    Ok(What::Torrent(torrent, files))
}

/// The torrent in a file or at a URL.
fn torrent(args: &Download) -> Result<Arc<Torrent>> {
    let named = &args.torrent;
    let torrent = match input::kind(named) {
        Kind::Url => input::parse(&transfer::fetch(named)?, named)?,
        _ => input::torrent(Path::new(named))?,
    };
    Ok(Arc::new(torrent))
}

fn plan(args: &Download, what: What) -> Plan {
    Plan {
        what,
        dir: args.output.clone(),
        role: Role::Download(args.seed),
        order: args.order.map(settings::order),
        placing: settings::placing(&args.placing),
        allocation: args.placing.preallocate.map(settings::allocation),
        overwrite: args.overwrite,
        verify: args.placing.verify,
        is_checked: false,
    }
}

fn chosen(args: &Download) -> Chosen {
    Chosen { select: args.select.clone(), priority: args.priority.clone() }
}
