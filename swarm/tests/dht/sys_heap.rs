//! Counts what is on the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this thread allocated and did not free.
pub(crate) fn live() -> isize {
    LIVE.with(Cell::get)
}

fn count(bytes: isize) {
    // At the end of a thread its counter may be gone.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

fn len(layout: &Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait demands of the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(len(&layout));
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-len(&layout));
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn what_is_kept_counts_and_what_is_freed_does_not() {
    let before = live();
    let kept = vec![0_u8; 1000];
    assert_eq!(live() - before, 1000);
    drop(kept);
    assert_eq!(live(), before);
}
