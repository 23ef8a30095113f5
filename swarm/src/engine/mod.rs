//! The pure engine: values and time in, actions out.

mod api;
pub mod close;
pub mod config;
mod conns;
mod cx;
mod hub;
mod link;
mod output;
pub mod picker;
pub mod rate;
mod rx;
mod shard;
mod status;
mod stub;
pub mod time;
pub mod timers;
mod torrent_key;
pub mod tracker;
mod tx;
pub mod window;

pub use api::{AddTorrent, Engine, Transfer};
pub use close::{Close, Timeout, Violation};
pub use config::Config;
pub use link::{ConnId, Direction};
pub use output::{Action, Event};
pub use rx::ReadSlices;
pub use shard::{Activity, Totals};
pub use status::{PeerStatus, TorrentStatus};
pub use stub::{blame, candidates, choker, limiter};
pub use time::Time;
pub use torrent_key::TorrentKey;
pub use tx::WriteSlices;
