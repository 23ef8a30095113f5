//! The pure engine: values and time in, actions out.

mod api;
mod commands;
mod conns;
mod cx;
mod hub;
mod keeping;
mod link;
mod output;
mod resume;
mod rx;
mod seek;
mod shard;
mod status;
mod torrent_key;
mod tx;

pub use api::{AddMagnet, AddTorrent, Engine, Transfer};
pub use close::{Close, Timeout, Violation};
pub use config::Config;
pub use link::{ConnId, Direction};
pub use output::{Action, Event};
pub use resume::{PartialPiece, ResumeState, TrackerMemo};
pub use rx::ReadSlices;
pub use shard::{Activity, SourceId, Totals};
pub use status::{PeerStatus, TorrentStatus};
pub use time::Time;
pub use torrent_key::TorrentKey;
pub use tx::WriteSlices;

pub mod blame;
pub mod candidates;
pub mod changes;
pub mod choker;
pub mod close;
pub mod config;
pub mod dht;
pub mod external;
pub mod limiter;
pub mod metadata;
pub mod picker;
pub mod rate;
pub mod scope;
pub mod time;
pub mod timers;
pub mod tracker;
pub mod window;
