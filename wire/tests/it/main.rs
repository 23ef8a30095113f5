//! Behaviour of the crate as its users see it.

mod fuzz_corpus;
mod krpc;
mod peer;
mod tracker_http;
mod tracker_udp;
