//! Trackers from the outside: the schedule on virtual time, the UDP client against the server machine, and both over
//! real sockets.

mod fuzzed;
#[cfg(feature = "session")]
mod hostile;
mod hurry;
#[cfg(all(feature = "session", unix))]
mod opentracker;
mod recall;
mod schedule;
mod server;
#[cfg(feature = "session")]
mod sockets;
mod udp;
mod waiting;
mod world;
