//! The pure engine: values and time in, actions out.

pub mod picker;
pub mod rate;
pub mod time;
pub mod timers;
pub mod tracker;
pub mod window;
