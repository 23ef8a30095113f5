//! Rate limits: a tree of token buckets, session > class > torrent > peer, one tree for each direction.
//!
//! Whoever may pass takes its bytes out of every bucket on the way up at once. Whoever may not waits in the tree:
//! each node keeps its waiting children in a ring and serves them in turn, so that a limit is shared equally
//! between the torrents below it, and within a torrent between its peers. Nobody overtakes those who wait.
//!
//! ```text
//!   session 1 MB/s      ring: torrent A -> torrent B
//!     torrent A         ring: peer 1 -> peer 2 -> peer 3
//!     torrent B 10 kB/s (asleep until its bucket holds a turn's worth, then joins the ring again)
//!       peer 4
//!   lan (a root of its own without a rate: exempt)
//! ```
//!
//! Small control messages (requests, cancels, keep-alives) should never be held back: send them, and
//! [`Limiter::charge`] them afterwards like every other overhead. The buckets are small (an eighth of a second), so
//! that what is limited stays smooth.

mod bucket;
mod ring;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::bucket::Bucket;
use self::ring::{NONE, Ring};
use super::time::Time;

/// A tree of limits for one direction.
///
/// Commands: [`add`](Self::add), [`set_rate`](Self::set_rate), [`remove`](Self::remove). Inputs:
/// [`grant`](Self::grant) asks, [`charge`](Self::charge) and [`refund`](Self::refund) settle what was really used,
/// [`cancel`](Self::cancel) stops waiting. Output: [`poll`](Self::poll) gives turns to those who wait, until
/// `None`; [`next_timeout`](Self::next_timeout) says when to poll again.
///
/// A grant walks the ancestors of a node (at most four in the usual shape) and touches nothing else. Only a bucket
/// that runs dry costs O(log n), n being the buckets that are dry. Without any rate a grant is one comparison.
#[derive(Debug, Default)]
pub struct Limiter {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Roots that wait for a turn.
    ready: Ring,
    /// When dry buckets hold a turn's worth; entries that no longer match their node are ignored.
    asleep: BinaryHeap<Reverse<(Time, u32)>>,
    limited: usize,
}

/// A node of a [`Limiter`]. It does not alias another node after its own was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    index: u32,
    generation: u32,
}

/// A turn given to a node that waited; the bytes are already taken from its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who may pass.
    pub node: NodeId,
    /// The tag that the node was added with.
    pub tag: usize,
    /// How many bytes; [`Limiter::refund`] what is not used.
    pub bytes: u64,
}

#[derive(Clone, Debug)]
struct Node {
    generation: u32,
    parent: u32,
    children: u32,
    tag: usize,
    bucket: Option<Bucket>,
    state: State,
    /// Bytes that this node itself waits for; zero if it does not wait.
    want: u64,
    /// Children that wait for a turn.
    waiting: Ring,
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing below it waits, or everything below that waits is asleep.
    Idle,
    /// In the ring of its parent.
    Queued,
    /// Something below it waits, but its own bucket is dry until then.
    Asleep(Time),
}

/// Ignored entries that the heap may hold besides one for each node.
const SLACK: usize = 64;

impl Limiter {
    /// A limiter without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node below `parent`, or a root. `rate` is in bytes per second, `None` for no limit; zero stops all.
    /// `tag` comes back in its [`Grant`]s.
    pub fn add(&mut self, now: Time, parent: Option<NodeId>, rate: Option<u64>, tag: usize) -> NodeId {
        let parent = parent.and_then(|id| self.index(id));
        if let Some(parent) = parent {
            self.nodes[parent as usize].children += 1;
        }
        let mut node = Node {
            generation: 0,
            parent: parent.unwrap_or(NONE),
            children: 0,
            tag,
            bucket: rate.map(|rate| Bucket::new(now, rate)),
            state: State::Idle,
            want: 0,
            waiting: Ring::default(),
            prev: NONE,
            next: NONE,
        };
        self.limited += usize::from(rate.is_some());
        let index = match self.free.pop() {
            Some(index) => {
                node.generation = self.nodes[index as usize].generation;
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
            }
        };
        NodeId { index, generation: self.nodes[index as usize].generation }
    }

