//! Being a tracker: a small store of who announced what, and answers to HTTP targets and UDP packets (BEP 3, 7, 15, 23, 48).
//!
//! It is for a demo, a LAN and tests: one address book in memory, bounded, without accounts.

mod connection;
mod front;
mod store;
mod swarm;

pub use front::HttpAnswer;
pub use store::{Config, Server};
