//! Packets between nodes of the distributed hash table (BEP 5), both ways, with what was added to it: IPv6 (BEP 32), scrapes
//! (BEP 33), external addresses (BEP 42), read-only nodes (BEP 43), stored items (BEP 44) and samples (BEP 51).
//!
//! Packets come from strangers. What is optional and has a wrong type counts as missing; what a query must have and lacks is an
//! [`Error`] that says how to [answer](Error::answer) it. Addresses are not judged here, except that port 0 is dropped.

mod address;
mod bloom;
mod error;
mod item;
mod nodes;
mod packet;
mod query;
mod refusal;
mod reply;

pub use bloom::BloomFilter;
pub use error::Error;
pub use item::{immutable_target, mutable_target, signed_text};
pub use nodes::{NodeInfo, Nodes, NodesIter};
pub use packet::{Body, Packet};
pub use query::{Method, MutableItem, Query, Want};
pub use refusal::{Refusal, code};
pub use reply::{Reply, Samples};

/// Bytes of the longest packet that is read.
pub const MAX_PACKET: usize = 2048;

/// Bytes of the longest transaction id that is read.
pub const MAX_TRANSACTION: usize = 32;

/// Bytes of the longest write token that is read.
pub const MAX_TOKEN: usize = 128;

/// Bytes of the longest item, bencoded (BEP 44).
pub const MAX_VALUE: usize = 1000;

/// Bytes of the longest salt of an item (BEP 44).
pub const MAX_SALT: usize = 64;

/// A node's id, an info-hash or the target of an item: all are points of the same space.
pub type Id = [u8; 20];
