use std::path::PathBuf;

use super::Net;

/// Print the magnet link of a torrent file, or get the torrent file of a magnet link
///
/// With --fetch, the description of the torrent is fetched from peers that have it, checked against the hash, and
/// written as a .torrent file with the trackers and web seeds of the link. Nothing of the content is fetched.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "unchoke magnet <FILE.torrent|->\n       unchoke magnet --fetch [OPTIONS] <MAGNET|HASH>", after_help = EXAMPLES)]
pub(crate) struct Magnet {
    /// A .torrent file or - for one on standard input; with --fetch a magnet link or an info-hash
    #[arg(value_name = "FILE.torrent|MAGNET|HASH")]
    pub torrent: String,
    /// Get the torrent file from peers
    #[arg(long, env = "UNCHOKE_FETCH")]
    pub fetch: bool,
    /// The torrent file to write, or - for standard output; by default the torrent's name with .torrent
    #[arg(short, long, env = "UNCHOKE_CREATE_OUTPUT", value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// Overwrite the torrent file if it exists
    #[arg(short, long, env = "UNCHOKE_FORCE")]
    pub force: bool,
    #[command(flatten)]
    pub net: Net,
}

const EXAMPLES: &str = "\
Examples:
  unchoke magnet debian.torrent
  unchoke magnet --fetch c0fda1edafdbdbb96443424e0b3899af7159d10e -o debian.torrent --timeout 5m
  unchoke magnet --fetch 'magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e' -o - | unchoke show -";
