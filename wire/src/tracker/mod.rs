//! Trackers, both sides: what a client asks and what a tracker answers, over HTTP and over UDP.
//!
//! The values are the same for both ways of asking. Numbers are as they came: no interval is clamped and no address is
//! judged here, except that peers at port 0 are dropped.

mod announce;
mod compact;
mod failure;
pub mod http;
mod scrape;
pub mod udp;

pub use announce::{AnnounceReply, AnnounceRequest, Event, MAX_PEERS};
pub use failure::{Failure, RetryIn};
pub use scrape::ScrapeCounts;
