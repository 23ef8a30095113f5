//! Who works, who sleeps, and who watches the clock.

use crate::plan::{Plan, PlanConfig};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The plan and the threads that work on it.
pub(super) struct Crew {
    pub(super) plan: Plan,
    /// Threads that sleep and were not called, the last to fall asleep last: its caches are the warmest.
    asleep: Vec<(usize, Thread)>,
    all: Vec<Thread>,
    /// The sleeper that wakes by itself when blocks have lingered long enough.
    watch: Option<usize>,
    next_tick: Option<Instant>,
    stopping: bool,
}

/// What a thread does when there is no order.
pub(super) enum Rest {
    UntilCalled,
    AtMost(Duration),
    Over,
}

impl Crew {
    pub(super) fn new(config: PlanConfig) -> Self {
        Self {
            plan: Plan::new(config),
            asleep: Vec::new(),
            all: Vec::new(),
            watch: None,
            next_tick: None,
            stopping: false,
        }
    }

    /// A thread joins.
    pub(super) fn join(&mut self, thread: Thread) {
        self.all.push(thread);
    }

    /// A thread is awake, called or not.
    pub(super) fn wake_up(&mut self, index: usize) {
        self.asleep.retain(|(sleeper, _)| *sleeper != index);
        if self.watch == Some(index) {
            self.watch = None;
        }
    }

    /// Lets the plan know when time went by. At the end nothing waits any more.
    pub(super) fn watch_clock(&mut self, linger: Duration) {
        if self.stopping {
            self.plan.flush();
        } else if self.plan.lingers() {
            let now = Instant::now();
            if self.next_tick.is_none_or(|due| due <= now) {
                self.plan.tick();
                self.next_tick = Some(now + linger);
            }
        }
    }

    /// Picks the sleepers to wake for what can be done now, or for the watch.
    pub(super) fn call_helpers(&mut self) -> Vec<Thread> {
        if self.asleep.is_empty() {
            return Vec::new();
        }
        let watch = usize::from(self.plan.lingers() && self.watch.is_none());
        let wanted = self.plan.runnable().max(watch);
        let keep = self.asleep.len().saturating_sub(wanted);
        self.asleep.drain(keep..).map(|(_, thread)| thread).collect()
    }

    /// What a thread does that found no order.
    pub(super) fn rest(&mut self, index: usize) -> Rest {
        if self.stopping && self.plan.is_idle() {
            return Rest::Over;
        }
        let Some(thread) = self.all.get(index).cloned() else { return Rest::Over };
        self.asleep.push((index, thread));
        if !self.plan.lingers() || self.watch.is_some() {
            return Rest::UntilCalled;
        }
        self.watch = Some(index);
        let due = self.next_tick.map(|due| due.saturating_duration_since(Instant::now()));
        Rest::AtMost(due.unwrap_or_default())
    }

    /// Lets all threads end when nothing is left to do. Gives those to wake.
    pub(super) fn stop(&mut self) -> Vec<Thread> {
        self.stopping = true;
        self.plan.flush();
        self.asleep.clear();
        self.all.clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}
