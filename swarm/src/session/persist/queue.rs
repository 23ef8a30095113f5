//! Which torrents wait for a save, device by device.

use std::collections::{BTreeMap, VecDeque};

use metainfo::TorrentId;

/// A disk; `None` for files that are on none.
pub(super) type Device = Option<u64>;

/// Torrents that are saved together.
pub(super) const BATCH: usize = 64;

/// Torrents of a device that are saved together, and whether they have something to record for sure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) device: Device,
    pub(super) torrents: Vec<(TorrentId, bool)>,
}

/// Torrents that wait. Each device has one batch under way at most, and those that changed go first.
#[derive(Default)]
pub(super) struct Queue {
    lanes: BTreeMap<Device, Lane>,
    /// Whether what waits has changed for sure. What is in a lane and not here as it is there has had its turn.
    waiting: BTreeMap<TorrentId, bool>,
}

#[derive(Default)]
struct Lane {
    changed: VecDeque<TorrentId>,
    routine: VecDeque<TorrentId>,
    is_busy: bool,
}

impl Queue {
    /// A torrent is to be saved: for sure, or if a closer look shows that it changed.
    pub(super) fn add(&mut self, id: TorrentId, device: Device, is_changed: bool) {
        let lane = self.lanes.entry(device).or_default();
        match (self.waiting.get(&id), is_changed) {
            (Some(true), _) | (Some(false), false) => return,
            (_, true) => lane.changed.push_back(id),
            (None, false) => lane.routine.push_back(id),
        }
        self.waiting.insert(id, is_changed);
    }

    /// Takes the next batch of a device that has none under way: of one where something changed, else of any.
    pub(super) fn begin(&mut self) -> Option<Batch> {
        let has_changed = |lane: &Lane| !lane.is_busy && !lane.changed.is_empty();
        let has_any = |lane: &Lane| !lane.is_busy && !lane.routine.is_empty();
        let find =
            |fits: &dyn Fn(&Lane) -> bool| self.lanes.iter().find(|(_, lane)| fits(lane)).map(|(d, _)| *d);
        let device = find(&has_changed).or_else(|| find(&has_any))?;
        let lane = self.lanes.get_mut(&device)?;
        let mut torrents = Vec::new();
        while torrents.len() < BATCH {
            let changed = lane.changed.pop_front().map(|id| (id, true));
            let Some((id, is_changed)) = changed.or_else(|| Some((lane.routine.pop_front()?, false))) else {
                break;
            };
            if self.waiting.get(&id) == Some(&is_changed) {
                self.waiting.remove(&id);
                torrents.push((id, is_changed));
            }
        }
        lane.is_busy = true;
        Some(Batch { device, torrents })
    }

    /// The batch of a device is done.
    pub(super) fn end(&mut self, device: Device) {
        if let Some(lane) = self.lanes.get_mut(&device) {
            lane.is_busy = false;
            if lane.changed.is_empty() && lane.routine.is_empty() {
                self.lanes.remove(&device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> TorrentId {
        TorrentId([n; 20])
    }

    #[test]
    fn what_changed_goes_first_and_a_device_that_hangs_holds_up_no_other() {
        let (mut queue, disk, other) = (Queue::default(), Some(1), Some(2));
        [1, 2, 3].into_iter().for_each(|n| queue.add(id(n), disk, false));
        queue.add(id(4), other, false);
        queue.add(id(3), disk, true);
        queue.add(id(2), disk, true);
        queue.add(id(2), disk, false);
        let first = Batch { device: disk, torrents: vec![(id(3), true), (id(2), true), (id(1), false)] };
        assert_eq!(queue.begin(), Some(first));
        queue.add(id(1), disk, true);
        assert_eq!(queue.begin(), Some(Batch { device: other, torrents: vec![(id(4), false)] }));
        assert_eq!(queue.begin(), None, "both devices are busy");
        queue.end(other);
        queue.add(id(5), other, true);
        assert_eq!(queue.begin(), Some(Batch { device: other, torrents: vec![(id(5), true)] }));
        queue.end(disk);
        assert_eq!(queue.begin(), Some(Batch { device: disk, torrents: vec![(id(1), true)] }));
        queue.end(disk);
        queue.end(other);
        assert!(queue.begin().is_none() && queue.lanes.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_and_the_rest_follows_in_order() {
        let mut queue = Queue::default();
        (0..150).for_each(|n| queue.add(id(n), None, true));
        let mut seen = Vec::new();
        while let Some(batch) = queue.begin() {
            assert!(batch.torrents.len() <= BATCH);
            seen.extend(batch.torrents.into_iter().map(|(id, _)| id.0[0]));
            queue.end(None);
        }
        assert_eq!(seen, (0..150).collect::<Vec<u8>>());
    }
}
