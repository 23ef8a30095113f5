//! The data plane: one thread that owns the sockets and the engine.
//!
//! The reactor waits for readiness with `mio`, tells the engine what happened, and moves bytes as the engine says:
//! payload is read by one vectored call straight into the buffers that are hashed and written, and written by one
//! vectored call from the buffers that were read from disk. There is no lock, channel or task switch per block.
//! Commands come over a bounded channel with a [`mio::Waker`]; the disk wakes it the same way.

mod clock;
mod datagrams;
mod handle;
mod listen;
mod local;
mod log;
mod plane;
mod sockets;
mod sys_pktinfo;
#[cfg(test)]
mod tests;
mod udp;

pub use clock::Clock;
pub use datagrams::{Answered, UdpError};
pub use handle::{Gone, Handle};
pub use listen::ListenError;
pub use plane::{Observer, Plane, ReactorConfig};
