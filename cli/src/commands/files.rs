//! `unchoke move`, `rename` and `remove`: the files of torrents that do not run.

use std::io::{self, BufRead, IsTerminal, Write as _};
use std::path::{Component, Path};
use std::sync::Arc;

use anyhow::Result;
use metainfo::{Torrent, TorrentId};
use serde::Serialize;
use storage::record::StoreError;
use storage::{Moved, Removed};
use swarm::session::{AddError, AtRest};

use crate::exit::{Exit, failure, of_io};
use crate::flags::{Move, Recorded, Remove, Rename};
use crate::input::{self, Kind};
use crate::output::Console;
use crate::output::human::{count, plain, size};
use crate::output::json::stored_files;
use crate::progress::Bar;
use crate::stop::Stop;
use crate::transfer::{advised, exit_of, records, why};

/// A torrent that was taken to change its files.
struct Taken {
    rest: AtRest,
    name: String,
}

#[derive(Serialize)]
struct MovedJson<'a> {
    info_hash: String,
    name: &'a str,
    from: String,
    to: String,
    files: usize,
    /// Bytes that were copied, because they went to another disk.
    copied: u64,
    /// Files of which the old copy could not be removed.
    left_behind: Vec<String>,
}

#[derive(Serialize)]
struct RenamedJson<'a> {
    info_hash: String,
    name: &'a str,
    index: usize,
    old: &'a str,
    new: &'a str,
}

#[derive(Serialize)]
struct RemovedJson<'a> {
    info_hash: String,
    name: &'a str,
    dir: String,
    /// Whether nothing was done.
    dry_run: bool,
    /// Whether the record is gone.
    forgotten: bool,
    /// Files and folders, beneath the folder.
    removed: Vec<String>,
    /// What is left, and why.
    left: Vec<LeftJson>,
}

#[derive(Serialize)]
struct LeftJson {
    path: String,
    why: String,
}

pub(super) fn relocate(args: &Move, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let Taken { rest, name } = take(&args.of, "move", console)?;
    let from = rest.files().root();
    let bar = Bar::new(console, "moving");
    let progress = |progress| bar.show(progress);
    let moved = rest.move_to(&args.to, stop.flag(), &progress);
    drop(bar);
    let Moved { files, copied, left_behind, .. } = moved.map_err(|error| {
        let text = format!("cannot move {name:?} to {}: {}", args.to.display(), why(&error));
        let hint =
            if rest.files().moving_to().is_some() { "; the same command goes on from there" } else { "" };
        failure(exit_of(&error), format!("{text}{hint}"))
    })?;
    let left_behind = left_behind.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    if args.of.json {
        console.json(&MovedJson {
            info_hash: rest.meta().id().to_hex(),
            name: &name,
            from: from.display().to_string(),
            to: args.to.display().to_string(),
            files,
            copied,
            left_behind,
        })?;
        return Ok(Exit::Done);
    }
    let how = if copied > 0 { format!(", {} copied", size(copied)) } else { String::new() };
    let to = plain(&args.to.display().to_string());
    console.print(&format!("{}: moved {} to {to}{how}\n", plain(&name), count(files as u64, "file")))?;
    for path in left_behind {
        console.note(&format!("unchoke: the old copy of {} could not be removed", plain(&path)));
    }
    Ok(Exit::Done)
}

pub(super) fn rename(args: &Rename, console: &Console) -> Result<Exit> {
    let Taken { rest, name } = take(&args.of, "rename a file of", console)?;
    let index = named(&rest, &args.old)?;
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(&args.new).components().all(inside) {
        let text = format!(
            "{}: a file stays in its torrent's folder; name a path below it, without ..",
            plain(&args.new)
        );
        return Err(failure(Exit::Usage, text));
    }
    let names = rest.files().names();
    let old = names.path(rest.meta().layout(), index).to_owned();
    let new = rest.rename_file(index, &args.new).map_err(|error| {
        let text = format!("cannot rename {} to {}: {}", plain(&old), plain(&args.new), why(&error));
        failure(exit_of(&error), text)
    })?;
    if args.of.json {
        let info_hash = rest.meta().id().to_hex();
        console.json(&RenamedJson { info_hash, name: &name, index, old: &old, new: &new })?;
    } else {
        console.print(&format!("{}: {} is {} now\n", plain(&name), plain(&old), plain(&new)))?;
    }
    Ok(Exit::Done)
}

