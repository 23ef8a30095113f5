//! Trackers: when to ask which of them ([`Schedule`]), how to ask over UDP ([`udp::Client`]), and being one
//! ([`server::Server`]). Values and time only; sockets, DNS and HTTP are the driver's.

pub mod address;
pub mod announce;
mod endpoint;
mod recall;
pub mod schedule;
pub mod server;
pub mod status;
pub mod udp;
mod walk;

pub use address::{Family, Scheme, TrackerUrl, Unsupported};
pub use announce::{Announce, AnnounceId, Config, Failure, Families, Output, Totals, TrackerId};
pub use recall::MAX_RECALLED;
pub use schedule::Schedule;
pub use status::{State, TrackerStatus};
pub use walk::{BACKLOG, BESIDE, HURRY, PATIENCE, PATIENCE_STOPPED, PRIVATE_LOYALTY};
pub use wire::tracker::{AnnounceReply, Event, RetryIn};
