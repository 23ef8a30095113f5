//! A file system that is taken for FAT, where none can be mounted.

use std::cell::Cell;

thread_local! {
    static PRETENDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether folders that this thread opens from now on are on FAT.
pub fn pretend(is_fat: bool) {
    PRETENDED.set(is_fat);
}

pub(crate) fn is_pretended() -> bool {
    PRETENDED.get()
}
