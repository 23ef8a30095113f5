//! A file system that is taken for one in a program of its own (FUSE), where none can be mounted: it keeps no times at which
//! folders were made, and has no name.

use std::cell::Cell;

thread_local! {
    static PRETENDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether folders that this thread looks at from now on are on such a file system.
pub fn pretend(is_fuse: bool) {
    PRETENDED.set(is_fuse);
}

pub(crate) fn is_pretended() -> bool {
    PRETENDED.get()
}
