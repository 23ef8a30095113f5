//! The rings of waiting nodes: doubly linked lists through the nodes themselves, so that joining, leaving and
//! going to the back are O(1) and allocate nothing.

use super::{Limiter, State};

/// Stands for "no node".
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    head: u32,
    tail: u32,
}

impl Default for Ring {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl Ring {
    pub(super) const fn is_empty(self) -> bool {
        self.head == NONE
    }

    pub(super) fn front(self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

impl Limiter {
    /// Appends a node to the ring of its parent.
    pub(super) fn link(&mut self, index: u32) {
        let parent = self.nodes[index as usize].parent;
        let tail = self.ring(parent).tail;
        let node = &mut self.nodes[index as usize];
        node.state = State::Queued;
        (node.prev, node.next) = (tail, NONE);
        if tail == NONE {
            self.ring(parent).head = index;
        } else {
            self.nodes[tail as usize].next = index;
        }
        self.ring(parent).tail = index;
    }

    /// Takes a node out of the ring of its parent.
    pub(super) fn unlink(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let (parent, prev, next) = (node.parent, node.prev, node.next);
        node.state = State::Idle;
        (node.prev, node.next) = (NONE, NONE);
        match prev {
            NONE => self.ring(parent).head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.ring(parent).tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
    }

    /// The members of a ring, front first.
    pub(super) fn members(&self, ring: Ring) -> impl Iterator<Item = u32> {
        std::iter::successors(ring.front(), |index| {
            let next = self.nodes[*index as usize].next;
            (next != NONE).then_some(next)
        })
    }

    fn ring(&mut self, parent: u32) -> &mut Ring {
        if parent == NONE { &mut self.ready } else { &mut self.nodes[parent as usize].waiting }
    }

    /// Panics if rings, states and the sleepers disagree.
    pub fn check_invariant(&self) {
        let mut queued = 0;
        for (parent, ring) in std::iter::once((NONE, self.ready))
            .chain((0..).zip(&self.nodes).map(|(index, node)| (index, node.waiting)))
        {
            let mut last = NONE;
            for index in self.members(ring) {
                let node = &self.nodes[index as usize];
                assert_eq!((node.state, node.parent, node.prev), (State::Queued, parent, last));
                assert!(node.want > 0 || !node.waiting.is_empty(), "node {index} is queued for nothing");
                (last, queued) = (index, queued + 1);
            }
            assert_eq!(ring.tail, last);
        }
        for (index, node) in (0_u32..).zip(&self.nodes) {
            let waits = node.want > 0 || !node.waiting.is_empty();
            match node.state {
                State::Queued => queued -= 1,
                State::Idle => assert!(!waits, "node {index} waits and nobody will wake it"),
                State::Asleep(until) => {
                    assert!(waits, "node {index} sleeps for nothing");
                    let found = self.asleep.iter().any(|entry| entry.0 == (until, index));
                    assert!(found || until == crate::engine::time::Time::MAX, "node {index} never wakes");
                }
            }
        }
        assert_eq!(queued, 0);
        assert_eq!(self.limited, self.nodes.iter().filter(|node| node.bucket.is_some()).count());
        assert!(self.asleep.len() <= 2 * self.nodes.len() + super::SLACK + 1);
    }
}
