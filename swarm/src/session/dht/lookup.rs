use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::DhtError;
use crate::engine::dht::{DhtEvent, LookupId, LookupStats};
use crate::session::Unavailable;
use crate::session::link::Link;

/// A lookup under way. It is given up when this is dropped.
pub struct Lookup {
    link: Arc<Link>,
    id: LookupId,
    events: mpsc::Receiver<DhtEvent>,
}

impl Lookup {
    /// To be called on the reactor's thread, before anything can come of the lookup.
    pub(super) fn new(link: Arc<Link>, id: LookupId) -> Self {
        let events = link.dht.listen(id);
        Self { link, id, events }
    }

    /// What comes next; [`DhtEvent::Done`] is the last, then `None`. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<DhtEvent> {
        self.events.recv().await
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the session ends before.
    pub async fn done(mut self) -> Result<LookupStats, DhtError> {
        while let Some(event) = self.next().await {
            if let DhtEvent::Done { stats, .. } = event {
                return Ok(stats);
            }
        }
        Err(Unavailable::Over.into())
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if self.link.dht.leave(self.id) {
            let id = self.id;
            // A reactor that is gone looks for nothing.
            let _ = self.link.reactor.run(move |plane| {
                let now = plane.now();
                plane.engine().with_dht(now, |node| node.cancel(now, id));
            });
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("id", &self.id).finish_non_exhaustive()
    }
}