/// The file of this path or index.
fn named(rest: &AtRest, word: &str) -> Result<usize> {
    let (meta, names) = (rest.meta(), rest.files().names());
    let wanted = word.trim_start_matches("./");
    let mut stored = stored_files(meta);
    let by_path = stored.find(|(index, _)| names.path(meta.layout(), *index) == wanted);
    let is_file = |index: &usize| stored_files(meta).any(|(at, _)| at == *index);
    let found = by_path.map(|(index, _)| index).or_else(|| wanted.parse().ok().filter(is_file));
    found.ok_or_else(|| {
        let text = format!("{word:?} is no file of {:?}; unchoke show lists paths and indices", meta.name());
        failure(Exit::Usage, text)
    })
}

pub(super) fn remove(args: &Remove, console: &Console) -> Result<Exit> {
    let Taken { rest, name } = take(&args.of, "remove", console)?;
    let root = rest.files().root();
    let made: Vec<_> = if args.with_files { rest.files().created() } else { Vec::new() };
    let is_there = |path: &Path| std::fs::symlink_metadata(root.join(path)).is_ok();
    let (files, bytes) = made.iter().filter_map(|path| std::fs::symlink_metadata(root.join(path)).ok()).fold(
        (0, 0),
        |(files, bytes), meta| if meta.is_dir() { (files, bytes) } else { (files + 1, bytes + meta.len()) },
    );
    let mut answer = RemovedJson {
        info_hash: rest.meta().id().to_hex(),
        name: &name,
        dir: root.display().to_string(),
        dry_run: args.dry_run,
        forgotten: false,
        removed: Vec::new(),
        left: Vec::new(),
    };
    if args.dry_run {
        answer.removed =
            made.iter().rev().filter(|path| is_there(path)).map(|path| path.display().to_string()).collect();
        answer.left = others(&rest, &made, args.with_files);
        tell(&answer, args, console)?;
        return Ok(Exit::Done);
    }
    if files > 0 && !args.yes {
        confirm(&name, files, bytes, &root)?;
    }
    if args.with_files {
        let removed = rest.remove_files();
        let Removed { removed, kept, errors } = removed.map_err(|error| {
            failure(exit_of(&error), format!("cannot remove the files of {name:?}: {}", why(&error)))
        })?;
        answer.removed = removed.iter().map(|path| path.display().to_string()).collect();
        let full = "something else is in it, or it is no file any more";
        answer.left = kept.iter().map(|path| left(path, full)).collect();
        answer.left.extend(errors.iter().map(|error| left(&error.path, &error.to_string())));
        answer.left.extend(others(&rest, &made, true));
        if let Some(error) = errors.first() {
            tell(&answer, args, console)?;
            let text = format!("{error}; what is left is still recorded, and the same command tries again");
            return Err(failure(of_io(&error.cause), text));
        }
    } else {
        answer.left = others(&rest, &made, false);
    }
    rest.forget()
        .map_err(|error| failure(exit_of(&error), format!("cannot forget {name:?}: {}", why(&error))))?;
    answer.forgotten = true;
    tell(&answer, args, console)?;
    Ok(Exit::Done)
}

fn left(path: &Path, why: &str) -> LeftJson {
    LeftJson { path: path.display().to_string(), why: why.to_owned() }
}

/// Files of the torrent that stay because they were not made for it, or because only the record goes.
fn others(rest: &AtRest, made: &[std::path::PathBuf], with_files: bool) -> Vec<LeftJson> {
    let (names, layout) = (rest.files().names(), rest.meta().layout());
    let why = if with_files {
        "it was there before, or is not as it was left"
    } else {
        "only the record is removed; --with-files removes files"
    };
    let stored = stored_files(rest.meta()).map(|(index, _)| index);
    let there = stored.filter(|index| rest.files().file_len(*index).is_ok());
    let paths = there.map(|index| Path::new(names.path(layout, index)));
    paths.filter(|path| !made.iter().any(|made| made == path)).map(|path| left(path, why)).collect()
}

