use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::values::{HostPort, Id, Key, Topic, duration};

/// Look things up in the DHT, and store them there
///
/// The distributed hash table (BEP 5) is a network of millions of nodes that keep, each for the keys near its own
/// id, who has which torrent, and small items that anybody may store (BEP 44).
///
/// A run asks and does not answer (BEP 43). The nodes that it met are remembered for the next one, in
/// $XDG_STATE_HOME/unchoke/dht (or ~/.local/state/unchoke/dht).
///
/// The exit status is 0 if what was looked for was found or what was to be stored is stored, 1 if nodes answered and it is not so,
/// and 4 if no node answered. With --json one object is printed in each of these cases. It is 7 if --stop-after ended it before.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dht {
    #[command(subcommand)]
    pub action: DhtAction,
    /// Begin with this node instead of the public ones; may be given several times
    #[arg(long, global = true, env = "UNCHOKE_BOOTSTRAP", value_name = "HOST:PORT", value_delimiter = ' ')]
    pub bootstrap: Vec<HostPort>,
    /// Ask from this address instead of all, IPv4 and IPv6
    #[arg(long, global = true, env = "UNCHOKE_LISTEN", value_name = "ADDR")]
    pub listen: Option<IpAddr>,
    /// Stop after this time, such as 5s or 1m; get-peers ends with 0 then if it found any
    #[arg(long, global = true, visible_alias = "timeout", env = "UNCHOKE_STOP_AFTER", value_name = "DURATION",
          value_parser = duration)]
    pub stop_after: Option<Duration>,
    /// Print one JSON object instead of text
    #[arg(long, global = true, env = "UNCHOKE_JSON")]
    pub json: bool,
}

/// What is asked of the DHT.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DhtAction {
    /// Print the addresses of a torrent's peers, as they are found
    ///
    /// The exit status is 1 if nodes answered and knew none, and 4 if no node answered.
    GetPeers {
        /// An info-hash of 40 or 64 hexadecimal or 32 base32 digits, or a magnet link
        #[arg(value_name = "HASH|MAGNET")]
        topic: Topic,
    },
    /// Say that a torrent has a peer here, at a port
    ///
    /// The nodes take the address that the question came from. They forget it after about half an hour.
    Announce {
        /// An info-hash, or a magnet link
        #[arg(value_name = "HASH|MAGNET")]
        topic: Topic,
        /// The TCP port where the peer listens
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// The peer has everything
        #[arg(long, env = "UNCHOKE_COMPLETE")]
        complete: bool,
    },
    Get(DhtGet),
    Put(DhtPut),
    /// Ask one node whether it is there; prints its id and how long it took
    ///
    /// The exit status is 4 if it does not answer within 5 s.
    Ping {
        /// The node
        #[arg(value_name = "HOST:PORT")]
        node: HostPort,
    },
    /// Count a torrent's seeds and other peers (BEP 33)
    ///
    /// The exit status is 1 if nodes answered and knew of none, and 4 if no node answered.
    Scrape {
        /// An info-hash, or a magnet link
        #[arg(value_name = "HASH|MAGNET")]
        topic: Topic,
    },
}

/// Print a stored item (BEP 44)
///
/// A text is printed as it is, anything else bencoded. The exit status is 1 if nodes answered and had none, and 4 if no node
/// answered.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DhtGet {
    /// Where an immutable item is stored: 40 hexadecimal digits, as put prints them
    #[arg(value_name = "TARGET", required_unless_present = "key", conflicts_with_all = ["key", "salt"])]
    pub target: Option<Id>,
    /// Get the newest version of this key's item: 64 hexadecimal digits
    #[arg(long, env = "UNCHOKE_KEY", value_name = "HEX")]
    pub key: Option<Key>,
    /// The salt that tells items of one key apart
    #[arg(long, env = "UNCHOKE_SALT", value_name = "TEXT", requires = "key", default_value = "")]
    pub salt: String,
}

/// Store an item (BEP 44): at most 1000 bytes, for about two hours
///
/// Without --secret it is immutable and found by its hash, which is printed. With it, it is a new version of
/// what the key stored before, and found by the public key.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DhtPut {
    /// The text to store; - reads it from standard input
    #[arg(value_name = "TEXT|-")]
    pub value: String,
    /// The value is bencoded already, and no text
    #[arg(long, env = "UNCHOKE_BENCODED")]
    pub bencoded: bool,
    /// Sign with the secret key in this file; it is made if it is not there
    #[arg(long, env = "UNCHOKE_SECRET", value_name = "FILE")]
    pub secret: Option<PathBuf>,
    /// Tells items of one key apart: at most 64 bytes
    #[arg(long, env = "UNCHOKE_SALT", value_name = "TEXT", requires = "secret", default_value = "")]
    pub salt: String,
    /// Store only if this is the version that is stored now
    #[arg(long, env = "UNCHOKE_CAS", value_name = "SEQ", requires = "secret")]
    pub cas: Option<i64>,
}

const EXAMPLES: &str = "\
Examples:
  unchoke dht get-peers c0fda1edafdbdbb96443424e0b3899af7159d10e --timeout 30s
  unchoke dht announce 'magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e' 6881
  unchoke dht put 'hello' --secret ~/.config/unchoke/news.key --salt greeting
  unchoke dht get --key 77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548 --salt greeting
  unchoke dht ping router.bittorrent.com:6881 --json";
