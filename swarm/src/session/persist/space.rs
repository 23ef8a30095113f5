//! How much room there is where torrents are written to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use storage::{FileStorage, StoreId};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::queue::Device;
use crate::session::link::Link;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);
/// Devices that are looked at at a time, those that hang among them. Each has a thread.
const MAX_LOOKS: usize = 64;

/// Files that are written to, with their store.
type Place = (StoreId, Weak<FileStorage>);

/// Tells the engine for good how much room there is. A device that hangs is not looked at again before it answers; the others
/// are.
pub(in crate::session) async fn watch_space(link: Arc<Link>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looking, mut tasks) = (BTreeSet::new(), JoinSet::new());
    loop {
        look.tick().await;
        while let Some(done) = tasks.try_join_next() {
            // A panic was reported; the device is not looked at any more.
            let _: Result<bool, _> = done.map(|device| looking.remove(&device));
        }
        let watched = link.saver.writing().clone().into_iter();
        let entries = watched.filter_map(|id| link.registry.get(id));
        let mut devices: BTreeMap<Device, Vec<Place>> = BTreeMap::new();
        for identity in entries.map(|entry| entry.identity) {
            if let Some(place) = identity.place() {
                devices.entry(identity.device()).or_default().push(place);
            }
        }
        for (device, places) in devices {
            if looking.len() < MAX_LOOKS && looking.insert(device) {
                let link = link.clone();
                tasks.spawn(async move {
                    tell(&link, places).await;
                    device
                });
            }
        }
    }
}

async fn tell(link: &Link, places: Vec<Place>) {
    let looked = tokio::task::spawn_blocking(move || {
        let room = |place: &Weak<FileStorage>| place.upgrade()?.free_space().ok();
        places.iter().filter_map(|(store, place)| Some((*store, room(place)?))).collect::<Vec<_>>()
    });
    let Ok(looked) = looked.await else { return };
    // When the session is over nobody needs to know.
    let _ = link
        .ask(move |plane| {
            let now = plane.now();
            looked.into_iter().for_each(|(store, free)| plane.engine().set_space(now, store, free));
        })
        .await;
}
