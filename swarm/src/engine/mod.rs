//! The pure engine: values and time in, actions out.

pub mod picker;
pub mod time;
pub mod tracker;
