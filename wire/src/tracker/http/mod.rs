//! Trackers over HTTP: the URL that a client asks for, and the bencoded body that comes back (BEP 3, 7, 23, 24, 31, 48).
//!
//! Fetching the URL is left to whoever has a socket. A tracker reads the query with [`parse_announce_query`] or
//! [`parse_scrape_query`].

mod error;
mod percent;
mod query;
mod reply;
mod scrape;

pub use error::{QueryError, ReplyError};
pub use query::{announce_url, parse_announce_query};
pub use reply::{PeerForm, encode_announce_reply, encode_failure, parse_announce_reply};
pub use scrape::{
    encode_scrape_reply, parse_scrape_query, parse_scrape_reply, scrape_request_url, scrape_url,
};
