//! `unchoke show`

use std::path::Path;

use anyhow::Result;

use crate::exit::{Exit, failure};
use crate::flags::Show;
use crate::input::{self, Kind};
use crate::output::json::{MagnetJson, TorrentJson};
use crate::output::{Console, torrent};

pub(super) fn run(args: &Show, console: &Console) -> Result<Exit> {
    match input::kind(&args.torrent) {
        Kind::Magnet => {
            let magnet = input::magnet(&args.torrent)?;
            if args.json {
                console.json(&MagnetJson::of(&magnet))?;
            } else {
                console.print(&torrent::magnet(&magnet))?;
            }
        }
        Kind::Url => {
            let url = &args.torrent;
            let text = format!("show reads files only; try: curl -sL '{url}' | unchoke show -");
            return Err(failure(Exit::Usage, text));
        }
        Kind::Path | Kind::Stdin => {
            let shown = input::torrent(Path::new(&args.torrent))?;
            if args.json {
                console.json(&TorrentJson::of(&shown))?;
            } else {
                let files = if args.files {
                    format!("\n{}", torrent::files(&shown, |_| true))
                } else {
                    String::new()
                };
                console.print(&(torrent::torrent(&shown) + &files))?;
            }
        }
    }
    Ok(Exit::Done)
}
