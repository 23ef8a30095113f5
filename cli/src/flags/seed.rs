use std::path::PathBuf;

use super::Net;
use super::values::tracker;

/// Seed what is on disk
///
/// With -d, the data that a torrent file describes. Without it, any file or folder: a torrent of it is made in
/// memory, and its magnet link is printed.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "unchoke seed [OPTIONS] <FILE.torrent> -d <DIR>\n       unchoke seed [OPTIONS] <PATH> [-t <URL>]...", after_help = EXAMPLES)]
pub(crate) struct Seed {
    /// A .torrent file if -d is given, else the file or folder to share
    #[arg(value_name = "FILE.torrent|PATH")]
    pub path: PathBuf,
    /// The folder that holds the data, as -o of download
    #[arg(short, long, env = "UNCHOKE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Announce to this tracker; may be given several times (only without -d)
    #[arg(short, long, env = "UNCHOKE_TRACKER", value_name = "URL", value_delimiter = ' ',
          value_parser = tracker, hide_env_values = true)]
    pub tracker: Vec<String>,
    #[command(flatten)]
    pub net: Net,
}

const EXAMPLES: &str = "\
Examples:
  unchoke seed debian.torrent -d ~/Downloads
  unchoke seed ~/photos -t udp://tracker.example.org:6969/announce";
