//! The control plane on the caller's tokio: HTTP, DNS, and what else waits.

pub mod http;
pub mod resolve;
pub mod tracker_server;
