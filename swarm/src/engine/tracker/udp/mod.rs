//! Asking trackers over UDP (BEP 15, 41).

mod client;
mod request;
mod server;

pub use client::Client;
pub use request::{Answer, Error, MAX_REQUESTS, MAX_SCRAPE, NotTaken, RequestId};
