use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::engine::dht::{DhtEvent, LookupId};

/// Outcomes of one lookup that may wait for its owner. A lookup asks fewer nodes than that.
const KEPT: usize = 256;

/// Where the reactor's thread hands outcomes to those who asked.
#[derive(Default)]
pub(in crate::session) struct Desk {
    lookups: Mutex<HashMap<LookupId, mpsc::Sender<DhtEvent>>>,
    /// The table is in use.
    joined: watch::Sender<bool>,
}

impl Desk {
    /// Something came of a lookup, or of the DHT itself.
    pub(in crate::session) fn tell(&self, event: DhtEvent) {
        if let DhtEvent::Bootstrapped { .. } = event {
            self.joined.send_replace(true);
        }
        let Some(id) = event.lookup() else { return };
        let mut lookups = self.lookups();
        let owner = match event {
            // The channel closes with its last sender.
            DhtEvent::Done { .. } => lookups.remove(&id),
            _ => lookups.get(&id).cloned(),
        };
        if let Some(owner) = owner {
            // An owner that does not listen for so long misses the rest.
            let _ = owner.try_send(event);
        }
    }

    /// Hears of a lookup from now on.
    pub(super) fn listen(&self, id: LookupId) -> mpsc::Receiver<DhtEvent> {
        let (sender, receiver) = mpsc::channel(KEPT);
        self.lookups().insert(id, sender);
        receiver
    }

    /// Nobody listens any more; whether the lookup goes on.
    pub(super) fn leave(&self, id: LookupId) -> bool {
        self.lookups().remove(&id).is_some()
    }

    /// Whether enough nodes are known.
    pub(super) fn joined(&self) -> watch::Receiver<bool> {
        self.joined.subscribe()
    }

    fn lookups(&self) -> MutexGuard<'_, HashMap<LookupId, mpsc::Sender<DhtEvent>>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
