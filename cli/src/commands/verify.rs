//! `unchoke verify`

use std::fmt::Write;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::Result;
use metainfo::Torrent;
use serde::Serialize;
use storage::{FileOptions, FileStorage, Rechecked, StorageError, Verdict, recheck};

use crate::exit::{Exit, failure, of_io};
use crate::flags::Verify;
use crate::input;
use crate::output::Console;
use crate::output::human::{BAD, GOOD, count, percent, plain, size, styled};
use crate::output::json::{Hashes, stored_files};
use crate::progress::Bar;
use crate::settings;
use crate::stop::Stop;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Every piece of it matches.
    Ok,
    /// Some pieces are there and do not match.
    Bad,
    /// It ends too early, or pieces of it that it shares with others cannot be checked.
    Incomplete,
    /// It is not there.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// A symbolic link. Links have no content and are not made, so there is nothing to check.
    Link,
}

impl Status {
    fn is_fine(self) -> bool {
        matches!(self, Self::Ok | Self::Link)
    }
}

#[derive(Serialize)]
struct FileJson<'a> {
    index: usize,
    path: &'a str,
    size: u64,
    /// Bytes in pieces that match.
    good: u64,
    status: Status,
}

#[derive(Serialize)]
struct PiecesJson {
    total: usize,
    good: usize,
    bad: usize,
    missing: usize,
    unreadable: usize,
    unknown: usize,
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    name: &'a str,
    #[serde(flatten)]
    hashes: Hashes,
    complete: bool,
    size: u64,
    good: u64,
    pieces: PiecesJson,
    files: Vec<FileJson<'a>>,
    errors: Vec<String>,
}

pub(super) fn run(args: &Verify, console: &Console) -> Result<Exit> {
    let torrent = Arc::new(input::torrent(&args.torrent)?);
    let open = FileStorage::open(&args.dir, Arc::clone(&torrent), FileOptions::default());
    let storage = open.map_err(|error| cannot_open(args, &error))?;
    let stop = Stop::on_signals()?;
    let bar = Bar::new(console, "checking");
    let progress = |progress| bar.show(progress);
    let found = recheck(&storage, &torrent, &settings::scan(args.threads, &stop, &progress));
    drop(bar);
    if !found.is_whole {
        return Err(failure(Exit::Unfinished, "stopped before everything was checked"));
    }
    let files: Vec<FileJson<'_>> =
        stored_files(&torrent).map(|(index, _)| judge(&storage, &torrent, &found, index)).collect();
    let is_complete = files.iter().all(|file| file.status.is_fine());
    if args.json {
        console.json(&summary(&torrent, &found, files))?;
    } else {
        console.print(&text(args, &torrent, &found, &files))?;
    }
    Ok(match () {
        () if is_complete => Exit::Done,
        () if found.errors.is_empty() => Exit::Mismatch,
        () => Exit::Disk,
    })
}

fn cannot_open(args: &Verify, error: &StorageError) -> anyhow::Error {
    let text = format!("{error}; name the folder that holds the data: unchoke verify FILE DIR");
    failure(of_io(&error.cause), format!("{}: {text}", args.torrent.display()))
}

/// Judges a file by its pieces and by what is on disk.
fn judge<'a>(storage: &FileStorage, torrent: &'a Torrent, found: &Rechecked, index: usize) -> FileJson<'a> {
    let file = &torrent.layout().files()[index];
    if file.attributes.symlink {
        return FileJson { index, path: file.path.as_str(), size: 0, good: 0, status: Status::Link };
    }
    let on_disk = storage.file_len(index);
    let (mut good, mut is_bad, mut is_unreadable) = (0, false, false);
    for piece in torrent.layout().file_pieces(index).into_iter().flatten() {
        let Ok(piece) = torrent.geometry().piece(piece) else { continue };
        let segments = torrent.layout().segments(torrent.geometry().whole(piece));
        let bytes: u64 = segments.filter(|s| s.file == index).map(|s| u64::from(s.len)).sum();
        match found.verdicts[piece.as_usize()] {
            Verdict::Good => good += bytes,
            Verdict::Bad => is_bad = true,
            Verdict::Unreadable => is_unreadable = true,
            Verdict::Missing | Verdict::Unknown | Verdict::Unchecked => {}
        }
    }
    let status = match on_disk {
        Err(error) if error.cause.kind() == ErrorKind::NotFound => Status::Missing,
        Err(_) => Status::Unreadable,
        Ok(_) if good == file.length => Status::Ok,
        Ok(_) if is_unreadable => Status::Unreadable,
        Ok(_) if is_bad => Status::Bad,
        Ok(_) => Status::Incomplete,
    };
    FileJson { index, path: file.path.as_str(), size: file.length, good, status }
}

fn summary<'a>(torrent: &'a Torrent, found: &Rechecked, files: Vec<FileJson<'a>>) -> VerifyJson<'a> {
    VerifyJson {
        name: torrent.name(),
        hashes: Hashes::of(torrent.info_hashes()),
        complete: files.iter().all(|file| file.status.is_fine()),
        size: torrent.layout().payload(),
        good: files.iter().map(|file| file.good).sum(),
        pieces: PiecesJson {
            total: found.verdicts.len(),
            good: found.count(Verdict::Good),
            bad: found.count(Verdict::Bad),
            missing: found.count(Verdict::Missing),
            unreadable: found.count(Verdict::Unreadable),
            unknown: found.count(Verdict::Unknown),
        },
        files,
        errors: found.errors.iter().map(ToString::to_string).collect(),
    }
}

fn text(args: &Verify, torrent: &Torrent, found: &Rechecked, files: &[FileJson<'_>]) -> String {
    let mut text = String::new();
    let all_good = files.iter().all(|file| file.status.is_fine());
    // Writing to a string cannot fail.
    for file in files.iter().filter(|file| args.files || !file.status.is_fine()) {
        let (style, word) = match file.status {
            Status::Ok => (GOOD, "ok"),
            Status::Bad => (BAD, "bad"),
            Status::Incomplete => (BAD, "incomplete"),
            Status::Missing => (BAD, "missing"),
            Status::Unreadable => (BAD, "unreadable"),
            Status::Link => (GOOD, "link"),
        };
        let share = match file.status {
            Status::Missing => "0.0%".into(),
            Status::Link => String::new(),
            _ => percent(file.good, file.size),
        };
        let _ = writeln!(
            text,
            "{style}{word:<10}{style:#}  {share:>6}  {:>10}  {}",
            size(file.size),
            plain(file.path)
        );
    }
    for error in &found.errors {
        let _ = writeln!(text, "{}", plain(&error.to_string()));
    }
    let verdict = if all_good { styled(GOOD, "complete") } else { styled(BAD, "not complete") };
    let good: u64 = files.iter().map(|file| file.good).sum();
    let whole = torrent.layout().payload();
    let _ = write!(text, "{}: {verdict}, {} of {} match", plain(torrent.name()), size(good), size(whole));
    let _ =
        write!(text, " ({} of {}", found.count(Verdict::Good), count(found.verdicts.len() as u64, "piece"));
    for (verdict, what) in [
        (Verdict::Bad, "different"),
        (Verdict::Missing, "missing"),
        (Verdict::Unreadable, "unreadable"),
        (Verdict::Unknown, "without a hash in the torrent"),
    ] {
        if found.count(verdict) > 0 {
            let _ = write!(text, ", {} {what}", found.count(verdict));
        }
    }
    text.push_str(")\n");
    text
}
