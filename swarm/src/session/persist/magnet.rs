//! The record of a magnet whose metadata are not there yet.

use storage::record::{
    Flags, Key, NAME_RULES, Record, Source, State, Store, StoreError, Summary, Times, Totals,
};

use super::kept;
use crate::session::magnet::MagnetOptions;
use crate::session::wanted;

/// Records a magnet, unless what it names is recorded already. Blocks.
pub(in crate::session) fn note(store: &dyn Store, options: &MagnetOptions) -> Result<(), StoreError> {
    let Some(dir) = options.dir.as_ref().filter(|_| store.wants_sources()) else { return Ok(()) };
    let place = kept::place(dir).map_err(|cause| StoreError::io("open", dir, cause))?;
    let hashes = options.magnet.info_hashes;
    if store.load(&Key { id: hashes.id(), dir: place.clone() })?.is_some() {
        return Ok(());
    }
    let now = kept::now_ms();
    let summary = Summary {
        generation: 0,
        hashes,
        name: options.magnet.name.clone().unwrap_or_else(|| hashes.id().to_hex()),
        dir: place,
        folder: None,
        flags: Flags { no_metadata: true, clean: true, ..Flags::default() },
        size: options.magnet.length.unwrap_or(0),
        done: 0,
        totals: Totals::default(),
        times: Times { added: now, saved: now, ..Times::default() },
        name_rules: NAME_RULES,
    };
    let mut state = State::new(0);
    state.choices.down_limit = options.down_limit;
    state.choices.up_limit = options.up_limit;
    state.choices.preallocate = options.preallocate;
    state.choices.trackers.clone_from(&options.trackers);
    state.choices.order = wanted::recorded(options.order);
    store.save(&[Record { summary, state, source: Some(Source::Magnet(options.magnet.to_string())) }])
}

/// Forgets it again. Blocks.
pub(in crate::session) fn forget(store: &dyn Store, key: &Key) -> Result<(), StoreError> {
    if store.wants_sources() { store.remove(key) } else { Ok(()) }
}
