//! Counts, in tests only, what is looked at where cost must not grow with the number of pieces, peers or torrents.

#[cfg(test)]
thread_local!(static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });

/// Something is looked at.
#[inline]
pub(crate) fn look() {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + 1);
}

/// What this thread looked at so far.
#[cfg(test)]
pub(crate) fn looks() -> u64 {
    LOOKS.get()
}
