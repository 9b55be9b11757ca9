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

/// Returns to the system what is free, of all threads, and was kept for more of the kind: to start takes more than to run, and to
/// read a hundred thousand tenants half as much again as to know them. For after such work: what is returned has to be asked for
/// again.
pub fn give_back() {
    // SAFETY: it may be called at any time and from any thread, and touches only what was freed.
    unsafe { mi::mi_collect(true) }
}

/// Whether a block needs no wish to be aligned.
const fn is_plain(size: usize, align: usize) -> bool {
    align <= ALIGNED_ANYWAY && align <= size
}

// SAFETY: mimalloc is an allocator; a block of it may be freed and resized whichever of its functions it came from. Sizes and
// alignments are those of a `Layout`, as they must be.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        unsafe { if is_plain(size, align) { mi::mi_malloc(size) } else { mi::mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        unsafe { if is_plain(size, align) { mi::mi_zalloc(size) } else { mi::mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        unsafe { mi::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align): (*mut c_void, usize) = (block.cast(), layout.align());
        unsafe {
            if is_plain(size, align) { mi::mi_realloc(block, size) } else { mi::mi_realloc_aligned(block, size, align) }
        }
        .cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: 64 is aligned anyway; a block smaller than its alignment is.
    #[test]
    fn every_block_is_aligned_and_keeps_what_is_in_it() {
        for (size, shift) in
            (1..300).chain([1_000, 1_025, 4_097, 70_000]).flat_map(|size| (0..13).map(move |it| (size, it)))
        {
            let layout = Layout::from_size_align(size, 1 << shift).expect("a layout");
            // SAFETY: no layout is empty; every byte that is looked at was written, and each block is freed once, as what it is.
            unsafe {
                // Blocks before it, so that it stands anywhere in its page.
                let before: Vec<*mut u8> = (0..size % 5).map(|_| Mimalloc.alloc(layout)).collect();
                let (mut block, mut now) = (Mimalloc.alloc_zeroed(layout), layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()), "{layout:?}");
                assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0));
                block.write_bytes(7, size);
                for (size, kept) in [(2 * size + 1, size), (size.div_ceil(4), size.div_ceil(4))] {
                    block = Mimalloc.realloc(block, now, size);
                    now = Layout::from_size_align(size, now.align()).expect("a layout");
                    assert!(!block.is_null() && block.addr().is_multiple_of(now.align()), "{now:?}");
                    assert!(std::slice::from_raw_parts(block, kept).iter().all(|byte| *byte == 7));
                }
                Mimalloc.dealloc(block, now);
                for block in before {
                    Mimalloc.dealloc(block, layout);
                }
            }
        }
    }
}