/// Asks whether files are to be removed.
fn confirm(name: &str, files: u64, bytes: u64, root: &Path) -> Result<()> {
    let what = format!("{} ({}) of {} in {}", count(files, "file"), size(bytes), plain(name), root.display());
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let text =
            format!("nobody can be asked here whether to remove {what}; add --yes, or --dry-run to see them");
        return Err(failure(Exit::Usage, text));
    }
    let mut err = io::stderr();
    write!(err, "Remove {what}? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(failure(Exit::Unfinished, "nothing was removed"))
}

fn tell(answer: &RemovedJson<'_>, args: &Remove, console: &Console) -> Result<()> {
    if args.of.json {
        return console.json(answer);
    }
    let (did, would) = if answer.dry_run { ("would remove", "would forget") } else { ("removed", "forgot") };
    let mut text = String::new();
    for path in &answer.removed {
        text.push_str(&format!("{did}  {}\n", plain(path)));
    }
    for LeftJson { path, why } in &answer.left {
        text.push_str(&format!("left  {} ({})\n", plain(path), plain(why)));
    }
    let what = if answer.forgotten || answer.dry_run { would } else { "still records" };
    text.push_str(&format!("{what}  {}\n", plain(answer.name)));
    console.print(&text)
}

/// Takes the torrent that is named, unless somebody runs it.
fn take(of: &Recorded, what: &str, console: &Console) -> Result<Taken> {
    let (id, meta) = identify(&of.torrent)?;
    let store = records::named(of.state.as_deref(), console)?;
    let dir = of.data.display();
    let Some(store) = store else {
        return Err(failure(
            Exit::Failed,
            "no record can be read; name the folder with the records by --state",
        ));
    };
    let shown = meta.as_ref().map_or_else(|| id.to_hex(), |meta| meta.name().to_owned());
    let rest = AtRest::open(store, id, meta, &of.data).map_err(|error| {
        let (exit, why) = match &error {
            AddError::Store(error @ StoreError::Locked { torrent: Some(_), .. }) => {
                (Exit::Failed, format!("{error}; stop that first"))
            }
            AddError::Store(StoreError::Locked { by, .. }) => {
                let who = by.map_or(String::from("another process"), |pid| format!("process {pid}"));
                (Exit::Failed, format!("{who} runs it in {dir}; stop that first"))
            }
            AddError::NotRecorded(_) if !of.data.is_dir() => (
                Exit::Missing,
                format!("there is no folder {dir}; -d names the one that it was downloaded to"),
            ),
            AddError::NotRecorded(_) => {
                let text =
                    format!("no record tells of it in {dir}; -d names the folder that it was downloaded to");
                (Exit::Failed, text)
            }
            AddError::Store(StoreError::Io { cause, .. }) => (of_io(cause), error.to_string()),
            AddError::Storage(error) => (of_io(&error.cause), advised(error)),
            error => (Exit::Failed, error.to_string()),
        };
        failure(exit, format!("cannot {what} {shown:?}: {why}"))
    })?;
    let name = rest.meta().name().to_owned();
    Ok(Taken { rest, name })
}

/// What a word names: a torrent file, or the info-hash of a recorded torrent.
fn identify(word: &str) -> Result<(TorrentId, Option<Arc<Torrent>>)> {
    match input::kind(word) {
        Kind::Magnet => Ok((input::magnet(word)?.info_hashes.id(), None)),
        Kind::Url => {
            let text = format!("{word}: expected a torrent file or an info-hash, got a URL");
            Err(failure(Exit::Usage, text))
        }
        Kind::Stdin | Kind::Path => {
            let torrent = Arc::new(input::torrent(Path::new(word))?);
            Ok((torrent.id(), Some(torrent)))
        }
    }
}
