use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Check data on disk against a torrent's hashes
///
/// Nothing is changed. The exit status is 5 if anything is missing or different.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// The .torrent file, or - for standard input
    #[arg(value_name = "FILE")]
    pub torrent: PathBuf,
    /// The folder that holds the data, as -o of download
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// List all files, not only those that are not right
    #[arg(long, env = "UNCHOKE_FILES")]
    pub files: bool,
    /// Threads that hash; by default one for each processor
    #[arg(long, env = "UNCHOKE_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unchoke verify debian.torrent ~/Downloads
  unchoke verify album.torrent --files";
