//! The pure engine: values and time in, actions out.

pub mod time;
pub mod tracker;
