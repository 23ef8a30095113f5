//! Syncs and probes that wait or are under way: one at a time for each device, so that a device that hangs keeps nobody else
//! from making durable what was written.

use crate::{StoreId, Token};
use std::collections::{HashMap, VecDeque};

/// What is done one at a time: all of a device, or of a store whose device is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Device(u64),
    Store(StoreId),
}

#[derive(Debug)]
pub(super) enum Task {
    Sync(StoreId, Vec<Token>),
    /// Whether the store is to be written to.
    Probe(StoreId, bool),
    Look(StoreId),
}

#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// What waits in each lane that is busy or has something to do.
    lanes: HashMap<Lane, VecDeque<Task>>,
    /// Lanes that have something to do and are not busy, the longest waiting first.
    ready: VecDeque<Lane>,
    under_way: usize,
}

impl Upkeep {
    pub(super) fn push(&mut self, lane: Lane, task: Task) {
        let tasks = self.lanes.entry(lane).or_insert_with(|| {
            self.ready.push_back(lane);
            VecDeque::new()
        });
        tasks.push_back(task);
    }

    /// The next one to begin, if fewer than `most` are under way.
    pub(super) fn begin(&mut self, most: usize) -> Option<Task> {
        if self.under_way >= most {
            return None;
        }
        let task = self.lanes.get_mut(&self.ready.pop_front()?)?.pop_front()?;
        self.under_way += 1;
        Some(task)
    }

    /// The one of this lane ended.
    pub(super) fn end(&mut self, lane: Lane) {
        self.under_way -= 1;
        if self.lanes.get(&lane).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&lane);
        } else {
            self.ready.push_back(lane);
        }
    }

    /// How many can begin now, if at most `most` are under way together.
    pub(super) fn runnable(&self, most: usize) -> usize {
        self.ready.len().min(most.saturating_sub(self.under_way))
    }

    /// Panics when the parts disagree.
    pub(super) fn check_invariant(&self, most: usize) {
        assert!(self.under_way <= most);
        assert_eq!(self.lanes.len(), self.ready.len() + self.under_way);
        assert!(self.ready.iter().all(|lane| self.lanes.get(lane).is_some_and(|tasks| !tasks.is_empty())));
    }
}