    /// Removes a node; it must have no children left.
    ///
    /// # Panics
    /// If it still has children, because they would lose their limit.
    pub fn remove(&mut self, id: NodeId) {
        let Some(index) = self.index(id) else { return };
        assert_eq!(self.nodes[index as usize].children, 0, "children are removed before their parent");
        self.cancel(id);
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        self.limited -= usize::from(node.bucket.take().is_some());
        let parent = std::mem::replace(&mut node.parent, NONE);
        if parent != NONE {
            self.nodes[parent as usize].children -= 1;
        }
        self.free.push(index);
    }

    /// Changes a limit; who waits because of it is looked at again at once.
    pub fn set_rate(&mut self, now: Time, id: NodeId, rate: Option<u64>) {
        let Some(index) = self.index(id) else { return };
        let node = &mut self.nodes[index as usize];
        self.limited -= usize::from(node.bucket.is_some());
        self.limited += usize::from(rate.is_some());
        match (&mut node.bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(now, rate),
            (bucket, rate) => *bucket = rate.map(|rate| Bucket::new(now, rate)),
        }
        if let State::Asleep(_) = node.state {
            node.state = State::Idle;
            self.activate(now, index);
        }
    }

    /// The limit of a node, bytes per second.
    pub fn rate(&self, id: NodeId) -> Option<u64> {
        self.nodes[self.index(id)? as usize].bucket.as_ref().map(Bucket::rate)
    }

    /// Asks to pass `want` bytes now. What is granted (at most `want`) is taken from every bucket on the way up. Zero:
    /// the node waits from now on, and [`poll`](Self::poll) will give it a turn.
    pub fn grant(&mut self, now: Time, id: NodeId, want: u64) -> u64 {
        let Some(index) = self.index(id) else { return 0 };
        if self.limited == 0 && self.ready.is_empty() {
            return want;
        }
        if want == 0 {
            return 0;
        }
        if self.nodes[index as usize].want > 0 {
            self.nodes[index as usize].want = want;
            return 0;
        }
        match self.passable(now, index, want) {
            Some(bytes) => {
                self.each_bucket(index, |bucket| bucket.take(bytes));
                bytes
            }
            None => {
                self.nodes[index as usize].want = want;
                self.activate(now, index);
                0
            }
        }
    }

    /// Takes bytes that passed without a grant: overhead of TCP and IP, control messages. It may put the buckets in
    /// debt, at most by one second of their rate.
    pub fn charge(&mut self, now: Time, id: NodeId, bytes: u64) {
        if self.limited > 0
            && let Some(index) = self.index(id)
        {
            self.each_bucket(index, |bucket| {
                bucket.refill(now);
                bucket.take(bytes);
            });
        }
    }

    /// Gives back bytes that were granted and not used.
    pub fn refund(&mut self, id: NodeId, bytes: u64) {
        if self.limited > 0
            && let Some(index) = self.index(id)
        {
            self.each_bucket(index, |bucket| bucket.give(bytes));
        }
    }

    /// The node no longer waits for a turn.
    pub fn cancel(&mut self, id: NodeId) {
        if let Some(index) = self.index(id)
            && std::mem::take(&mut self.nodes[index as usize].want) > 0
        {
            self.deactivate(index);
        }
    }

    /// Whether the node waits for a turn.
    pub fn is_waiting(&self, id: NodeId) -> bool {
        self.index(id).is_some_and(|index| self.nodes[index as usize].want > 0)
    }

    /// Gives a turn to the next node that waits and may pass now. Call until `None`.
    pub fn poll(&mut self, now: Time) -> Option<Grant> {
        self.wake(now);
        while let Some(root) = self.ready.front() {
            match self.descend(now, root) {
                Ok(leaf) => return Some(self.serve(leaf)),
                Err(dry) => self.put_to_sleep(dry),
            }
        }
        None
    }

