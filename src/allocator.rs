//! mimalloc for everything.
//!
//! Beside what the `mimalloc` crate does, what it aligns anyway is not asked for as something to be aligned: for most sizes
//! beyond a kilobyte that costs several times as much, and a little memory.
#![expect(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys as mi;

/// Every block of at least so many bytes is aligned to as many (`MI_MAX_ALIGN_SIZE`), and a smaller one to its size.
const ALIGNED_ANYWAY: usize = 16;

/// The allocator.
#[derive(Debug)]
pub struct Mimalloc;

/// Returns to the system what large work on this thread took and freed, which is kept for more of the kind otherwise: to start
/// takes more than to run, and to read a hundred thousand tenants half as much again as to know them.
pub fn give_back() {
    // SAFETY: it may be called at any time and from any thread, and touches only what was freed.
    unsafe { mi::mi_collect(true) }
}

/// Whether a block needs no wish to be aligned.
const fn is_plain(layout: Layout) -> bool {
    layout.align() <= ALIGNED_ANYWAY && layout.align() <= layout.size()
}

// SAFETY: mimalloc is an allocator; a block of it may be freed and resized whichever of its functions it came from. Sizes and
// alignments are those of a `Layout`, as they must be.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        unsafe { if is_plain(layout) { mi::mi_malloc(size) } else { mi::mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        unsafe { if is_plain(layout) { mi::mi_zalloc(size) } else { mi::mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        unsafe { mi::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align): (*mut c_void, usize) = (block.cast(), layout.align());
        let is_plain = align <= ALIGNED_ANYWAY && align <= size;
        unsafe { if is_plain { mi::mi_realloc(block, size) } else { mi::mi_realloc_aligned(block, size, align) } }
            .cast()
    }
}
