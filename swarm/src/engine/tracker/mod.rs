//! Trackers: when to ask which of them, and what to tell ([`Schedule`]). Values and time only; sockets, DNS and HTTP are
//! the driver's.

pub mod address;
pub mod announce;
mod endpoint;
pub mod schedule;
pub mod status;
mod value;
mod walk;

pub use address::{Family, Scheme, TrackerUrl, Unsupported};
pub use announce::{Announce, AnnounceId, Config, Failure, Families, Output, Totals, TrackerId};
pub use schedule::Schedule;
pub use status::{State, TrackerStatus};
pub use value::{AnnounceReply, Event, RetryIn};
pub use walk::{HURRY, PATIENCE, PATIENCE_STOPPED, PRIVATE_LOYALTY};
