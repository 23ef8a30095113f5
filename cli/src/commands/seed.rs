//! `unchoke seed`

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use metainfo::{Builder, Magnet};
use swarm::session::Placing;

use crate::commands::create;
use crate::exit::{Exit, failure, of_io};
use crate::flags::Seed;
use crate::input;
use crate::output::Console;
use crate::stop::Stop;
use crate::transfer::{self, Plan, Role, What};

pub(crate) fn run(args: &Seed, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let plan = match &args.data {
        Some(dir) => described(args, dir),
        None => made(args, &stop, console),
    };
    match plan {
        Ok(plan) => transfer::run(&plan, &args.net, &stop, console),
        Err(error) => {
            transfer::tell(&error, None, &args.net, console)?;
            Err(error)
        }
    }
}

/// Data that a torrent file describes.
fn described(args: &Seed, dir: &Path) -> Result<Plan> {
    if !args.tracker.is_empty() {
        let text =
            "--tracker is for a torrent that is made here; unchoke edit --add-tracker adds one to a file";
        return Err(failure(Exit::Usage, text));
    }
    let torrent = Arc::new(input::torrent(&args.path)?);
    let what = What::Torrent(torrent, None);
    Ok(plan(what, dir, false))
}

/// A file or folder, of which a torrent is made in memory.
fn made(args: &Seed, stop: &Stop, console: &Console) -> Result<Plan> {
    let path = &args.path;
    if path.extension().is_some_and(|end| end == "torrent") && path.is_file() {
        let text =
            format!("to seed what {} describes, name the folder of the data by -d DIR", path.display());
        return Err(failure(Exit::Usage, text));
    }
    // The files are opened by their own names, not through links.
    let path = fs::canonicalize(path)
        .map_err(|error| failure(of_io(&error), format!("cannot read {}: {error}", path.display())))?;
    let dir = path.parent().context("the root folder cannot be seeded; name a file or a folder in it")?;
    let describe = |builder| args.tracker.iter().fold(builder, Builder::tracker);
    let torrent = create::make(&path, describe, None, stop, console)?.torrent;
    if !args.net.json {
        console.print(&format!("{}\n", Magnet::of(&torrent)))?;
    }
    let what = What::Torrent(Arc::new(torrent), None);
    Ok(plan(what, dir, true))
}

fn plan(what: What, dir: &Path, is_checked: bool) -> Plan {
    Plan {
        what,
        dir: dir.to_owned(),
        role: Role::Seed,
        order: None,
        placing: Placing::default(),
        allocation: None,
        overwrite: false,
        verify: false,
        is_checked,
    }
}