    /// When [`poll`](Self::poll) has something to give; a time that has passed means now.
    pub fn next_timeout(&mut self) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time::ZERO);
        }
        while let Some(Reverse((at, index))) = self.asleep.peek().copied() {
            if self.nodes[index as usize].state == State::Asleep(at) {
                return Some(at);
            }
            self.asleep.pop();
        }
        None
    }

    fn index(&self, id: NodeId) -> Option<u32> {
        (self.nodes.get(id.index as usize)?.generation == id.generation).then_some(id.index)
    }

    fn parent(&self, index: u32) -> u32 {
        self.nodes[index as usize].parent
    }

    fn each_bucket(&mut self, mut index: u32, mut act: impl FnMut(&mut Bucket)) {
        while index != NONE {
            if let Some(bucket) = &mut self.nodes[index as usize].bucket {
                act(bucket);
            }
            index = self.parent(index);
        }
    }

    /// How many bytes may pass at once, if nobody on the way waits and no bucket is dry.
    fn passable(&mut self, now: Time, mut index: u32, want: u64) -> Option<u64> {
        let mut bytes = want;
        while index != NONE {
            let node = &mut self.nodes[index as usize];
            if !node.waiting.is_empty() {
                return None;
            }
            if let Some(bucket) = &mut node.bucket {
                bucket.refill(now);
                if bucket.available() < want.min(bucket.quantum()) {
                    return None;
                }
                bytes = bytes.min(bucket.available());
            }
            index = node.parent;
        }
        Some(bytes)
    }

    /// Puts an idle node that has something waiting into the ring of its parent, and so on up; or to sleep.
    fn activate(&mut self, now: Time, mut index: u32) {
        while self.nodes[index as usize].state == State::Idle {
            if let Some(bucket) = &mut self.nodes[index as usize].bucket {
                bucket.refill(now);
                if !bucket.is_ready() {
                    return self.sleep(index);
                }
            }
            self.link(index);
            index = self.parent(index);
            if index == NONE {
                return;
            }
        }
    }

    /// The opposite: takes the node out of ring or sleep, and its ancestors as far as nothing waits there any more.
    fn deactivate(&mut self, mut index: u32) {
        while index != NONE {
            let node = &mut self.nodes[index as usize];
            if node.want > 0 || !node.waiting.is_empty() {
                return;
            }
            match node.state {
                State::Idle => return,
                State::Asleep(_) => {
                    node.state = State::Idle;
                    return;
                }
                State::Queued => self.unlink(index),
            }
            index = self.parent(index);
        }
    }

    /// Follows the fronts of the rings down to the node whose turn it is. `Err` names a node on the way that is dry.
    fn descend(&mut self, now: Time, root: u32) -> Result<u32, u32> {
        let mut index = root;
        loop {
            let node = &mut self.nodes[index as usize];
            if let Some(bucket) = &mut node.bucket {
                bucket.refill(now);
                if !bucket.is_ready() {
                    return Err(index);
                }
            }
            match node.waiting.front() {
                // A node that itself waits is served before its children; in the usual tree only leaves wait.
                Some(child) if node.want == 0 => index = child,
                _ => return Ok(index),
            }
        }
    }

    fn serve(&mut self, leaf: u32) -> Grant {
        let mut bytes = std::mem::take(&mut self.nodes[leaf as usize].want);
        self.each_bucket(leaf, |bucket| bytes = bytes.min(bucket.quantum()).min(bucket.available()));
        self.each_bucket(leaf, |bucket| bucket.take(bytes));
        let mut index = leaf;
        while index != NONE {
            self.unlink(index);
            if !self.nodes[index as usize].waiting.is_empty() {
                self.link(index);
            }
            index = self.parent(index);
        }
        let node = &self.nodes[leaf as usize];
        Grant { node: NodeId { index: leaf, generation: node.generation }, tag: node.tag, bytes }
    }

    fn put_to_sleep(&mut self, dry: u32) {
        self.unlink(dry);
        self.sleep(dry);
        let parent = self.parent(dry);
        if parent != NONE {
            self.deactivate(parent);
        }
    }

    fn sleep(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let until = node.bucket.as_ref().map_or(Time::ZERO, Bucket::ready_at);
        node.state = State::Asleep(until);
        if until < Time::MAX {
            self.asleep.push(Reverse((until, index)));
        }
        if self.asleep.len() > 2 * self.nodes.len() + SLACK {
            let mut entries: Vec<_> = std::mem::take(&mut self.asleep).into_vec();
            entries.retain(|Reverse((at, index))| self.nodes[*index as usize].state == State::Asleep(*at));
            entries.sort_unstable();
            entries.dedup();
            self.asleep = entries.into();
        }
    }

    fn wake(&mut self, now: Time) {
        while let Some(Reverse((at, index))) = self.asleep.peek().copied()
            && at <= now
        {
            self.asleep.pop();
            let node = &mut self.nodes[index as usize];
            if node.state == State::Asleep(at) {
                node.state = State::Idle;
                self.activate(now, index);
            }
        }
    }
}
