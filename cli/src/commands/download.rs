//! `unchoke download`

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::exit::Exit;
use crate::flags::Download;
use crate::input::{self, Kind};
use crate::output::json::TorrentJson;
use crate::output::{Console, torrent};
use crate::settings::{self, Chosen};
use crate::stop::Stop;
use crate::transfer::{self, Plan, Role, What};

pub(crate) fn run(args: &Download, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let named = &args.torrent;
    let torrent = match input::kind(named) {
        Kind::Magnet => {
            let magnet = input::magnet(named)?;
            if !args.list {
                let what = What::Magnet(magnet.into(), chosen(args));
                return transfer::run(&plan(args, what), &args.net, &stop, console);
            }
            transfer::metadata(&magnet, &args.net, &stop, console)?
        }
        Kind::Url => Arc::new(input::parse(&transfer::fetch(named)?, named)?),
        Kind::Path | Kind::Stdin => Arc::new(input::torrent(Path::new(named))?),
    };
    if args.list {
        if args.net.json {
            console.json(&TorrentJson::of(&torrent))?;
        } else {
            console.print(&torrent::files(&torrent))?;
        }
        return Ok(Exit::Done);
    }
    let files = chosen(args).of(&torrent, |_| true)?;
    transfer::run(&plan(args, What::Torrent(torrent, files)), &args.net, &stop, console)
}

fn plan(args: &Download, what: What) -> Plan {
    let order = settings::order(args.order);
    Plan { what, dir: args.output.clone(), role: Role::Download(args.seed), order, is_checked: false }
}

fn chosen(args: &Download) -> Chosen {
    Chosen { select: args.select.clone(), priority: args.priority.clone() }
}
