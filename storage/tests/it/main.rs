//! Tests of the crate from outside.

mod adopt;
mod backends;
#[cfg(feature = "files")]
mod disk;
mod driver;
#[cfg(feature = "files")]
mod fat;
mod faults;
#[cfg(feature = "files")]
mod files;
#[cfg(feature = "files")]
mod golden_names;
#[cfg(feature = "files")]
mod held;
#[cfg(feature = "files")]
mod marker;
#[cfg(feature = "files")]
mod mounts;
#[cfg(feature = "files")]
mod moves;
#[cfg(feature = "files")]
mod outage;
#[cfg(feature = "files")]
mod overlap;
#[cfg(feature = "files")]
mod parts;
mod plan;
mod power;
#[cfg(feature = "files")]
mod recheck;
mod record;
mod record_driver;
#[cfg(feature = "files")]
mod reuse;
#[cfg(feature = "files")]
mod strikes;
mod support;
mod touched;
#[cfg(feature = "files")]
mod watch;
