//! Announces and scrapes over HTTP and HTTPS, and fetching a torrent by its URL.
//!
//! The addresses come from torrents that strangers made, and the answers from whoever lives there. So every answer has
//! a limit in bytes and in time, counted after decompression and over all redirects, and a torrent cannot make us
//! call a service of this machine or its network, except by a path that looks like a tracker's: see `guard`.

mod client;
mod error;
mod guard;
mod tls;

pub(super) use client::IDLE_PER_HOST;
pub use client::{Http, HttpConfig, MAX_REDIRECTS, MAX_REPLY, PATIENCE};
pub use error::{HttpError, Problem};
pub(super) use guard::may_ask_udp;
