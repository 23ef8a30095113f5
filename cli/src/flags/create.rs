use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::values::{PieceSize, tracker, web_seed};

/// Make a torrent file of a file or folder
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// The file or folder
    pub path: PathBuf,
    /// The torrent file to write, or - for standard output; by default the name of PATH with .torrent. A torrent that is
    /// named here is overwritten
    #[arg(short, long, env = "UNCHOKE_CREATE_OUTPUT", value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// Overwrite whatever has the name of the torrent file
    #[arg(short, long, env = "UNCHOKE_FORCE")]
    pub force: bool,
    /// Add a tracker, in a tier of its own; may be given several times
    #[arg(short, long, env = "UNCHOKE_TRACKER", value_name = "URL", value_delimiter = ' ',
          value_parser = tracker, hide_env_values = true)]
    pub tracker: Vec<String>,
    /// Add a web seed; may be given several times
    #[arg(short, long, env = "UNCHOKE_WEB_SEED", value_name = "URL", value_delimiter = ' ',
          value_parser = web_seed, hide_env_values = true)]
    pub web_seed: Vec<String>,
    /// Length of pieces, such as 256K or 1M; auto makes at most 2000 pieces of up to 16 MiB
    #[arg(long, env = "UNCHOKE_PIECE_SIZE", value_name = "N|auto", default_value = "auto")]
    pub piece_size: PieceSize,
    /// Make a v1 torrent, which every client can use (the default)
    #[arg(long, env = "UNCHOKE_V1", overrides_with_all = ["v2", "hybrid"],
          default_value_ifs = [("v2", "true", "false"), ("hybrid", "true", "false")])]
    pub v1: bool,
    /// Make a v2 torrent (BEP 52)
    #[arg(long, env = "UNCHOKE_V2", overrides_with_all = ["v1", "hybrid"],
          default_value_ifs = [("v1", "true", "false"), ("hybrid", "true", "false")])]
    pub v2: bool,
    /// Make a torrent that is both v1 and v2
    #[arg(long, env = "UNCHOKE_HYBRID", overrides_with_all = ["v1", "v2"],
          default_value_ifs = [("v1", "true", "false"), ("v2", "true", "false")])]
    pub hybrid: bool,
    /// Let peers come from the trackers only
    #[arg(short, long, env = "UNCHOKE_PRIVATE")]
    pub private: bool,
    /// The site it is for; it becomes part of the info-hash
    #[arg(short, long, env = "UNCHOKE_SOURCE", value_name = "SRC")]
    pub source: Option<String>,
    /// A remark
    #[arg(short, long, env = "UNCHOKE_COMMENT", value_name = "TEXT")]
    pub comment: Option<String>,
    /// Leave the creation date out, so that the same input makes the same file
    #[arg(long, env = "UNCHOKE_NO_DATE")]
    pub no_date: bool,
    /// Threads that hash; by default one for each processor
    #[arg(long, env = "UNCHOKE_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print what was made as JSON
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unchoke create photos -t https://tracker.example.org/announce
  unchoke create disk.img --hybrid --piece-size 1M -w https://example.org/disk.img -o disk.torrent
  unchoke create photos -o - | unchoke show -";
