use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::values::{HostPort, Rate, Size, duration, memory};
use crate::exit::{Exit, failure};

/// Flags of the commands that talk to peers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Net {
    /// Listen at this port for TCP peers; 0 lets the system choose
    ///
    /// Without it, the first free port of 6881 to 6889.
    #[arg(long, env = "UNCHOKE_PORT", value_name = "N")]
    pub port: Option<u16>,
    /// Listen at this address instead of all, IPv4 and IPv6
    #[arg(long, env = "UNCHOKE_LISTEN", value_name = "ADDR")]
    pub listen: Option<IpAddr>,
    /// Connect to this peer; may be given several times
    #[arg(long, env = "UNCHOKE_PEER", value_name = "HOST:PORT", value_delimiter = ' ')]
    pub peer: Vec<HostPort>,
    /// Receive at most this much a second, such as 2M or 500k (bytes, powers of 1024)
    ///
    /// On the command line of `download` it is the torrent's, and holds for its next downloads too until another one is given; 0
    /// lifts it. In the environment and the configuration file it is the program's, and the lower of both counts.
    #[arg(long, env = "UNCHOKE_DOWN_LIMIT", value_name = "RATE")]
    pub down_limit: Option<Rate>,
    /// Send at most this much a second; see --down-limit
    #[arg(long, env = "UNCHOKE_UP_LIMIT", value_name = "RATE")]
    pub up_limit: Option<Rate>,
    /// Keep records in this folder: which pieces are there, so that the next start need not hash them
    ///
    /// Without it, $XDG_STATE_HOME/unchoke or ~/.local/state/unchoke.
    #[arg(long, env = "UNCHOKE_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Neither read nor keep a record
    #[arg(long, env = "UNCHOKE_NO_RESUME")]
    pub no_resume: bool,
    /// Leave at least this much of the disk free, such as 500M; 0 does not look
    #[arg(long, env = "UNCHOKE_MIN_FREE", value_name = "SIZE", default_value = "10M")]
    pub min_free: Size,
    /// Use at most this much memory for what peers send and ask for, such as 64M; at least 16M
    ///
    /// When it is used up, peers are read from more slowly, or not let in. The program itself, and what a torrent takes by its own
    /// size, come on top.
    #[arg(long, env = "UNCHOKE_MEMORY", value_name = "SIZE", default_value = "256M", value_parser = memory)]
    pub memory: Size,
    /// Whether to hash what is on disk before starting
    #[arg(long, env = "UNCHOKE_CHECK", value_name = "WHEN", default_value = "auto")]
    pub check: Check,
    /// Start although another folder is in the place of the recorded one, with what is in it
    ///
    /// Else that is refused: most often a disk is not mounted.
    #[arg(long, env = "UNCHOKE_NEW_FOLDER")]
    pub new_folder: bool,
    /// Stop after this time, such as 90s or 2h; the exit status is 7 if it is not complete by then
    #[arg(long, visible_alias = "timeout", env = "UNCHOKE_STOP_AFTER", value_name = "DURATION",
          value_parser = duration)]
    pub stop_after: Option<Duration>,
    /// Print one JSON object a line instead of text: started, metadata, recalled, reused, progress, moved, linked, complete, unsettled,
    /// paused, resumed, stopped, error
    #[arg(long, env = "UNCHOKE_JSON")]
    pub json: bool,
    /// Do not use the DHT; private torrents never do
    #[arg(long, env = "UNCHOKE_NO_DHT")]
    pub no_dht: bool,
    /// Join the DHT by this node instead of the public ones; may be given several times
    #[arg(long, env = "UNCHOKE_BOOTSTRAP", value_name = "HOST:PORT", value_delimiter = ' ')]
    pub bootstrap: Vec<HostPort>,
    /// Do not tell peers of each other; private torrents never do
    #[arg(long, env = "UNCHOKE_NO_PEX")]
    pub no_pex: bool,
    /// Do not look for peers on the local network; private torrents never do
    #[arg(long, env = "UNCHOKE_NO_LSD")]
    pub no_lsd: bool,
    #[command(flatten)]
    pub later: Later,
    /// Which limits stand on the command line of a download.
    #[arg(skip)]
    pub own_limits: OwnLimits,
}

/// Which limits are a torrent's own, and not the program's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnLimits {
    pub down: bool,
    pub up: bool,
}

/// When data on disk are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// If no record says that they are right
    Auto,
    /// Always
    Always,
    /// Never before it starts: `seed` takes files of full length for right, and hashes each piece before it is first sent;
    /// `download` gets everything again
    Never,
}

/// Flags that have no effect in this version, accepted so that scripts can set them now.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accepted, without effect in this version")]
pub(crate) struct Later {
    /// Do not ask the router for a port
    #[arg(long, env = "UNCHOKE_NO_NAT")]
    no_nat: bool,
    /// How to connect to peers; so far TCP
    #[arg(long, env = "UNCHOKE_TRANSPORT", value_name = "HOW", default_value = "both")]
    transport: Transport,
    /// Whether connections are obfuscated; so far they are not, so `require` is refused
    #[arg(long, env = "UNCHOKE_ENCRYPTION", value_name = "WHEN", default_value = "allow")]
    encryption: Encryption,
}

impl Later {
    /// What is asked for and not done, if it matters to who asks.
    ///
    /// # Errors
    /// When nothing may be done without it: who requires encryption must not be seen to connect in the clear.
    pub(crate) fn unmet(&self) -> anyhow::Result<Option<&'static str>> {
        if self.encryption == Encryption::Require {
            let text = "--encryption require: this version does not encrypt connections, so it makes none; \
                        --encryption prefer connects all the same";
            return Err(failure(Exit::Usage, text));
        }
        let is_unmet = self.transport == Transport::Utp;
        Ok(is_unmet.then_some("--transport utp has no effect: this version connects over TCP only"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Utp,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Encryption {
    Off,
    Allow,
    Prefer,
    Require,
}
