/// Show what a torrent file or magnet link says
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// A .torrent file, a magnet link, or - for a torrent file on standard input
    #[arg(value_name = "FILE|MAGNET|-")]
    pub torrent: String,
    /// List the files
    #[arg(long, env = "UNCHOKE_FILES")]
    pub files: bool,
    /// Print JSON; it always has the files
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unchoke show debian.torrent --files
  unchoke show 'magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e' --json
  curl -s https://example.org/debian.torrent | unchoke show -";
