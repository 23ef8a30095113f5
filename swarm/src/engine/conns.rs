//! Names of connections: a slot that is reused, and a generation that is not.

use super::link::ConnId;
use super::picker::PeerKey;

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The hub, under this key: its handshake is not done.
    Hub(usize),
    /// A torrent's peer.
    Peer(PeerKey),
}

/// The table behind [`ConnId`].
#[derive(Default)]
pub(crate) struct Conns {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    place: Option<Place>,
}

impl Conns {
    /// A fresh name, for nobody yet.
    pub(crate) fn reserve(&mut self) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, place: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        ConnId { slot, generation: self.slots[slot as usize].generation }
    }

    pub(crate) fn set(&mut self, conn: ConnId, place: Place) {
        self.slots[conn.slot()].place = Some(place);
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<Place> {
        let slot = self.slots.get(conn.slot())?;
        slot.place.filter(|_| slot.generation == conn.generation)
    }

    /// The place of whatever is in this slot now.
    pub(crate) fn in_slot(&self, slot: usize) -> Option<Place> {
        self.slots.get(slot)?.place
    }

    /// Forgets a name; it is never given again.
    pub(crate) fn release(&mut self, conn: ConnId) {
        if self.get(conn).is_some() {
            let slot = &mut self.slots[conn.slot()];
            slot.place = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(conn.slot);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
