//! Trackers over UDP: one packet asks, one packet answers (BEP 15), with the URL's path and query as an option (BEP 41).
//!
//! The address family of the socket decides how peers are packed: give it as [`Family`]. Whoever sends matches the
//! transaction of a reply with the one it chose, and the kind of the reply with what it asked.

mod error;
mod options;
mod reply;
mod request;

pub use error::Error;
pub use options::url_data;
pub use reply::{Family, Reply};
pub use request::{Hashes, Request};

/// Kinds of packets.
mod action {
    pub(super) const CONNECT: u32 = 0;
    pub(super) const ANNOUNCE: u32 = 1;
    pub(super) const SCRAPE: u32 = 2;
    pub(super) const ERROR: u32 = 3;
}
