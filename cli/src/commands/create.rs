//! `unchoke create`

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use metainfo::{Attributes, Builder, Magnet, Torrent};
use serde::Serialize;
use storage::digest;

use crate::exit::{Exit, failure, of_io};
use crate::flags::Create;
use crate::flags::values::PieceSize;
use crate::input;
use crate::output::human::{Fields, plain};
use crate::output::json::Hashes;
use crate::output::{Console, torrent};
use crate::progress::Bar;
use crate::settings;
use crate::stop::Stop;

/// What is written into new torrents as the program that made them.
const PROGRAM: &str = concat!("unchoke ", env!("CARGO_PKG_VERSION"));

/// A torrent to be made, and from what.
pub(super) struct Made {
    pub bytes: Vec<u8>,
    pub torrent: Torrent,
}

#[derive(Serialize)]
struct CreatedJson<'a> {
    file: Option<&'a Path>,
    name: &'a str,
    #[serde(flatten)]
    hashes: Hashes,
    size: u64,
    piece_length: u32,
    pieces: u32,
    magnet: String,
}

pub(super) fn run(args: &Create, console: &Console) -> Result<Exit> {
    let to_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if to_stdout && args.json {
        return Err(failure(Exit::Usage, "standard output cannot take both the torrent (-o -) and --json"));
    }
    let name = name_of(&args.path)?;
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.torrent")));
    if !to_stdout && !args.force {
        spare(args, &output)?;
    }
    let stop = Stop::on_signals()?;
    let made = make(&args.path, |builder| described(builder, args), args.threads, &stop, console)?;
    if to_stdout {
        std::io::stdout().write_all(&made.bytes)?;
        return Ok(Exit::Done);
    }
    write(&output, &made.bytes)?;
    report(args, &output, &made.torrent, console)?;
    Ok(Exit::Done)
}

/// Refuses to overwrite what the user may not mean: a file that was not named, or that is no torrent.
fn spare(args: &Create, output: &Path) -> Result<()> {
    let shown = output.display();
    if !output.exists() || is_special(output) {
        return Ok(());
    }
    let text = match &args.output {
        Some(_) if output.is_dir() => format!("{shown} is a folder; name the torrent file to write"),
        Some(_) if input::torrent(output).is_ok() => return Ok(()),
        Some(_) => format!("{shown} exists and is no torrent; use --force to overwrite it"),
        None => format!("{shown} exists; use --force to overwrite it, or -o for another file"),
    };
    Err(failure(Exit::Failed, text))
}

/// Whether it is a device or a pipe: it is written to, not replaced.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Makes a torrent of a file or folder. `describe` says what goes into it besides the content.
pub(super) fn make(
    path: &Path,
    describe: impl FnOnce(Builder) -> Builder,
    threads: Option<std::num::NonZeroUsize>,
    stop: &Stop,
    console: &Console,
) -> Result<Made> {
    let name = name_of(path)?;
    let cannot = || format!("cannot make a torrent of {}", path.display());
    let found = digest::walk(path).with_context(cannot)?;
    for skipped in &found.skipped {
        console.note(&format!(
            "unchoke: left out {}: neither a file nor a folder",
            plain(&skipped.display().to_string())
        ));
    }
    let builder = if path.is_dir() {
        found.files.iter().fold(Builder::folder(name), |builder, file| {
            let attributes = Attributes { executable: file.is_executable, ..Attributes::default() };
            builder.file_with(file.parts.iter().cloned(), file.len, attributes)
        })
    } else {
        Builder::single(name, found.files.first().map_or(0, |file| file.len))
    };
    let mut draft = describe(builder.created_by(PROGRAM)).prepare().with_context(cannot)?;
    let bar = Bar::new(console, "hashing");
    let progress = |progress| bar.show(progress);
    digest::fill(&mut draft, &found.files, &settings::scan(threads, stop, &progress)).with_context(cannot)?;
    drop(bar);
    let bytes = draft.finish().with_context(cannot)?;
    let torrent = Torrent::parse(&bytes).with_context(cannot)?;
    Ok(Made { bytes, torrent })
}

/// What a torrent of this path is called.
fn name_of(path: &Path) -> Result<String> {
    let full = fs::canonicalize(path)
        .map_err(|error| failure(of_io(&error), format!("cannot read {}: {error}", path.display())))?;
    // A link is called as it is, not as what it leads to; `.` and `..` have no name of their own.
    let name = path.file_name().or(full.file_name());
    let name = name.with_context(|| format!("{} has no name; name a file or a folder", path.display()))?;
    let name = name.to_str().with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
    Ok(name.to_owned())
}

fn described(mut builder: Builder, args: &Create) -> Builder {
    builder = builder.version(settings::version(args)).private(args.private);
    builder = args.tracker.iter().fold(builder, Builder::tracker);
    builder = args.web_seed.iter().fold(builder, Builder::web_seed);
    if let PieceSize::Bytes(bytes) = args.piece_size {
        builder = builder.piece_length(bytes);
    }
    if let Some(source) = &args.source {
        builder = builder.source(source);
    }
    if let Some(comment) = &args.comment {
        builder = builder.comment(comment);
    }
    match SystemTime::UNIX_EPOCH.elapsed() {
        Ok(now) if !args.no_date => builder.creation_date(now.as_secs()),
        _ => builder,
    }
}

/// Writes a whole file, so that no half of it is ever seen under its name. Of a link, what it leads to is written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let named = path;
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        if is_special(path) {
            return File::options().write(true).open(path)?.write_all(bytes);
        }
        let mut file = tempfile::Builder::new().prefix(".unchoke-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        set_mode(file.as_file(), path)?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|error| {
        let exit = of_io(&error);
        // The whole text may name a temporary file that nobody knows; what is below it is the system's.
        let below = error.get_ref().and_then(std::error::Error::source);
        let why = below.map_or_else(|| error.to_string(), ToString::to_string);
        failure(exit, format!("cannot write {}: {why}", named.display()))
    })
}

/// The file keeps the permissions that it had; a new one gets those that new files get.
fn set_mode(file: &File, path: &Path) -> std::io::Result<()> {
    if let Ok(old) = fs::metadata(path) {
        return file.set_permissions(old.permissions());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(mask);
        file.set_permissions(fs::Permissions::from_mode(0o666 & !mask.bits()))?;
    }
    Ok(())
}

fn report(args: &Create, output: &Path, made: &Torrent, console: &Console) -> Result<()> {
    if args.json {
        return console.json(&CreatedJson {
            file: Some(output),
            name: made.name(),
            hashes: Hashes::of(made.info_hashes()),
            size: made.layout().payload(),
            piece_length: made.geometry().piece_length(),
            pieces: made.geometry().piece_count(),
            magnet: Magnet::of(made).to_string(),
        });
    }
    let mut fields = Fields::default();
    fields.add("wrote", output.display().to_string());
    torrent::summary(&mut fields, made);
    fields.add("magnet", Magnet::of(made).to_string());
    console.print(&fields.finish())
}
