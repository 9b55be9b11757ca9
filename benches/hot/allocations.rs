//! Counts allocations, for each thread apart: what a call costs is what its core allocates, whatever the ledger's writer or
//! the provider beside it do.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// Passes on to another allocator and counts. To grow an allocation counts as one.
pub(crate) struct Counting<A>(pub(crate) A);

/// What one thread did. Only that thread writes it.
struct Slot {
    thread: AtomicI32,
    allocations: AtomicU64,
}

/// More threads than a gateway, a provider and a client have here; any beyond share the last slot.
const SLOTS: usize = 128;
static SLOT: [Slot; SLOTS] = [const { Slot { thread: AtomicI32::new(0), allocations: AtomicU64::new(0) } }; SLOTS];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // No destructor and no lazy initialiser, so that the allocator can use it at any moment of a thread's life.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn mine() -> &'static Slot {
    let mut at = MINE.get();
    if at == usize::MAX {
        at = TAKEN.fetch_add(1, Ordering::Relaxed).min(SLOTS - 1);
        MINE.set(at);
        SLOT[at].thread.store(thread_id(), Ordering::Relaxed);
    }
    &SLOT[at]
}

#[cfg(target_os = "linux")]
fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[cfg(not(target_os = "linux"))]
fn thread_id() -> i32 {
    0
}

fn count() {
    let allocations = &mine().allocations;
    allocations.store(allocations.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only passes on")]
// SAFETY: every method does what the inner allocator does.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the inner allocator's.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the inner allocator's.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the inner allocator's.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the inner allocator's.
        unsafe { self.0.realloc(block, layout, size) }
    }
}

/// How many allocations `call` makes on this thread.
pub(crate) fn of(call: &mut dyn FnMut()) -> u64 {
    let before = mine().allocations.load(Ordering::Relaxed);
    call();
    mine().allocations.load(Ordering::Relaxed) - before
}

/// The allocations of all living threads with such a name.
pub(crate) fn of_threads(is_meant: impl Fn(&str) -> bool) -> u64 {
    let slots = SLOT.iter().take(TAKEN.load(Ordering::Relaxed));
    let meant = slots.filter(|slot| {
        let thread = slot.thread.load(Ordering::Relaxed);
        let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
        is_meant(name.trim_end())
    });
    meant.map(|slot| slot.allocations.load(Ordering::Relaxed)).sum()
}
