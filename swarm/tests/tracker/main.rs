//! Trackers from the outside: the schedule on virtual time, the UDP client against the server machine, and both over
//! real sockets.

mod schedule;
mod server;
mod udp;
mod world;
