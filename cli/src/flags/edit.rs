use std::path::PathBuf;

use super::values::{tracker, web_seed};

/// Change trackers, web seeds and remarks of a torrent file
///
/// What the info-hash covers stays as it is, byte for byte: name, files, pieces, private flag, source.
/// Removals come before additions.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Edit {
    /// The torrent file; it is replaced unless -o is given. - reads standard input and writes standard output
    #[arg(value_name = "FILE")]
    pub torrent: PathBuf,
    /// Write to this file, or - for standard output
    #[arg(short, long, env = "UNCHOKE_EDIT_OUTPUT", value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// Add a tracker, in a tier of its own at the end
    #[arg(short = 't', long, env = "UNCHOKE_ADD_TRACKER", value_name = "URL", value_delimiter = ' ',
          value_parser = tracker, hide_env_values = true)]
    pub add_tracker: Vec<String>,
    /// Remove a tracker
    #[arg(
        long,
        env = "UNCHOKE_REMOVE_TRACKER",
        value_name = "URL",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub remove_tracker: Vec<String>,
    /// Put a tracker into the place of another
    #[arg(long, env = "UNCHOKE_REPLACE_TRACKER", value_names = ["OLD", "NEW"], num_args = 2,
          value_delimiter = ' ', hide_env_values = true)]
    pub replace_tracker: Vec<String>,
    /// Remove all trackers
    #[arg(long, env = "UNCHOKE_CLEAR_TRACKERS")]
    pub clear_trackers: bool,
    /// Add a web seed
    #[arg(short = 'w', long, env = "UNCHOKE_ADD_WEB_SEED", value_name = "URL", value_delimiter = ' ',
          value_parser = web_seed, hide_env_values = true)]
    pub add_web_seed: Vec<String>,
    /// Remove a web seed
    #[arg(
        long,
        env = "UNCHOKE_REMOVE_WEB_SEED",
        value_name = "URL",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub remove_web_seed: Vec<String>,
    /// Remove all web seeds
    #[arg(long, env = "UNCHOKE_CLEAR_WEB_SEEDS")]
    pub clear_web_seeds: bool,
    /// Set the remark; an empty text removes it
    #[arg(short, long, env = "UNCHOKE_EDIT_COMMENT", value_name = "TEXT")]
    pub comment: Option<String>,
    /// Set the program that made it; an empty text removes it
    #[arg(long, env = "UNCHOKE_EDIT_CREATED_BY", value_name = "TEXT")]
    pub created_by: Option<String>,
    /// Remove the creation date
    #[arg(long, env = "UNCHOKE_EDIT_NO_DATE")]
    pub no_date: bool,
}

const EXAMPLES: &str = "\
Examples:
  unchoke edit photos.torrent --add-tracker udp://tracker.example.org:6969/announce
  unchoke edit photos.torrent --replace-tracker http://old.example/a https://new.example/a -o new.torrent
  unchoke edit photos.torrent --clear-web-seeds --comment ''";
