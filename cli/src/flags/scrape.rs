use std::net::IpAddr;

use super::values::tracker;

/// Ask a torrent's trackers how many peers it has, without joining
///
/// Trackers over HTTP can be asked if the last part of their path starts with "announce" (BEP 48), and those over
/// UDP always. The exit status is 4 if none answered; a tracker that does not know the torrent answers with zeros.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scrape {
    /// A .torrent file, a magnet link, an info-hash, or - for a torrent file on standard input
    #[arg(value_name = "FILE|MAGNET|HASH|-")]
    pub torrent: String,
    /// Ask this tracker too; may be given several times
    #[arg(short, long, env = "UNCHOKE_TRACKER", value_name = "URL", value_delimiter = ' ',
          value_parser = tracker, hide_env_values = true)]
    pub tracker: Vec<String>,
    /// Ask from this address instead of all, IPv4 and IPv6
    #[arg(long, env = "UNCHOKE_LISTEN", value_name = "ADDR")]
    pub listen: Option<IpAddr>,
    /// Print one JSON object a tracker instead of text
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unchoke scrape debian.torrent
  unchoke scrape c0fda1edafdbdbb96443424e0b3899af7159d10e -t udp://tracker.example.org:6969/announce --json";
