#![allow(missing_docs, dead_code, unreachable_pub)]
pub mod candidates;
pub mod choker;
