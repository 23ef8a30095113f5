use std::path::PathBuf;

/// A torrent that was downloaded or seeded, and that no process runs now.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Recorded {
    /// The .torrent file, - for standard input, or the info-hash
    #[arg(value_name = "FILE|HASH")]
    pub torrent: String,
    /// The folder that the torrent was downloaded to, as -o of download
    #[arg(short, long, env = "UNCHOKE_DATA", value_name = "DIR", default_value = ".")]
    pub data: PathBuf,
    /// The folder with the records, as of download
    #[arg(long, env = "UNCHOKE_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
}

/// Move the files of a torrent to another folder
///
/// The torrent must not run; stop its download or seed first. Files of others stay where they are, and none of them is ever
/// overwritten. On another disk each file is copied, made durable, and only then removed from the old one; what
/// was interrupted goes on with the same command. What is known of the files goes along, so nothing is hashed anew.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = MOVE_EXAMPLES)]
pub(crate) struct Move {
    #[command(flatten)]
    pub of: Recorded,
    /// The new folder; it is made if it is not there
    #[arg(long, env = "UNCHOKE_TO", value_name = "NEWDIR")]
    pub to: PathBuf,
}

const MOVE_EXAMPLES: &str = "\
Examples:
  unchoke move debian.torrent -d ~/Downloads --to /srv/images
  unchoke move c0fda1edafdbdbb96443424e0b3899af7159d10e -d ~/Downloads --to /srv/images";

/// Give a file of a torrent another name
///
/// The torrent must not run; stop its download or seed first. The record remembers the name, so the torrent goes on with the file
/// under it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = RENAME_EXAMPLES)]
pub(crate) struct Rename {
    #[command(flatten)]
    pub of: Recorded,
    /// The file: its path beneath the folder, or its index, as --list of download shows them
    #[arg(value_name = "OLD")]
    pub old: String,
    /// Its new path beneath the folder
    #[arg(value_name = "NEW")]
    pub new: String,
}

const RENAME_EXAMPLES: &str = "\
Examples:
  unchoke rename album.torrent -d ~/Music album/01.flac album/01-overture.flac
  unchoke rename album.torrent -d ~/Music 0 album/01-overture.flac";

/// Forget a torrent, and remove its files if asked
///
/// The torrent must not run; stop its download or seed first. Without --with-files only the record goes. With it, only files
/// and folders go that were made for the torrent: not what was there before, and no folder in which something else is.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub of: Recorded,
    /// Remove the files that were made for it too
    #[arg(long, env = "UNCHOKE_WITH_FILES")]
    pub with_files: bool,
    /// Do not ask before files are removed; needed where nobody can be asked
    #[arg(short, long, env = "UNCHOKE_YES")]
    pub yes: bool,
    /// Print what would be removed, and remove nothing
    #[arg(long, env = "UNCHOKE_DRY_RUN")]
    pub dry_run: bool,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  unchoke remove debian.torrent -d ~/Downloads
  unchoke remove debian.torrent -d ~/Downloads --with-files --dry-run
  unchoke remove debian.torrent -d ~/Downloads --with-files --yes";
