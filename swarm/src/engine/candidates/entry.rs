//! One line of the address book.

use super::{Info, Sources};
use crate::engine::time::Time;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) sources: Sources,
    pub(super) failures: u8,
    pub(super) seed: bool,
    pub(super) state: State,
    /// Higher is better.
    pub(super) preference: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle { not_before: Time },
    Dialling,
    Connected,
}

/// The order of dialling, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    failures: u8,
    distrust: u8,
    /// What is missing to the most preferred.
    missing: u32,
}

impl Entry {
    pub(super) fn new(preference: u32) -> Self {
        Self {
            sources: Sources::default(),
            failures: 0,
            seed: false,
            state: State::Idle { not_before: Time::ZERO },
            preference,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        Rank {
            failures: self.failures,
            distrust: self.sources.distrust(),
            missing: u32::MAX - self.preference,
        }
    }

    pub(super) fn info(&self) -> Info {
        Info {
            sources: self.sources,
            failures: self.failures,
            seed: self.seed,
            connected: self.state == State::Connected,
        }
    }
}
