use std::path::PathBuf;

use super::values::{Order, Priority, SeedGoal, Selection};
use super::{Net, Placing};

/// Download what a torrent file or magnet link describes
///
/// Of a magnet link, the description of the torrent is fetched from peers first; what was chosen by --select and
/// --output holds before anything else is fetched. The link may name peers, trackers and files itself. Pieces that are already on disk are found and kept. Without peers it waits. It ends when everything is
/// there, unless --seed is given.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Download {
    /// A .torrent file, its http or https URL, - for standard input, a magnet link, or an info-hash
    ///
    /// An info-hash is 40 hex or 32 base32 digits. A v2-only torrent whose files are longer than a piece is downloaded by its .torrent file: it has the piece layers, which are no part of what a link names.
    #[arg(value_name = "FILE.torrent|URL|MAGNET|HASH")]
    pub torrent: String,
    /// The folder to download into; it is made if it is not there
    #[arg(short, long, env = "UNCHOKE_OUTPUT", value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Seed when complete: until stopped, up to a ratio (--seed=2.0), or for a time (--seed=2h). A ratio counts what was
    /// sent in all runs
    #[arg(long, env = "UNCHOKE_SEED", value_name = "GOAL", num_args = 0..=1, require_equals = true,
          default_value = "no", default_missing_value = "forever", hide_default_value = true)]
    pub seed: SeedGoal,
    /// Download only these files: a glob on their paths, or indices such as 0,2,5-7; may be given several times
    ///
    /// Without this and --priority, the files that were chosen when the torrent was last downloaded to this folder; else all.
    /// '*' chooses all again. In the same way --order, --preallocate and limits of the command line hold until others are
    /// given.
    #[arg(long, env = "UNCHOKE_SELECT", value_name = "GLOB|N,N-M")]
    pub select: Vec<Selection>,
    /// How much files are wanted, as GLOB=high or N,N-M=low: high, normal, low or skip; may be given several times, and what
    /// comes later goes over what came before
    ///
    /// A file that --select leaves out stays left out. Without --select, this chooses among all files.
    #[arg(long, env = "UNCHOKE_PRIORITY", value_name = "GLOB|N,N-M=LEVEL")]
    pub priority: Vec<Priority>,
    /// In which order pieces are fetched that are wanted alike; if it is never given, rarest first
    #[arg(long, env = "UNCHOKE_ORDER", value_name = "ORDER")]
    pub order: Option<Order>,
    /// Download over files that are there and hold something else
    ///
    /// Else a download that would do so does not start, and leaves them as they are. Files that hold a part of the torrent need
    /// not be allowed: what is missing is added to them.
    #[arg(long, env = "UNCHOKE_OVERWRITE")]
    pub overwrite: bool,
    /// List the files with their indices and end; of a magnet link, as soon as peers told them
    #[arg(long, env = "UNCHOKE_LIST")]
    pub list: bool,
    #[command(flatten)]
    pub placing: Placing,
    #[command(flatten)]
    pub net: Net,
}

const EXAMPLES: &str = "\
Examples:
  unchoke download debian.torrent -o ~/Downloads
  unchoke download https://example.org/debian.torrent --seed=2.0 --up-limit 2M
  unchoke download album.torrent --select '*.flac' --select 0-2
  unchoke download series.torrent --priority '*S01E01*=high' --order sequential
  unchoke download series.torrent --incomplete-dir /fast/disk --incomplete-suffix .part
  unchoke download album.torrent --reuse ~/Music
  unchoke download 'magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e' -o ~/Downloads
  unchoke download c0fda1edafdbdbb96443424e0b3899af7159d10e --list
  unchoke download file.torrent --peer 192.0.2.7:6881 --json";
