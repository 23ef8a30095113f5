//! `unchoke download`

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::exit::{Exit, failure};
use crate::flags::Download;
use crate::input::{self, Kind};
use crate::output::json::TorrentJson;
use crate::output::{Console, torrent};
use crate::settings;
use crate::stop::Stop;
use crate::transfer::{self, Plan, Role};

pub(crate) fn run(args: &Download, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let named = &args.torrent;
    let torrent = match input::kind(named) {
        Kind::Magnet => {
            input::magnet(named)?;
            let text = "this version cannot get a torrent's description from peers, so a magnet link is not \
                        enough; download needs the .torrent file or its URL";
            return Err(failure(Exit::Failed, text));
        }
        Kind::Url => input::parse(&transfer::fetch(named)?, named)?,
        Kind::Path | Kind::Stdin => input::torrent(Path::new(named))?,
    };
    if args.list {
        if args.net.json {
            console.json(&TorrentJson::of(&torrent))?;
        } else {
            console.print(&torrent::files(&torrent))?;
        }
        return Ok(Exit::Done);
    }
    let files = settings::selection(&args.select, &torrent)?;
    let plan = Plan {
        torrent: Arc::new(torrent),
        dir: args.output.clone(),
        role: Role::Download(args.seed),
        files,
        is_checked: false,
    };
    transfer::run(&plan, &args.net, &stop, console)
}
