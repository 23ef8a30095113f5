//! How what is ready becomes orders.

use super::order::{BackWork, Order, ReadBack, ReadPart, Reads, StoreLook, StoreProbe, StoreSync, Stripe};
use super::piece::Scan;
use super::upkeep::Task;
use super::writing::Next;
use super::{Plan, range};
use crate::Buf;
use metainfo::Block;

impl Plan {
    pub(super) fn next_write(&mut self) -> Option<Order> {
        let mut stripes = Vec::new();
        while stripes.len() < self.config.lanes.max(1) {
            let Some(&slot) = self.writes.front() else { break };
            let piece = self.pieces.get(slot);
            let next = piece.writing.as_ref().and_then(|writing| writing.next(self.config.stripe));
            if next == Some(Next::Back) && !stripes.is_empty() {
                break;
            }
            piece.in_writes = false;
            self.writes.pop_front();
            match next {
                Some(Next::Back) => {
                    let back = self.order_back(slot);
                    self.advance(slot);
                    return back;
                }
                Some(next) => stripes.extend(self.order_stripe(slot, next)),
                None => {}
            }
            self.advance(slot);
        }
        (!stripes.is_empty()).then_some(Order::Write(stripes))
    }

    fn order_stripe(&mut self, slot: usize, next: Next) -> Option<Stripe> {
        let piece = self.pieces.get(slot);
        let (id, index) = piece.key;
        let store = self.stores.get_mut(&id)?;
        let writing = piece.writing.as_mut()?;
        let taken = match next {
            Next::Front => writing.take_front(self.config.stripe),
            _ => writing.take_late(self.config.stripe),
        };
        let blocks: Vec<Block> = (taken.first..)
            .take(taken.buffers.len())
            .filter_map(|block| store.geometry.block(index, block))
            .collect();
        let (first, last) = (blocks.first()?.range(), blocks.last()?.range());
        let range = range(&store.geometry, index, first.begin()..last.end());
        store.orders += 1;
        self.held_in_orders += taken.buffers.iter().map(Buf::capacity).sum::<usize>();
        Some(Stripe {
            slot,
            store: id,
            epoch: taken.epoch,
            range,
            blocks,
            buffers: taken.buffers,
            hasher: taken.hasher,
            ends: taken.ends,
            result: None,
        })
    }

    fn order_back(&mut self, slot: usize) -> Option<Order> {
        let piece = self.pieces.get(slot);
        let (hasher, blocks) = piece.writing.as_mut()?.take_back(self.config.stripe);
        self.read_back(slot, blocks, BackWork::Continue(hasher))
    }

    pub(super) fn next_upkeep(&mut self) -> Option<Order> {
        let order = match self.upkeep.begin(self.config.upkeep.max(1))? {
            Task::Sync(store, tokens) => Order::Sync(StoreSync { store, tokens, result: None }),
            Task::Probe(store, write) => Order::Probe(StoreProbe { store, write, result: None }),
            Task::Look(store) => Order::Look(StoreLook { store, result: None }),
        };
        if let Order::Sync(StoreSync { store, .. })
        | Order::Probe(StoreProbe { store, .. })
        | Order::Look(StoreLook { store, .. }) = &order
            && let Some(store) = self.stores.get_mut(store)
        {
            store.orders += 1;
        }
        Some(order)
    }

    pub(super) fn next_scan(&mut self) -> Option<Order> {
        if self.scans_under_way >= self.config.background.max(1) {
            return None;
        }
        let slot = self.scans.pop_front()?;
        let piece = self.pieces.get(slot);
        let Scan::Ready(work, from) = std::mem::replace(&mut piece.scan, Scan::UnderWay) else {
            return None;
        };
        let (id, index) = piece.key;
        let end = self.stores.get(&id)?.geometry.blocks_in(index).min(from + self.config.stripe);
        let order = self.read_back(slot, from..end, work)?;
        self.scans_under_way += 1;
        Some(order)
    }

    fn read_back(&mut self, slot: usize, blocks: std::ops::Range<u32>, work: BackWork) -> Option<Order> {
        let (id, index) = self.pieces.get(slot).key;
        let store = self.stores.get_mut(&id)?;
        let (first, last) =
            (store.geometry.block(index, blocks.start)?, store.geometry.block(index, blocks.end - 1)?);
        let range = range(&store.geometry, index, first.begin()..last.range().end());
        let ends = blocks.end == store.geometry.blocks_in(index);
        store.orders += 1;
        Some(Order::ReadBack(ReadBack { slot, store: id, range, blocks, work, ends, result: None }))
    }

    pub(super) fn next_reads(&mut self) -> Option<Order> {
        let slot = self.reads.pop_front()?;
        let piece = self.pieces.get(slot);
        piece.in_reads = false;
        piece.reading += 1;
        let count = piece.reads.len().min(self.config.stripe as usize);
        let mut parts: Vec<ReadPart> = piece.reads.drain(..count).collect();
        parts.sort_by_key(|part| part.range.begin());
        let id = piece.key.0;
        self.held_in_orders += parts.iter().map(|part| part.data.capacity()).sum::<usize>();
        self.stores.get_mut(&id)?.orders += 1;
        self.advance(slot);
        Some(Order::Read(Reads { slot, store: id, parts }))
    }
}
