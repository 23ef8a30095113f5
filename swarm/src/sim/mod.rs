//! Whole swarms of real engines on virtual time, over a seeded network and seeded disks.
//!
//! A [`World`] holds nodes, each with its engine, and one queue of events. [`World::step`] goes to the next moment at
//! which anything happens; nothing waits for a real clock, and a seed replays a run exactly. After each step the
//! world checks what must always hold of the machines that the step touched: `audit.rs` says what, and how often.

mod actor;
mod audit;
mod connections;
mod content;
mod datagrams;
mod disk;
mod network;
mod node;
mod platter;
mod scripted;
mod store;
mod tracker;
mod turn;
mod world;

pub use actor::{Actor, Io, StreamId};
pub use content::Content;
pub use disk::DiskSpeed;
pub use network::{Access, Network};
pub use node::{Node, NodeId};
pub use scripted::{Heard, Line, Log, Scripted};
pub use store::{Failing, SimStore};
pub use tracker::SimTracker;
pub use world::{Role, World};
