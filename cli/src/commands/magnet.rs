//! `unchoke magnet`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use metainfo::{Edit, Magnet, Torrent};
use serde::Serialize;

use crate::commands::create;
use crate::exit::{Exit, failure, of_io};
use crate::flags;
use crate::input::{self, Kind};
use crate::output::human::Fields;
use crate::output::json::{MagnetJson, TorrentJson};
use crate::output::{Console, torrent};
use crate::stop::Stop;
use crate::transfer;

/// A torrent file that was written.
#[derive(Serialize)]
struct FetchedJson<'a> {
    file: &'a Path,
    #[serde(flatten)]
    torrent: TorrentJson<'a>,
}

pub(super) fn run(args: &flags::Magnet, console: &Console) -> Result<Exit> {
    let kind = input::kind(&args.torrent);
    match (args.fetch, kind) {
        (true, Kind::Magnet) => fetch(args, &input::magnet(&args.torrent)?, console),
        (true, _) => Err(failure(Exit::Usage, "--fetch needs a magnet link or an info-hash")),
        (false, Kind::Url) => {
            let text = "magnet reads files only; unchoke download --list shows what is at a URL";
            Err(failure(Exit::Usage, text))
        }
        (false, kind) => {
            let magnet = match kind {
                Kind::Magnet => input::magnet(&args.torrent)?,
                _ => Magnet::of(&input::torrent(Path::new(&args.torrent))?),
            };
            if args.net.json {
                console.json(&MagnetJson::of(&magnet))?;
            } else {
                console.print(&format!("{magnet}\n"))?;
            }
            Ok(Exit::Done)
        }
    }
}

/// Gets the metadata of a magnet, and writes them as a torrent file.
fn fetch(args: &flags::Magnet, magnet: &Magnet, console: &Console) -> Result<Exit> {
    let to_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if to_stdout && args.net.json {
        return Err(failure(Exit::Usage, "standard output cannot take both the torrent (-o -) and --json"));
    }
    if let Some(output) = args.output.as_deref().filter(|_| !to_stdout) {
        check_folder(output)?;
        check_free(output, args.force)?;
    }
    let stop = Stop::on_signals()?;
    let torrent = transfer::metadata(magnet, &args.net, &stop, console)?;
    let bytes = file_of(&torrent, magnet).context("cannot make a torrent file of what peers sent")?;
    if !torrent.has_piece_layers() {
        console.note(
            "unchoke: no peer gave the piece layers of the torrent: programs that check by its v2 hashes ask peers for them",
        );
    }
    if to_stdout {
        std::io::stdout().write_all(&bytes)?;
        return Ok(Exit::Done);
    }
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.torrent", torrent.name())));
    check_free(&output, args.force)?;
    create::write(&output, &bytes)?;
    if args.net.json {
        console.json(&FetchedJson { file: &output, torrent: TorrentJson::of(&torrent) })?;
    } else {
        let mut fields = Fields::default();
        fields.add("wrote", output.display().to_string());
        torrent::summary(&mut fields, &torrent);
        console.print(&fields.finish())?;
    }
    Ok(Exit::Done)
}

fn check_free(output: &Path, force: bool) -> Result<()> {
    if !force && output.exists() {
        let text =
            format!("{} exists; use --force to overwrite it, or -o for another file", output.display());
        return Err(failure(Exit::Failed, text));
    }
    Ok(())
}

/// Refuses before the fetch, which may take long, what could not be written after it.
fn check_folder(output: &Path) -> Result<()> {
    if output.is_dir() {
        let text = format!("{} is a folder; name the torrent file to write", output.display());
        return Err(failure(Exit::Failed, text));
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.map(fs::metadata) {
        Some(Err(error)) => {
            Err(failure(of_io(&error), format!("cannot write {}: {error}", output.display())))
        }
        _ => Ok(()),
    }
}

/// The torrent file: the info dictionary as it is, and what the magnet adds.
fn file_of(torrent: &Torrent, magnet: &Magnet) -> Result<Vec<u8>, metainfo::Error> {
    let mut edit = Edit::from_info(torrent.info_bytes())?;
    edit.set_from_magnet(magnet);
    let files = torrent.layout().files().iter().enumerate();
    edit.set_piece_layers(
        files.filter_map(|(at, file)| Some((file.root.as_deref()?, torrent.piece_layer(at)?))),
    );
    edit.finish()
}
